//! Points for and against: one upstream exchange, one client's.

use super::{Asked, Candidate, Evidence};
use crate::exchange::{Attempt, Exchange};
use crate::http::head::{Head, TRACEPARENT};

/// With so many points the thread's own candidate is the one, and no other is looked at: order, method and target agree,
/// and nothing speaks against it.
pub(super) const CONCLUSIVE: i32 = 13;

/// With so many points what the thread read last is what it passes on: no more than one thing speaks against it.
const PASSED_ON: i32 = 6;

/// Upstreams that are asked at once for one request, one and its copies. A thread whose timers went off turns to many at
/// once, too, for as many clients.
const BESIDE_MAX: usize = 3;

/// Points for a target that is the client's own.
const SAME_TARGET: i32 = 4;

/// Points besides for a long target that is the same, of a client's exchange that no upstream was asked for yet: more than the
/// thread's order has for another target. A gateway turns to a request that was sent ahead when it has looked at everything
/// else that came in meanwhile.
const OWN_LONG_TARGET: i32 = 3;

/// As a long target two requests do not have the same by chance where the gateway rewrites it.
const LONG_TARGET_BYTES: usize = 12;

/// Points for the same target, when the upstream that was asked for it has failed: more than the thread's order has where
/// it would be a second upstream at once, for another target. A gateway learns of a refused connect later than of what it
/// read since.
const DUE_AGAIN: i32 = 6;

/// Points of a client's exchange that is answered: fewer than another has by the thread's order alone, so that one which
/// waits for the same target, or has lost an upstream, comes first.
const ANSWERED: i32 = -3;

/// The thread wrote the response to the client right after it had read the upstream's.
const WAY_BACK: i32 = 10;

pub(super) struct Score {
    pub points: i32,
    pub evidence: Evidence,
}

/// Points of a candidate for an upstream request; `None` if it is impossible or nothing speaks for it.
pub(super) fn forth(asked: Asked<'_>, candidate: Candidate<'_>) -> Option<Score> {
    let exchange = candidate.exchange;
    let client = exchange.request.head.as_deref()?;
    // A copy may be asked for when the client has its answer, if its connect was begun before.
    let is_answered = exchange.response.head.is_some();
    if is_answered && asked.connected_for != Some(exchange.id) {
        return None;
    }
    let of_thread = asked.lead.filter(|lead| lead.client == Some(exchange.id));
    let ids = id_points(client, asked.head);
    let mut points = ids;
    points += if of_thread.is_some() { 8 } else { 0 };
    points += if is_answered { ANSWERED } else { 0 };
    points += if client.method() == asked.head.method() { 1 } else { -6 };
    let target = target_points(client, asked.head);
    points += target;
    if of_thread.is_none() && target >= SAME_TARGET && exchange.attempts.is_empty() {
        points += if client.target().len() >= LONG_TARGET_BYTES { OWN_LONG_TARGET } else { 0 };
    }
    points += address_points(candidate.client, asked.head);
    points += length_points(client, asked.head);
    // A mirrored request asks two upstreams at once; else the second comes when the first is done with.
    let is_direct = of_thread.is_some_and(|lead| lead.is_direct) && !has_many_beside(exchange);
    if exchange.awaits_upstream() && asked.connected_for != Some(exchange.id) && !is_direct {
        points -= 12;
    } else if exchange.is_due_again() {
        points += if target >= SAME_TARGET { DUE_AGAIN } else { 2 };
    } else if !exchange.attempts.is_empty() {
        points += 2;
    }
    if !exchange.request.is_complete && of_thread.is_none() {
        points -= 2;
    }
    let evidence = match (ids >= SAME_ID, of_thread.is_some()) {
        (true, _) => Evidence::RequestId,
        (false, true) => Evidence::ThreadOrder,
        (false, false) => Evidence::Content,
    };
    (points > 0).then_some(Score { points, evidence })
}

fn has_many_beside(exchange: &Exchange) -> bool {
    let is_awaited = |attempt: &&Attempt| attempt.answer.header_ns.is_none() && attempt.ended_ns.is_none();
    exchange.attempts.len() > BESIDE_MAX && exchange.attempts.iter().filter(is_awaited).count() > BESIDE_MAX
}

/// Whether the response that a client's exchange got is the one of the upstream exchange that its thread had read just
/// before. `is_told`: an id in the response names the attempt.
pub(super) fn is_passed_on(attempt: &Attempt, client: &Exchange, is_told: bool) -> bool {
    let Some(request) = client.request.head.as_deref() else { return false };
    let path = attempt.path().map_or(0, |path| path_points(request.path(), path));
    let back = match (&attempt.answer.fingerprint, client.fingerprint()) {
        (Some(upstream), Some(client)) => upstream.points(&client),
        (None, Some(_)) if attempt.ended_ns.is_none() => return is_told,
        // The gateway answers by itself for an upstream that failed, with an error of its own.
        (None, Some(_)) => {
            if client.status().is_some_and(|status| status >= 500) {
                FAILED.0
            } else {
                FAILED.1
            }
        }
        (_, None) => 0,
    };
    let is_anothers = attempt.evidence == Evidence::RequestId;
    is_told || (WAY_BACK + path + back >= PASSED_ON && !is_anothers)
}

/// Points for a client's error, and against any other answer, where the upstream failed.
const FAILED: (i32, i32) = (3, -5);

/// An id of one request's own.
const SAME_ID: i32 = 100;

/// Several requests may share a trace.
fn id_points(client: &Head, asked: &Head) -> i32 {
    if !client.has_ids() || !asked.has_ids() {
        return 0;
    }
    let pairs = client.stable_ids().into_iter().zip(asked.stable_ids()).enumerate();
    let both = pairs.filter(|(_, (own, told))| !own.is_empty() && !told.is_empty());
    let points = both.map(|(kind, (own, told))| match (kind == TRACEPARENT, own == told) {
        (false, true) => SAME_ID,
        (true, true) => 20,
        (_, false) => -4,
    });
    points.max().unwrap_or(0)
}

/// The gateway may tell what the client asked for.
fn target_points(client: &Head, asked: &Head) -> i32 {
    let (told, prefix) = (asked.forwarded_path(), asked.forwarded_prefix());
    if !told.is_empty() {
        return if client.target() == told || client.path() == told { SAME_TARGET } else { -4 };
    }
    let is_stripped = || client.target().strip_prefix(prefix.trim_end_matches('/')) == Some(asked.target());
    if !prefix.is_empty() && is_stripped() { SAME_TARGET } else { path_points(client.target(), asked.target()) }
}

/// A gateway passes the path on, strips a prefix, adds one, or rewrites it.
fn path_points(client: &str, upstream: &str) -> i32 {
    if client == upstream {
        SAME_TARGET
    } else if client.ends_with(upstream) || upstream.ends_with(client) {
        2
    } else {
        -3
    }
}

fn address_points(client: &str, asked: &Head) -> i32 {
    let told = asked.forwarded();
    if client.is_empty() || told.is_empty() {
        0
    } else if told.split(',').any(|address| address.trim() == client) {
        2
    } else {
        -4
    }
}

fn length_points(client: &Head, asked: &Head) -> i32 {
    match (client.content_length, asked.content_length) {
        (Some(client), Some(upstream)) => {
            if client == upstream {
                1
            } else {
                -3
            }
        }
        _ => 0,
    }
}
