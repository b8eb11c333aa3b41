//! Requests as they come.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Connection, Moment, Moments, OPEN_MAX, Piece};
use crate::event::{Nanoseconds, Role};
use crate::exchange::{Ending, Unobserved};
use crate::http::head::{Head, Side};
use crate::http::http1::{Input, Kind, Part, Span};
use crate::http::proxy_protocol;
use crate::rules;

impl Connection {
    pub(super) fn feed_requests(&mut self, piece: Piece<'_>, spans: &mut impl FnMut(Span<'_>), moments: &mut Moments) {
        let Piece { mut input, time_ns, .. } = piece;
        self.skip_proxy_header(&mut input, spans);
        if self.is_past_last_request() || self.is_in_malformed_request() {
            return;
        }
        if self.requests.is_lost() && !self.resynchronise(&input, moments) {
            return;
        }
        let body = self.body_under_way(input.left(), time_ns);
        let (in_body, mut behind) = (body.and(self.exchanges.back()).map(|open| open.id.number), input.left());
        while input.left() > 0 && !self.is_past_last_request() {
            let before = input.left();
            let part = self.requests.read(&mut input, spans);
            let taken = before - input.left();
            match part {
                Some(Part::Blank) => self.begin_blank(time_ns, moments),
                Some(Part::Begin) => {
                    self.requests.lend(moments.head());
                    if !std::mem::take(&mut self.is_begun_blank) {
                        self.begin(time_ns, moments);
                    }
                }
                part => {
                    let Some(open) = self.exchanges.back_mut() else { break };
                    if in_body == Some(open.id.number) {
                        behind -= taken;
                    }
                    if !open.is_upgraded {
                        open.request.bytes += taken;
                        open.request.last_ns = time_ns;
                    }
                    self.request_part(part, &piece, moments);
                }
            }
        }
        if let Some(open) = in_body.and_then(|number| self.exchange_mut(number)) {
            open.body_reads.bytes_behind = behind;
        }
        if body == Some(Ordering::Equal)
            && let Some(open) = self.exchanges.back_mut()
        {
            open.body_reads.is_as_discard |= !open.request.is_complete;
        }
    }

    /// Whether a call of so many bytes begins within a request's body, and how it compares with one that nginx throws away.
    fn body_under_way(&mut self, call_bytes: u64, time_ns: Nanoseconds) -> Option<Ordering> {
        let open = self.exchanges.back_mut()?;
        if open.request.head.is_none() || open.request.is_complete {
            return None;
        }
        let compared = call_bytes.cmp(&rules::DISCARD_BYTES);
        if open.response.head.is_none() {
            open.body_reads.has_own_calls = true;
            open.body_reads.is_awaited = time_ns.saturating_sub(open.request.last_ns) >= rules::AWAITED_NS_MIN;
        }
        open.body_reads.is_beyond_discard |= compared == Ordering::Greater;
        Some(compared)
    }

    /// A proxy before the gateway may tell of the client ahead of all requests.
    fn skip_proxy_header(&mut self, input: &mut Input<'_>, spans: &mut impl FnMut(Span<'_>)) {
        if self.received > 0 || self.opened.role != Role::Client {
            return;
        }
        let bytes = proxy_protocol::header_bytes(input.known()) as u64;
        if bytes > 0 {
            spans(Span { side: Side::Request, bytes, kind: Kind::Preamble, part: None });
            input.skip(bytes);
        }
    }

    fn request_part(&mut self, part: Option<Part>, piece: &Piece<'_>, moments: &mut Moments) {
        let Some(open) = self.exchanges.back_mut() else { return };
        match part {
            Some(Part::Head(head)) => self.request_head(head, piece.time_ns, moments),
            Some(Part::End) => self.request_ended(moments),
            Some(Part::Malformed) => {
                open.request.is_malformed = true;
                self.is_mid_request = true;
            }
            Some(Part::Blurred) => {
                if open.request.head.is_none() {
                    open.blame(piece.hidden_for);
                }
            }
            Some(Part::Blank | Part::Begin) | None => {}
        }
    }

    fn request_head(&mut self, head: Arc<Head>, time_ns: Nanoseconds, moments: &mut Moments) {
        let Some(open) = self.exchanges.back_mut() else { return };
        let framing = head.request_framing();
        if head.is_simple() {
            self.last_number = Some(open.id.number);
        }
        open.request.head_bytes = open.request.bytes;
        open.request.head_ns = Some(time_ns);
        open.request.head = Some(head);
        moments.push(Moment::RequestHead(open.id.number));
        if self.requests.begin_body(framing).is_some() {
            self.request_ended(moments);
        }
    }

    /// A new request behind the answer completes a request whose end lies in hidden bytes. Behind one that closes there
    /// is none.
    pub(super) fn end_held_request(&mut self, input: &Input<'_>, moments: &mut Moments) {
        if self.requests.is_open_ended()
            && self.last_number.is_none()
            && self.exchanges.back().is_some_and(|open| open.response.is_complete)
            && input.begins_like_a_request()
        {
            self.requests.end();
            self.request_ended(moments);
        }
    }

    /// Calls that hide their bytes tell of one exchange a turn.
    pub(super) fn end_hidden(&mut self, piece: &Piece<'_>, moments: &mut Moments) {
        const HIDDEN: Unobserved = Unobserved::UnsampledCall;
        let is_answered =
            self.exchanges.front().is_some_and(|open| open.flaw == Some(HIDDEN) && open.response.bytes > 0);
        if is_answered && (piece.hidden_for == HIDDEN || piece.input.begins_like_a_request()) {
            self.end_all(Ending::Lost(HIDDEN), moments);
            self.requests.restart();
            self.responses.restart();
        }
    }

    fn request_ended(&mut self, moments: &mut Moments) {
        let Some(open) = self.exchanges.back_mut() else { return };
        open.request.is_complete = true;
        moments.push(Moment::RequestEnd(open.id.number));
        self.pop_complete(moments);
    }

    fn begin(&mut self, time_ns: Nanoseconds, moments: &mut Moments) {
        if self.exchanges.len() >= OPEN_MAX {
            // Their answers are still to come: nobody's from here on.
            self.is_given_up = true;
            self.lose(Unobserved::TableFull);
            return self.end_all(Ending::Lost(Unobserved::TableFull), moments);
        }
        if self.exchanges.is_empty() {
            self.missing_records = 0;
        }
        let id = self.next_id();
        self.next_number += 1;
        let began_ns = self.connected_ns.take().unwrap_or(time_ns);
        self.exchanges.push_back(moments.exchange(id, began_ns));
        moments.push(Moment::Begun(id.number));
    }

    /// nginx makes a request of the first byte it reads, and passes over blank lines within it
    /// (`ngx_http_create_request`).
    fn begin_blank(&mut self, time_ns: Nanoseconds, moments: &mut Moments) {
        if self.opened.role == Role::Client && !self.is_begun_blank {
            self.begin(time_ns, moments);
            self.is_begun_blank = true;
        }
    }

    /// Whether what comes now is behind the last request that the gateway looks at.
    fn is_past_last_request(&self) -> bool {
        let Some(last) = self.last_number else { return false };
        self.exchange(last).is_none_or(|open| open.request.is_complete)
    }

    /// Whether the gateway has yet to answer what is no request.
    fn is_in_malformed_request(&self) -> bool {
        self.opened.role == Role::Client && self.exchanges.back().is_some_and(|open| open.request.is_malformed)
    }

    /// After a loss, or when met midway: in step again where a request begins.
    fn resynchronise(&mut self, input: &Input<'_>, moments: &mut Moments) -> bool {
        if self.is_given_up || self.is_mid_request || !input.begins_like_a_request() {
            self.is_mid_request = true;
            self.tell_stray(moments);
            return false;
        }
        self.end_all(Ending::Lost(Unobserved::OutOfStep), moments);
        self.requests.restart();
        self.responses.restart();
        self.out_of_step = None;
        true
    }
}
