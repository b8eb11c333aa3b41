//! How exchanges and their connection end.

use observer_ebpf::limits::UNSENT_BYTES;

use super::{Connection, Moment, Moments};
use crate::event::{Data, Direction, Nanoseconds, Remaining, Role};
use crate::exchange::{Ending, Exchange, Unobserved};

/// A socket that young may be on its way into the kernel's tables.
const YOUNG_NS: Nanoseconds = 1_000_000_000;

/// Bytes of a status line up to the status (RFC 9112, section 4).
const STATUS_BYTES: usize = UNSENT_BYTES as usize;

/// Bytes of a TLS record's header (RFC 8446, section 5.1).
const RECORD_BYTES: usize = 5;

/// An encrypted alert's record is shorter, whatever the cipher. The shortest answer's is longer.
const ALERT_BYTES_MAX: u16 = 64;

/// How many of the first bytes of a call that failed tell what it was to send.
pub fn telling_unsent_bytes(data: &Data<'_>) -> usize {
    match (unsent_status(data), unsent_record(data)) {
        (Some(_), _) => STATUS_BYTES,
        (None, Some(_)) => RECORD_BYTES,
        (None, None) => 0,
    }
}

/// The bytes of the record of application data that the gateway tried to send.
fn unsent_record(data: &Data<'_>) -> Option<u16> {
    match data.sample.get(..RECORD_BYTES).filter(|_| is_unsent(data))? {
        &[0x17, 3, _, high, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}

fn is_unsent(data: &Data<'_>) -> bool {
    data.result < 0 && data.direction == Direction::Sent
}

/// The status of an answer that the gateway tried to send to a client that was gone: nginx logs it.
fn unsent_status(data: &Data<'_>) -> Option<u16> {
    let line = data.sample.get(..STATUS_BYTES).filter(|_| is_unsent(data))?;
    let status = line.strip_prefix(b"HTTP/1.")?.get(1..)?.strip_prefix(b" ")?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    // Another response follows those, save the one that ends HTTP.
    matches!(status, 101 | 200..=999).then_some(status)
}

impl Connection {
    /// Whether the connection is gone, though nothing told of its end: two lists of the kernel's sockets lacked it. One
    /// alone may: the kernel's tables change while they are listed.
    pub fn is_gone(&mut self, remaining: &Remaining) -> bool {
        let (first, last) = remaining.range;
        let socket = self.opened.socket;
        if self.opened.network != remaining.network || !(first..=last).contains(&socket) {
            return false;
        }
        let is_young = self.opened.time_ns.saturating_add(YOUNG_NS) > remaining.time_ns;
        let is_missing = !is_young && !self.is_reset && remaining.sockets.binary_search(&socket).is_err();
        let was_missed = std::mem::replace(&mut self.is_missed, is_missing);
        is_missing && was_missed
    }

    /// The record of its end was lost. Returns when it was heard of last.
    pub fn vanish(&mut self, moments: &mut Moments) -> Nanoseconds {
        let last_ns = self.exchanges.back().map_or(self.opened.time_ns, Exchange::ended_ns);
        if self.opened.role == Role::Client {
            self.end_all(Ending::Lost(Unobserved::RecordsLost), moments);
        }
        last_ns.max(self.last_end_ns)
    }

    /// Whether the last call on it was the last of a client's exchange, and none is under way.
    pub fn has_just_answered(&self) -> bool {
        let is_over = match self.exchanges.back() {
            None => self.last_end_ns == self.last_call_ns,
            Some(held) => held.is_complete() && held.ended_ns() == self.last_call_ns,
        };
        self.opened.role == Role::Client && is_over
    }

    /// The process that had the connection ended.
    pub fn process_ended(&mut self, moments: &mut Moments) {
        self.lose(Unobserved::ProcessEnded);
        self.end_all(Ending::WithProcess, moments);
        self.out_of_step = None;
    }

    pub(super) fn end_of_stream(&mut self, direction: Direction, time_ns: Nanoseconds, moments: &mut Moments) {
        if direction == Direction::Sent {
            return;
        }
        self.peer_closed |= !self.gateway_closed;
        match self.opened.role {
            Role::Upstream => {
                self.is_over = true;
                self.end_open_response(Some(time_ns), moments);
                if self.is_unix() {
                    self.close(time_ns, moments);
                }
            }
            Role::Client | Role::Listener => {
                self.is_over |= self.is_unix();
                self.end_is_read();
                self.end_lingering(time_ns, moments);
                if self.gateway_closed || self.is_unix() {
                    self.close(time_ns, moments);
                }
            }
        }
    }

    pub(super) fn failed(&mut self, data: &Data<'_>, moments: &mut Moments) {
        let time_ns = data.time_ns;
        if let Some(open) = self.exchanges.front_mut().filter(|open| open.response.bytes == 0) {
            open.response.unsent_status = open.response.unsent_status.or_else(|| unsent_status(data));
            open.response.is_unsent |= unsent_record(data).is_some_and(|bytes| bytes > ALERT_BYTES_MAX);
        }
        self.is_over = true;
        self.peer_closed |= !self.gateway_closed;
        if data.direction == Direction::Received {
            self.end_is_read();
        }
        self.end_lingering(time_ns, moments);
        if self.gateway_closed || self.is_unix() {
            self.close(time_ns, moments);
        }
    }

    fn end_is_read(&mut self) {
        if let Some(open) = self.exchanges.front_mut() {
            open.body_reads.reads_end |= !open.request.is_complete;
        }
    }

    /// nginx ends what it was at with the connection, and never looks at what was sent ahead behind it.
    pub(super) fn close(&mut self, time_ns: Nanoseconds, moments: &mut Moments) {
        self.close_suspected(moments);
        self.end_open_response(Some(time_ns), moments);
        if self.missing_records > 0 {
            let unanswered = self.exchanges.iter_mut().filter(|open| !open.response.is_complete && !open.is_upgraded);
            unanswered.for_each(|open| open.blame(Unobserved::RecordsLost));
        }
        if let Some(open) = self.exchanges.front_mut() {
            open.response.last_ns = open.response.last_ns.max(time_ns);
            // What was answered in full is complete, whatever of its body was never read.
            let is_complete = open.response.is_complete || open.is_upgraded;
            let ending = if self.peer_closed { Ending::ByPeer } else { Ending::ByGateway };
            self.pop(if is_complete { Ending::Complete } else { ending }, moments);
        }
        self.leave_unread(0, moments);
        self.is_ended = true;
    }

    pub(super) fn pop_complete(&mut self, moments: &mut Moments) {
        while let Some(open) = self.exchanges.front() {
            if !open.is_complete() || self.holds(open) || self.is_copied(open) {
                return;
            }
            self.pop(Ending::Complete, moments);
        }
    }

    /// An upstream exchange made for this one is over: nginx logs a request when the last of its subrequests is done
    /// (`ngx_http_close_request`).
    pub fn attempt_ended(&mut self, number: u64, time_ns: Nanoseconds, moments: &mut Moments) {
        if let Some(open) = self.exchange_mut(number).filter(|open| open.is_complete()) {
            open.request.last_ns = open.request.last_ns.max(time_ns);
            self.pop_complete(moments);
        }
    }

    /// The gateway reads a client's next request when it is done with the one before.
    pub(super) fn end_copied(&mut self, moments: &mut Moments) {
        while self.exchanges.front().is_some_and(|open| open.is_complete() && !self.holds(open)) {
            self.pop(Ending::Complete, moments);
        }
    }

    pub(super) fn end_all(&mut self, ending: Ending, moments: &mut Moments) {
        self.is_begun_blank = false;
        while !self.exchanges.is_empty() {
            self.pop(ending, moments);
        }
    }

    /// Exchanges from this one on are none to the gateway.
    pub(super) fn leave_unread(&mut self, from: usize, moments: &mut Moments) {
        self.is_begun_blank = false;
        moments.told.extend(self.exchanges.drain_behind(from).map(|open| Moment::Ended(open, Ending::NeverRead)));
    }

    /// nginx ends a request whose body it reads away when the body ends or its bytes do
    /// (`ngx_http_read_discarded_request_body`), and one behind which it lingers when the connection does
    /// (`ngx_http_set_lingering_close`).
    fn end_lingering(&mut self, time_ns: Nanoseconds, moments: &mut Moments) {
        let Some(open) = self.exchanges.front_mut().filter(|open| open.response.is_complete) else { return };
        let is_read_away = !open.request.is_complete;
        if self.gateway_closed || is_read_away {
            open.request.last_ns = open.request.last_ns.max(time_ns);
        }
        if is_read_away && !self.gateway_closed {
            self.pop(Ending::Complete, moments);
        }
    }

    /// A client's last exchange ends with the connection: the gateway may linger.
    fn holds(&self, open: &Exchange) -> bool {
        let is_last = self.last_number == Some(open.id.number) || ends_connection(open);
        is_last && !self.is_unix() && self.opened.role == Role::Client && !self.is_ended
    }

    /// A copy of the request (`mirror`) is still under way, and no later request is being answered.
    fn is_copied(&self, open: &Exchange) -> bool {
        let is_next_answered = || self.exchanges.iter().nth(1).is_some_and(|next| next.response.began_ns.is_some());
        self.opened.role == Role::Client && open.has_attempt_under_way() && !is_next_answered()
    }

    fn pop(&mut self, ending: Ending, moments: &mut Moments) {
        let Some(mut open) = self.exchanges.pop_front() else { return };
        // nginx starts a request's clock when the one before it is done, if it was read earlier.
        if self.opened.role == Role::Client {
            open.request.began_ns = open.request.began_ns.map(|began| began.max(self.last_end_ns));
        }
        self.last_end_ns = open.ended_ns();
        self.is_over |= open.is_last();
        moments.push(Moment::Ended(open, ending));
    }
}

/// Whether the connection ends with this exchange: its answer says so (RFC 9112, section 9.6; nginx always does), or the
/// request is one of HTTP/0.9.
pub(super) fn ends_connection(exchange: &Exchange) -> bool {
    let is_simple = exchange.request.head.as_ref().is_some_and(|head| head.is_simple());
    is_simple || exchange.response.head.as_ref().is_some_and(|head| head.close)
}
