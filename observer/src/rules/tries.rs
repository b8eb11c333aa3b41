//! Which of the upstream exchanges made for a request nginx has in the request's own variables (`$upstream_header_time`).

use crate::event::Nanoseconds;
use crate::exchange::{Aside, Attempt, Exchange};
use crate::pairing::Fingerprint;

/// Whether an attempt was made to answer the request itself, and not for a subrequest: nginx has the latter's upstreams in
/// none of the request's variables.
pub fn is_try(exchange: &Exchange, index: usize) -> bool {
    let attempt = &exchange.attempts[index];
    let is_answered = |at: Nanoseconds| exchange.response.head_ns.is_some_and(|answered| answered < at);
    // A connect under way was held to be this exchange's by the thread's order alone.
    let is_asked = attempt.is_asked() || attempt.ended_ns.is_some();
    is_asked
        && attempt.aside.is_none()
        && !is_answered(attempt.began_ns)
        && !is_copy(exchange, index)
        && !is_leave(exchange, index)
}

/// A retry comes when the try before it is over; a copy goes out beside it (`ngx_http_mirror_handler`). Only TCP shows
/// when the gateway gave a try up. The one whose answer was passed on is no copy.
fn is_copy(exchange: &Exchange, index: usize) -> bool {
    let attempt = &exchange.attempts[index];
    let is_beside = |earlier: &Attempt, later: &Attempt| {
        earlier.peer.ip().is_some() && earlier.ended_ns.is_none_or(|ended| ended > later.began_ns)
    };
    if attempt.is_passed_on {
        return false;
    }
    let (earlier, later) = (&exchange.attempts[..index], &exchange.attempts[index + 1..]);
    let is_beside_passed = later.iter().any(|later| later.is_passed_on && is_beside(attempt, later));
    is_beside_passed || earlier.iter().any(|earlier| is_beside(earlier, attempt))
}

/// Leave asked for (`ngx_http_auth_request_handler`): granted, another attempt follows that a success would not have
/// needed; denied, the refusal is nginx's own.
fn is_leave(exchange: &Exchange, index: usize) -> bool {
    let attempt = &exchange.attempts[index];
    if attempt.answer.is_redirect {
        return false;
    }
    let is_follower = |later: usize| exchange.attempts[later].aside.is_none() && !is_copy(exchange, later);
    let is_followed = || (index + 1..exchange.attempts.len()).any(is_follower);
    match attempt.answer.status {
        // Then a file, the cache or a directive answered: nobody passes on a 204 as anything else.
        204 => is_followed() || exchange.status().is_some_and(|status| status != 204),
        200..300 => is_followed(),
        401 | 403 => is_answered_otherwise(exchange, attempt),
        _ => false,
    }
}

/// The answer is of another length, and was asked for at another place.
fn is_answered_otherwise(exchange: &Exchange, attempt: &Attempt) -> bool {
    let (Some(request), Some(response)) = (&exchange.request.head, &exchange.response.head) else { return false };
    let is_elsewhere =
        attempt.path().is_some_and(|path| !request.path().ends_with(path) && !path.ends_with(request.path()));
    is_elsewhere && request.method() != "HEAD" && response.content_length != attempt.answer.content_length
}

/// Whether what the client got is not this attempt's answer, though nginx had no reason not to pass it on: it was asked for
/// within the request, by a subrequest (`ngx_http_auth_request_handler`, `ngx.location.capture`) or a socket of Lua's
/// (`ngx.socket.tcp`), and the gateway answered by itself.
///
/// An answer that is no success says nothing: another server is asked then, or another location answers (`error_page`). So
/// do one that sends the gateway elsewhere, and a slice of one (`ngx_http_slice_header_filter`).
pub fn aside(exchange: &Exchange, attempt: &Attempt) -> Option<Aside> {
    let (request, response) = (exchange.request.head.as_deref()?, exchange.fingerprint()?);
    let answer = attempt.answer.fingerprint.filter(|answer| matches!(answer.status, 200..=205 | 207..=299))?;
    if attempt.answer.is_redirect {
        return None;
    }
    let is_asked_for = attempt.path().is_some_and(|path| is_same_place(request.path(), path));
    // Errors of nginx's own have nothing of an answer that it did not take.
    if matches!(response.status, 412 | 416 | 500..) {
        return (!is_asked_for).then_some(Aside::Told);
    }
    let (points, aside) = likeness(&response, &answer);
    (points + if is_asked_for { SAME_PLACE.0 } else { SAME_PLACE.1 } < 0).then_some(aside)
}

