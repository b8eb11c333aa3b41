//! What an exchange that is over counts as.
//!
//! Most were answered, and the answer tells. Where a gateway logs a status without writing a byte, a named rule infers
//! it from who closed first and how far the request had come. What was not seen whole is never guessed at.

use crate::exchange::{Ending, Exchange, Unobserved};
use crate::rules;

/// What becomes of an exchange that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts with this status.
    Counted {
        /// The response's, or the one that the gateway logs.
        status: u16,
        /// The rule that gave the status, if no byte did.
        rule: Option<Rule>,
    },
    /// It was not seen whole.
    Unobserved(Unobserved),
    /// The gateway never looked at it.
    NeverRead,
}

/// Rules for the statuses that nginx logs without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// 400: the client closed within its head (`ngx_http_read_request_header`).
    ClosedInHead,
    /// 400: the client closed within its body (`ngx_http_do_read_client_request_body`).
    ClosedInBody,
    /// 499: the client closed while it waited (`ngx_http_upstream_check_broken_connection`).
    ClosedWaiting,
    /// 408: the head did not come in time (`client_header_timeout`).
    HeadTimeout,
    /// 408: the body did not come in time (`client_body_timeout`).
    BodyTimeout,
    /// An answer without a head ([`rules::simple_status`]).
    Simple,
    /// 444: the gateway closed without an answer (`return 444`).
    ClosedUnanswered,
    /// The upstream's: its answer broke off before a byte of it was passed on (`ngx_http_upstream_process_request`).
    Withheld,
    /// The upstream's: the client was gone when it was passed on, over TLS.
    Unsent,
}

impl Rule {
    /// The rule as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Rule::ClosedInHead => "client_closed_in_head",
            Rule::ClosedInBody => "client_closed_in_body",
            Rule::ClosedWaiting => "client_closed_waiting",
            Rule::HeadTimeout => "head_timeout",
            Rule::BodyTimeout => "body_timeout",
            Rule::Simple => "http_0_9",
            Rule::ClosedUnanswered => "closed_unanswered",
            Rule::Withheld => "answer_withheld",
            Rule::Unsent => "answer_unsent",
        }
    }

    fn status(self, exchange: &Exchange) -> u16 {
        match self {
            Rule::Simple => rules::simple_status(exchange),
            Rule::ClosedInHead | Rule::ClosedInBody => 400,
            Rule::ClosedWaiting => 499,
            Rule::HeadTimeout | Rule::BodyTimeout => 408,
            Rule::ClosedUnanswered => 444,
            Rule::Withheld | Rule::Unsent => answered_by(exchange).unwrap_or_default(),
        }
    }
}

/// nginx closes at once for 444; no body timeout that anyone would set is as short, and no pass of its event loop as long.
const TIMEOUT_NS_MIN: u64 = 500_000_000;

