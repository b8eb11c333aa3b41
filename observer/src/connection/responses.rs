//! Responses as they come.

use std::sync::Arc;

use super::{Connection, Moment, Moments, Piece};
use crate::event::{Nanoseconds, Role};
use crate::exchange::{Ending, Unobserved};
use crate::http::head::{Framing, Head};
use crate::http::http1::{Input, Part, Span};
use crate::rules;

impl Connection {
    pub(super) fn feed_responses(&mut self, piece: Piece<'_>, spans: &mut impl FnMut(Span<'_>), moments: &mut Moments) {
        let Piece { mut input, time_ns, hidden_for } = piece;
        self.begin_simple_response(&input, time_ns, moments);
        if self.responses.is_lost() {
            if self.current_response().is_none() || !input.begins_with(b"HTTP/1.") {
                self.tell_stray(moments);
                return;
            }
            self.responses.restart();
        }
        while input.left() > 0 {
            let before = input.left();
            let part = self.responses.read(&mut input, spans);
            let taken = before - input.left();
            let Some(number) = self.current_response() else { return self.unasked_response(moments) };
            let Some(open) = self.exchange_mut(number) else { return };
            open.response.began_ns.get_or_insert(time_ns);
            open.response.bytes += taken;
            open.response.last_ns = time_ns;
            open.body_reads.bytes_at_last_write = open.request.bytes;
            match part {
                Some(Part::Head(head)) => self.response_head(number, head, time_ns, moments),
                Some(Part::End) => self.response_ended(number, moments),
                Some(Part::Malformed) => {
                    open.response.is_malformed = true;
                    return self.malformed_response(moments);
                }
                Some(Part::Blurred) => {
                    if open.response.head.is_none() {
                        open.blame(hidden_for);
                    }
                }
                Some(Part::Begin) => self.responses.lend(moments.head()),
                Some(Part::Blank) | None => {}
            }
        }
    }

    fn response_head(&mut self, number: u64, head: Arc<Head>, time_ns: Nanoseconds, moments: &mut Moments) {
        let is_end_known = !self.requests.may_have_ended();
        let Some(open) = self.exchange_mut(number) else { return };
        let framing = match head.response_framing(open.method()) {
            // One that was not asked for switches nothing.
            Framing::Tunnel if head.status == 101 && !open.asks_for_upgrade() => Framing::UntilClose,
            framing => framing,
        };
        let (is_interim, closes) = (head.is_interim(), head.close);
        open.response.head_bytes += head.bytes();
        if !is_interim {
            open.response.head_ns = Some(time_ns);
            open.body_reads.bytes_at_answer = open.request.bytes;
            open.body_reads.answered_within = is_end_known && !open.request.is_complete;
            open.is_upgraded = framing == Framing::Tunnel;
            open.response.head = Some(head);
            moments.push(Moment::ResponseHead(number));
            if closes && self.opened.role == Role::Client {
                self.last_number = Some(number);
                self.drop_behind(number, moments);
            }
        }
        let is_complete = self.responses.begin_body(framing).is_some();
        if framing == Framing::Tunnel {
            self.requests.begin_body(Framing::Tunnel);
            self.drop_behind(number, moments);
        }
        if is_complete && !is_interim {
            self.response_ended(number, moments);
        }
    }

    /// Where it ends is not known, so neither is whose the next answer is.
    fn malformed_response(&mut self, moments: &mut Moments) {
        self.lose(Unobserved::OutOfStep);
        self.end_all(Ending::Lost(Unobserved::OutOfStep), moments);
        self.out_of_step = None;
    }

    /// A response to no request, unless that lies in bytes that were taken for a body.
    fn unasked_response(&mut self, moments: &mut Moments) {
        let reason = if self.requests.is_blurred() { Unobserved::NotSampled } else { Unobserved::OutOfStep };
        self.lose(reason);
        self.end_all(Ending::Lost(reason), moments);
        self.tell_stray(moments);
    }

    /// Behind an answer that closes the gateway looks at nothing more, and behind one that upgrades there were no
    /// requests but the tunnel's first bytes.
    fn drop_behind(&mut self, number: u64, moments: &mut Moments) {
        let kept = self.exchanges.iter().take_while(|open| open.id.number <= number).count();
        self.leave_unread(kept, moments);
    }

    /// The connection's end completes a response that has no other end, and is the end of one without length.
    pub(super) fn end_open_response(&mut self, closed_ns: Option<Nanoseconds>, moments: &mut Moments) {
        if !self.responses.is_open_ended() {
            return;
        }
        let Some(number) = self.current_response() else { return };
        if let Some(closed_ns) = closed_ns
            && let Some(open) = self.exchange_mut(number)
            && let Some(head) = &open.response.head
            && head.response_framing(open.method()) == Framing::UntilClose
            && !head.keep_alive
        {
            open.response.last_ns = open.response.last_ns.max(closed_ns);
        }
        self.responses.end();
        self.response_ended(number, moments);
    }

    /// A new request completes a response whose end lies in hidden bytes.
    pub(super) fn end_blurred_response(&mut self, moments: &mut Moments) {
        if !self.requests.is_in_message() {
            self.end_open_response(None, moments);
        }
    }

    fn response_ended(&mut self, number: u64, moments: &mut Moments) {
        // A client may have sent more requests in the bytes that were taken for this one's body: what comes next tells.
        let is_request_over =
            self.opened.role != Role::Client && self.requests.is_open_ended() && number + 1 == self.next_number;
        if is_request_over {
            self.requests.end();
        }
        let is_within_request = self.opened.role == Role::Client && !self.requests.may_have_ended();
        if let Some(open) = self.exchange_mut(number) {
            open.response.is_complete = true;
            if is_within_request && rules::lingers_behind(open) {
                self.last_number = Some(number);
            }
        }
        if let Some(open) = self.exchange_mut(number) {
            // The gateway answered in full: it has read of the request what it wanted.
            open.request.is_complete |= open.request.is_malformed || is_request_over;
        }
        self.pop_complete(moments);
    }

    /// The answer to a request of HTTP/0.9 is bare, and so is one that nginx passes on from an upstream whose answer does
    /// not begin like HTTP (`ngx_http_proxy_process_status_line`).
    fn begin_simple_response(&mut self, input: &Input<'_>, time_ns: Nanoseconds, moments: &mut Moments) {
        let Some(number) = self.current_response() else { return };
        let Some(open) = self.exchange_mut(number) else { return };
        if open.request.head.is_none() || open.response.bytes > 0 {
            return;
        }
        let is_http = rules::may_begin_a_status_line(input.known());
        if !is_http && !open.is_simple() {
            open.response.is_bare = true;
            open.response.head_ns = Some(time_ns);
            moments.push(Moment::ResponseHead(number));
        }
        if open.is_simple() {
            open.response.page_status = rules::page_status(input.known());
            self.responses.begin_simple();
        }
    }

    /// The oldest exchange whose response is not complete.
    fn current_response(&self) -> Option<u64> {
        self.exchanges.iter().find(|open| !open.response.is_complete).map(|open| open.id.number)
    }
}