/// A gateway passes the path on, strips a prefix, adds one, or puts one in the place of another.
fn is_same_place(asked: &str, upstream: &str) -> bool {
    let is_end_same = last_segment(asked).is_some_and(|segment| last_segment(upstream) == Some(segment));
    is_end_same || asked.ends_with(upstream) || upstream.ends_with(asked)
}

fn last_segment(path: &str) -> Option<&str> {
    path.rsplit('/').find(|segment| !segment.is_empty())
}

/// The rule by which an answer was not passed on that nothing speaks against, as a label's value.
pub const ASIDE: &str = "asked_aside";

/// Points for an upstream's path that is the request's, and against any other. Filters make another body of the answer that was
/// asked for, some with a length or type of its own (`ngx_http_image_filter_module`, `ngx_http_xslt_filter_module`, Lua).
const SAME_PLACE: (i32, i32) = (6, -2);

/// Points for a length that was passed on, and against another one. A filter that changes a body takes its length away
/// (`ngx_http_clear_content_length`); none adds one.
const LENGTH: (i32, i32) = (3, -4);

/// Points where neither side tells a length.
const NO_LENGTH: i32 = 2;

/// Points for the same `Content-Type`, but for a charset, and against another one. nginx adds none to an upstream's answer.
const TYPE: (i32, i32) = (1, -5);

/// Points for another field that was passed on, and against one that was not; no more than so many of each count.
const FIELD: (i32, i32) = (2, -1);
const FIELDS_COUNTED: i32 = 4;

/// Points against another status.
const OTHER_STATUS: i32 = -2;

/// How much a client's response looks like this upstream's, passed on: above 0 for alike, below for not, and how it is known
/// if it is not.
fn likeness(response: &Fingerprint, upstream: &Fingerprint) -> (i32, Aside) {
    // Both are made of a whole answer's head, and leave of it what does not fit (`ngx_http_not_modified_header_filter`,
    // `ngx_http_range_header_filter`).
    let is_part = matches!(response.status, 206 | 304);
    let (length, kind) =
        if is_part { (0, 0) } else { (length_points(response, upstream), type_points(response, upstream)) };
    let is_other_status = !is_part && response.status != upstream.status;
    let (passed_on, left_out) = fields(response, upstream);
    let points = length
        + kind
        + if is_other_status { OTHER_STATUS } else { 0 }
        + i32::from(response.is_encoded && !upstream.is_encoded)
        + FIELD.0 * passed_on.min(FIELDS_COUNTED)
        + FIELD.1 * left_out.min(FIELDS_COUNTED);
    let is_told = is_part || is_other_status || length < 0 || kind < 0 || left_out > passed_on;
    (points, if is_told { Aside::Told } else { Aside::Inferred })
}

fn length_points(response: &Fingerprint, upstream: &Fingerprint) -> i32 {
    match (upstream.content_length, response.content_length) {
        (Some(upstream), Some(length)) if upstream == length => LENGTH.0,
        (_, Some(_)) => LENGTH.1,
        (None, None) => NO_LENGTH,
        (Some(_), None) => 0,
    }
}

fn type_points(response: &Fingerprint, upstream: &Fingerprint) -> i32 {
    match (upstream.content_type(), response.content_type()) {
        (0, 0) => 0,
        (of_upstream, of_response) if of_upstream == of_response => TYPE.0,
        _ => TYPE.1,
    }
}

/// How many of the upstream's other fields were passed on, and how many were not.
fn fields(response: &Fingerprint, upstream: &Fingerprint) -> (i32, i32) {
    let (Some(of_response), Some(of_upstream)) = (response.marks, upstream.marks) else { return (0, 0) };
    let count = |marks: u128| marks.count_ones() as i32;
    (count(of_upstream & of_response), count(of_upstream & !of_response))
}

#[cfg(test)]
mod tests;