impl Verdict {
    /// Judges a client's exchange.
    pub fn of(exchange: &Exchange, ending: Ending) -> Self {
        if let Some(flaw) = exchange.flaw {
            return Verdict::Unobserved(flaw);
        }
        if let Some(status) = exchange.status() {
            return match ending {
                Ending::Lost(reason) => Verdict::Unobserved(reason),
                // It is logged when nothing of it is left to do: no body to read away, no copy to wait for.
                Ending::WithProcess if !exchange.is_complete() || exchange.has_attempt_under_way() => {
                    Verdict::Unobserved(Unobserved::ProcessEnded)
                }
                Ending::Complete | Ending::ByPeer | Ending::ByGateway | Ending::WithProcess | Ending::NeverRead => {
                    Verdict::Counted { status, rule: None }
                }
            };
        }
        if let (Some(status), Ending::ByPeer | Ending::ByGateway) = (exchange.response.unsent_status, ending) {
            return Verdict::Counted { status, rule: None };
        }
        if exchange.response.is_unsent && ending == Ending::ByPeer {
            return match answered_by(exchange) {
                Some(_) => inferred(Rule::Unsent, exchange),
                None => Verdict::Unobserved(Unobserved::NotSampled),
            };
        }
        if exchange.is_simple() && exchange.response.is_complete {
            return inferred(Rule::Simple, exchange);
        }
        if ending == Ending::NeverRead {
            return Verdict::NeverRead;
        }
        // Interim responses are no answer.
        if exchange.response.bytes > exchange.response.head_bytes && !matches!(ending, Ending::Lost(_)) {
            return Verdict::Unobserved(Unobserved::NotSampled);
        }
        let is_waiting = !exchange.attempts.is_empty();
        let (has_head, has_body) = (exchange.request.head.is_some(), exchange.request.is_complete);
        match ending {
            Ending::Lost(reason) => Verdict::Unobserved(reason),
            Ending::WithProcess => Verdict::Unobserved(Unobserved::ProcessEnded),
            Ending::Complete | Ending::NeverRead => Verdict::Unobserved(Unobserved::OutOfStep),
            // An upload that is passed on unbuffered ends likewise (`ngx_http_read_unbuffered_request_body`); while an upstream
            // is asked for leave nobody reads the body, and nginx looks whether the client is there without a call.
            Ending::ByPeer => inferred(
                match (has_head, has_body || is_waiting && !has_begun_body(exchange)) {
                    (false, _) => Rule::ClosedInHead,
                    (true, false) => Rule::ClosedInBody,
                    (true, true) => Rule::ClosedWaiting,
                },
                exchange,
            ),
            Ending::ByGateway => match (has_head, has_body, is_waiting) {
                (false, ..) => inferred(Rule::HeadTimeout, exchange),
                (true, false, _) if has_timed_out(exchange) => inferred(Rule::BodyTimeout, exchange),
                (true, _, false) => inferred(Rule::ClosedUnanswered, exchange),
                (true, _, true) if answered_by(exchange).is_some() => inferred(Rule::Withheld, exchange),
                (true, _, true) => Verdict::Unobserved(Unobserved::OutOfStep),
            },
        }
    }
}

/// The gateway closed a while after the last byte that it read, or had begun to read the body: `return 444` comes before.
fn has_timed_out(exchange: &Exchange) -> bool {
    exchange.body_reads.has_own_calls || exchange.ended_ns().saturating_sub(exchange.request.last_ns) >= TIMEOUT_NS_MIN
}

/// The gateway has read of the body, or looked for more of it.
fn has_begun_body(exchange: &Exchange) -> bool {
    exchange.body_reads.has_own_calls || exchange.body_reads.reads_end
}

/// The status of the upstream's answer.
fn answered_by(exchange: &Exchange) -> Option<u16> {
    exchange.tries().next_back().map(|attempt| attempt.answer.status).filter(|&status| status != 0)
}

