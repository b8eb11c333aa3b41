//! What nginx does where the bytes on the wire would let one expect something else.
//!
//! Each rule names its place in nginx's source. They ask only what was seen of the exchange.

mod tries;

use crate::event::Nanoseconds;
use crate::exchange::{Ending, Exchange, Failure};
use crate::http::head::Head;
use crate::http::short;
use crate::metrics::Culprit;
use crate::verdict::Rule;

pub use tries::{ASIDE, aside, is_try};

/// nginx's usual buffers for a head: the first (`client_header_buffer_size`), ...
const FIRST_BUFFER_BYTES: usize = 1024;
/// ... further ones, and how many of them (`large_client_header_buffers`).
const LARGE_BUFFER_BYTES: usize = 8 * 1024;
const LARGE_BUFFERS: usize = 4;
/// More header lines than this are refused (`max_headers` of nginx 1.29, and of Debian's older ones).
const LINES_MAX: usize = 1_000;

/// How nginx's own error pages begin.
const PAGE: &[u8] = b"<html>\r\n<head><title>";

/// First bytes of an error page that tell its status.
pub const PAGE_STATUS_BYTES: usize = PAGE.len() + 4;

/// nginx throws a body away in calls of at most so many bytes (`NGX_HTTP_DISCARD_BUFFER_SIZE`). For a handler it reads into
/// a buffer of `client_body_buffer_size`, usually 8 or 16 KiB.
pub const DISCARD_BYTES: u64 = 4096;

/// nginx throws a body away in one pass of its event loop, and answers then, whether or not all of it had come
/// (`ngx_http_discard_request_body`). No pass is as long, but for a machine that stalls.
pub const AWAITED_NS_MIN: Nanoseconds = 50_000_000;

/// What nothing at the sockets tells, and what is taken instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uncertain {
    /// The gateway answered by itself and read a body. nginx counts it in `$request_length` if a handler asked for it
    /// (`ngx_http_read_client_request_body`) and not if it was thrown away (`ngx_http_discard_request_body`), and the
    /// calls were such as serve both. Taken: thrown away.
    DiscardedBody,
    /// The gateway's process was killed right behind an answer's last byte: whether it had logged the request by then no
    /// call tells (`ngx_http_free_request`). Taken: it had.
    KilledBehindAnswer,
}

impl Uncertain {
    /// The reason as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Uncertain::DiscardedBody => "discarded_body",
            Uncertain::KilledBehindAnswer => "killed_behind_answer",
        }
    }
}

/// Rules for whether nginx counts a body that it read for an answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyRule {
    /// It was read in calls larger than those that throw it away, or waited for before the answer.
    ReadByHandler,
    /// It was read in calls just as large as those that throw it away, or was answered before its end.
    ThrownAway,
}

impl BodyRule {
    /// The rule as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            BodyRule::ReadByHandler => "body_read_by_handler",
            BodyRule::ThrownAway => "body_thrown_away",
        }
    }
}

/// How a request's length is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// By the bytes alone.
    Told,
    /// By a rule.
    Inferred(BodyRule),
    /// Not at all: it is a default.
    Uncertain(Uncertain),
}

/// nginx's `$request_length` in bytes, and how it is known.
pub fn request_bytes(exchange: &Exchange, rule: Option<Rule>) -> (u64, Known) {
    let request = &exchange.request;
    let Some(head) = &request.head else { return (request.bytes, Known::Told) };
    // An upstream is looked for when the body was read (`ngx_http_upstream_init`), and only then the client's going is noticed.
    let is_read = matches!(rule, Some(Rule::ClosedInBody | Rule::BodyTimeout | Rule::ClosedWaiting));
    if rule == Some(Rule::ClosedWaiting) && !request.is_complete {
        return (request.head_bytes, Known::Told);
    }
    if is_read || request.bytes == request.head_bytes {
        return (request.bytes, Known::Told);
    }
    if let Some(last) = exchange.tries().next_back() {
        // Behind its own answer for an upstream that failed nginx reads on just to throw away (`ngx_http_lingering_close_handler`).
        let is_own = last.answer.status == 0 && exchange.response.head.is_some();
        let bytes = match exchange.response.is_complete {
            _ if is_own => exchange.body_reads.bytes_at_answer,
            // So it does behind the answer of an upstream that did not wait for the body (`ngx_http_finalize_connection`).
            true if exchange.response.head.is_some() => exchange.body_reads.bytes_at_last_write,
            _ => request.bytes,
        };
        return (bytes, Known::Told);
    }
    // `ngx_http_core_find_config_phase` refuses by the announced length before anything could ask for the body;
    // one that nobody answers is not read.
    if (exchange.status() == Some(413) && head.content_length.is_some()) || rule.is_some() {
        return (request.head_bytes, Known::Told);
    }
    match who_read_the_body(exchange, head) {
        Some(BodyRule::ReadByHandler) => {
            // Of chunks that became too large all counts that was read with them.
            let behind = if exchange.status() == Some(413) { exchange.body_reads.bytes_behind } else { 0 };
            (exchange.body_reads.bytes_at_answer + behind, Known::Inferred(BodyRule::ReadByHandler))
        }
        Some(BodyRule::ThrownAway) => (request.head_bytes, Known::Inferred(BodyRule::ThrownAway)),
        None => (request.head_bytes, Known::Uncertain(Uncertain::DiscardedBody)),
    }
}

fn who_read_the_body(exchange: &Exchange, head: &Head) -> Option<BodyRule> {
    let reads = &exchange.body_reads;
    // Chunks that a handler has read may be refused before their end, too. Of those that came with the head nginx counts
    // nothing then (`ngx_http_read_client_request_body`), as if they were thrown away. It lingers behind those that became
    // too large (`ngx_http_request_body_chunked_filter`), where it would just go on to throw them away.
    let refused = exchange.status().filter(|_| reads.has_own_calls && head.chunked);
    // What was asked for meanwhile may have taken that long, too.
    let is_awaited = reads.is_awaited && !reads.answered_within && exchange.attempts.is_empty();
    if reads.is_beyond_discard || is_awaited {
        return Some(BodyRule::ReadByHandler);
    }
    match refused {
        _ if reads.is_as_discard => Some(BodyRule::ThrownAway),
        _ if !reads.answered_within => None,
        Some(413) if reads.lingers_within => Some(BodyRule::ReadByHandler),
        Some(400) => None,
        _ => Some(BodyRule::ThrownAway),
    }
}

/// Whether nginx refused the request for its head, before it looked for a location: no route has to do with it.
pub fn is_refused(exchange: &Exchange) -> bool {
    let (Some(head), Some(response)) = (&exchange.request.head, &exchange.response.head) else { return false };
    if !exchange.attempts.is_empty() || !response.close {
        return false;
    }
    match response.status {
        // `ngx_http_process_request_line` and `ngx_http_process_request_headers`.
        414 | 505 => true,
        400 => is_too_large(head) || has_bad_line(head) || has_bad_fields(head),
        // `ngx_http_process_request_header`.
        405 => matches!(head.method(), "CONNECT" | "TRACE"),
        501 => head.header("transfer-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("chunked")),
        _ => false,
    }
}

/// Who broke an exchange that failed; `None` if it did not.
pub fn culprit(exchange: &Exchange, status: u16, rule: Option<Rule>, ending: Ending) -> Option<Culprit> {
    match rule {
        Some(
            Rule::ClosedInHead
            | Rule::ClosedInBody
            | Rule::ClosedWaiting
            | Rule::HeadTimeout
            | Rule::BodyTimeout
            | Rule::Unsent,
        ) => return Some(Culprit::Client),
        Some(Rule::ClosedUnanswered) => return Some(Culprit::Gateway),
        Some(Rule::Withheld) => return Some(Culprit::Upstream),
        Some(Rule::Simple) | None => {}
    }
    let last = exchange.tries().next_back();
    let by_upstream = last.and_then(|attempt| attempt.failure).map(|failure| match failure {
        Failure::Unreachable => Culprit::Network,
        Failure::Refused | Failure::Broken | Failure::GivenUp => Culprit::Upstream,
    });
    // An upstream that breaks off within its answer leaves the client with a good status.
    let is_cut = last.is_some_and(|attempt| attempt.answer.header_ns.is_some()) && by_upstream.is_some();
    if status >= 500 {
        let is_passed_on = last.is_some_and(|attempt| attempt.answer.status == status);
        return Some(by_upstream.unwrap_or(if is_passed_on { Culprit::Upstream } else { Culprit::Gateway }));
    }
    match ending {
        Ending::ByPeer if !exchange.response.is_complete => Some(Culprit::Client),
        _ if is_cut => by_upstream,
        Ending::ByGateway if !exchange.response.is_complete => Some(Culprit::Gateway),
        Ending::Complete
        | Ending::ByPeer
        | Ending::ByGateway
        | Ending::WithProcess
        | Ending::NeverRead
        | Ending::Lost(_) => None,
    }
}

/// The status of an answer without a head (HTTP/0.9): the upstream's, else that of nginx's own error page, else 200. One
/// passed on from an upstream that did not speak HTTP has none, and nginx logs the version (`ngx_http_variable_status`).
pub fn simple_status(exchange: &Exchange) -> u16 {
    if exchange.response.is_bare {
        return 9;
    }
    let upstream = exchange.tries().next_back().map(|attempt| attempt.answer.status).filter(|&status| status != 0);
    upstream.or(exchange.response.page_status).unwrap_or(200)
}

/// The status in the title of nginx's own error pages (`ngx_http_special_response.c`).
pub fn page_status(body: &[u8]) -> Option<u16> {
    let title = body.strip_prefix(PAGE)?.get(..PAGE_STATUS_BYTES - PAGE.len())?;
    std::str::from_utf8(title).ok()?.strip_suffix(' ')?.parse().ok()
}

/// Each line lies in one buffer; one that does not fit what is left of the last goes to the next
/// (`ngx_http_alloc_large_header_buffer`).
fn is_too_large(head: &Head) -> bool {
    let (mut left, mut buffers) = (FIRST_BUFFER_BYTES, 0);
    let fits = head.raw_lines().all(|line| {
        if line.len() > left {
            buffers += 1;
            left = LARGE_BUFFER_BYTES;
        }
        let fits = line.len() <= left && buffers <= LARGE_BUFFERS;
        left = left.saturating_sub(line.len());
        fits
    });
    !fits || head.lines().count() > LINES_MAX
}

/// `ngx_http_parse_request_line` and `ngx_http_parse_header_line`.
fn has_bad_line(head: &Head) -> bool {
    let is_method_bad = head.method().bytes().any(|byte| !matches!(byte, b'A'..=b'Z' | b'_' | b'-'));
    is_method_bad || is_target_bad(head.target()) || head.has_bad_field
}

fn is_target_bad(target: &str) -> bool {
    let is_absolute = target.split_once("://").is_some_and(|(scheme, _)| !scheme.is_empty() && !scheme.contains('/'));
    if !target.starts_with('/') && !is_absolute || is_absolute && is_authority_bad(target) {
        return true;
    }
    let path = target.split(['?', '#']).next().unwrap_or_default();
    has_bad_escape(path) || climbs_above_root(path)
}

/// The host of an absolute target, and its port (the states `sw_host` and `sw_port`, and `ngx_http_validate_host`).
fn is_authority_bad(target: &str) -> bool {
    let authority = target.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split(['/', '?']).next().unwrap_or_default();
    if let Some(literal) = authority.strip_prefix('[') {
        return !literal.contains(']');
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    host.is_empty() || !host.bytes().all(is_host) || !port.bytes().all(|byte| byte.is_ascii_digit())
}

/// An upstream's head that nginx answers by 502 (`ngx_http_proxy_process_header`).
pub fn is_answer_refused(head: &Head) -> bool {
    head.has_bad_field
}

/// Whether nginx reads on behind the answer just to throw away, and then closes, whatever the answer says of the connection: an
/// upstream was asked before the body's end and did not wait for it (`reading_body` in `ngx_http_finalize_connection`).
pub fn lingers_behind(exchange: &Exchange) -> bool {
    let status = exchange.status();
    !exchange.request.is_complete && exchange.tries().any(|attempt| status == Some(attempt.answer.status))
}

/// Whether nginx took an upstream's interim response for the final one: it passed that on, and its time is that of its head
/// (`ngx_http_proxy_process_status_line` before 1.29).
pub fn is_interim_passed_on(status: u16) -> bool {
    (100..200).contains(&status) && status != 101
}

/// Whether a response begins with a status line (`ngx_http_parse_status_line`); one that has not come to its end may.
pub fn may_begin_a_status_line(bytes: &[u8]) -> bool {
    const START: &[u8] = b"HTTP/";
    // The usual case first: this is asked of every response.
    if let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', a, b, c, b' ', ..] = bytes
        && [a, b, c].into_iter().all(u8::is_ascii_digit)
    {
        return true;
    }
    let line = &bytes[..short::find::<b'\n'>(bytes).unwrap_or(bytes.len())];
    if line.len() == bytes.len() {
        return START.starts_with(line) || line.starts_with(START);
    }
    if !line.starts_with(START) {
        return false;
    }
    let Some(space) = short::find::<b' '>(line) else { return false };
    let status = line[space..].trim_ascii_start();
    let digits = status.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits == 3 && matches!(status.get(3), None | Some(b' ' | b'.' | b'\r'))
}

fn has_bad_escape(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| {
        let digits = rest.as_bytes().get(..2);
        digits.is_none_or(|digits| digits == b"00" || !digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// `ngx_http_parse_complex_uri`.
fn climbs_above_root(path: &str) -> bool {
    let mut depth = 0_i64;
    path.split('/').skip(1).any(|segment| {
        depth += match segment {
            ".." => -1,
            "" | "." => 0,
            _ => 1,
        };
        depth < 0
    })
}

/// `ngx_http_process_request_header` and the handlers of single fields.
fn has_bad_fields(head: &Head) -> bool {
    let count = |name| head.fields(name).count();
    let is_host_bad = match count("host") {
        0 => head.minor == 1,
        1 => head.fields("host").any(is_host_bad),
        _ => true,
    };
    let lengths = count("content-length");
    let is_length_bad = head
        .fields("content-length")
        .any(|length| length.is_empty() || !length.iter().all(u8::is_ascii_digit) || head.content_length.is_none());
    let codings = count("transfer-encoding");
    let is_coded_badly = codings > 1 || (codings == 1 && (head.minor == 0 || lengths > 0));
    is_host_bad || lengths > 1 || is_length_bad || is_coded_badly
}

/// `ngx_http_validate_host`.
fn is_host_bad(host: &[u8]) -> bool {
    let is_bad = |&byte: &u8| byte <= b' ' || byte == b'/' || byte == 0x7f;
    host.is_empty() || host.iter().any(is_bad) || host.windows(2).any(|pair| pair == b"..")
}

#[cfg(test)]
mod tests;