fn inferred(rule: Rule, exchange: &Exchange) -> Verdict {
    Verdict::Counted { status: rule.status(exchange), rule: Some(rule) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::Endpoint;
    use crate::exchange::{Attempt, ExchangeId};
    use crate::http::head::{Head, Side};

    fn exchange(request: Option<&str>, response: Option<&str>) -> Exchange {
        let mut exchange = Exchange::new(ExchangeId { socket: 1, number: 0 }, 0);
        let parse = |side, text: &str| Some(Arc::new(Head::parse(side, text.as_bytes()).unwrap()));
        exchange.request.head = request.and_then(|text| parse(Side::Request, text));
        exchange.response.head = response.and_then(|text| parse(Side::Response, text));
        exchange
    }

    fn attempt() -> Attempt {
        Attempt::new(ExchangeId { socket: 2, number: 0 }, Endpoint::Unix([].into()), 0)
    }

    fn counted(status: u16, rule: Option<Rule>) -> Verdict {
        Verdict::Counted { status, rule }
    }

    const GET: Option<&str> = Some("GET / HTTP/1.1\r\n\r\n");

    #[test]
    fn an_answer_counts_with_its_status_however_the_connection_ended() {
        let exchange = exchange(GET, Some("HTTP/1.1 200 OK\r\n\r\n"));
        for ending in [Ending::Complete, Ending::ByPeer, Ending::ByGateway] {
            assert_eq!(Verdict::of(&exchange, ending), counted(200, None));
        }
    }

    #[test]
    fn a_client_that_goes_gets_the_status_that_nginx_logs() {
        let in_head = exchange(None, None);
        assert_eq!(Verdict::of(&in_head, Ending::ByPeer), counted(400, Some(Rule::ClosedInHead)));
        let in_body = exchange(GET, None);
        assert_eq!(Verdict::of(&in_body, Ending::ByPeer), counted(400, Some(Rule::ClosedInBody)));
        let mut waiting = exchange(GET, None);
        waiting.request.is_complete = true;
        assert_eq!(Verdict::of(&waiting, Ending::ByPeer), counted(499, Some(Rule::ClosedWaiting)));
    }

    #[test]
    fn an_answer_that_could_not_be_sent_any_more_counts_with_its_status() {
        let mut unsent = exchange(GET, None);
        unsent.request.is_complete = true;
        unsent.response.unsent_status = Some(204);
        assert_eq!(Verdict::of(&unsent, Ending::ByPeer), counted(204, None));
        assert_eq!(Verdict::of(&unsent, Ending::WithProcess), Verdict::Unobserved(Unobserved::ProcessEnded));
        unsent.response.unsent_status = None;
        unsent.response.is_unsent = true;
        assert_eq!(Verdict::of(&unsent, Ending::ByPeer), Verdict::Unobserved(Unobserved::NotSampled));
        unsent.attempts.push(attempt());
        unsent.attempts[0].asked = unsent.request.head.clone();
        unsent.attempts[0].answer.status = 203;
        assert_eq!(Verdict::of(&unsent, Ending::ByPeer), counted(203, Some(Rule::Unsent)));
    }

    #[test]
    fn a_gateway_that_closes_unanswered_gets_the_status_that_nginx_logs() {
        let in_head = exchange(None, None);
        assert_eq!(Verdict::of(&in_head, Ending::ByGateway), counted(408, Some(Rule::HeadTimeout)));
        let mut in_body = exchange(GET, None);
        assert_eq!(Verdict::of(&in_body, Ending::ByGateway), counted(444, Some(Rule::ClosedUnanswered)));
        in_body.response.last_ns = TIMEOUT_NS_MIN;
        assert_eq!(Verdict::of(&in_body, Ending::ByGateway), counted(408, Some(Rule::BodyTimeout)));
        in_body.attempts.push(attempt());
        assert_eq!(Verdict::of(&in_body, Ending::ByGateway), counted(408, Some(Rule::BodyTimeout)));
        assert_eq!(Verdict::of(&in_body, Ending::ByPeer), counted(499, Some(Rule::ClosedWaiting)));
        in_body.body_reads.reads_end = true;
        assert_eq!(Verdict::of(&in_body, Ending::ByPeer), counted(400, Some(Rule::ClosedInBody)));
        let mut whole = exchange(GET, None);
        whole.request.is_complete = true;
        assert_eq!(Verdict::of(&whole, Ending::ByGateway), counted(444, Some(Rule::ClosedUnanswered)));
    }

    #[test]
    fn an_answer_that_the_gateway_withheld_has_the_upstreams_status() {
        let mut withheld = exchange(GET, None);
        withheld.request.is_complete = true;
        withheld.attempts.push(attempt());
        assert_eq!(Verdict::of(&withheld, Ending::ByGateway), Verdict::Unobserved(Unobserved::OutOfStep));
        withheld.attempts[0].asked = withheld.request.head.clone();
        withheld.attempts[0].answer.status = 203;
        assert_eq!(Verdict::of(&withheld, Ending::ByGateway), counted(203, Some(Rule::Withheld)));
    }

    #[test]
    fn what_was_not_seen_whole_is_never_guessed() {
        let mut flawed = exchange(GET, Some("HTTP/1.1 200 OK\r\n\r\n"));
        flawed.flaw = Some(Unobserved::NotSampled);
        assert_eq!(Verdict::of(&flawed, Ending::Complete), Verdict::Unobserved(Unobserved::NotSampled));
        let open = exchange(GET, None);
        assert_eq!(Verdict::of(&open, Ending::WithProcess), Verdict::Unobserved(Unobserved::ProcessEnded));
        let lost = Ending::Lost(Unobserved::RecordsLost);
        assert_eq!(Verdict::of(&open, lost), Verdict::Unobserved(Unobserved::RecordsLost));
    }
}
