//! A connection: two byte streams with gaps, and the exchanges that lie on them.

use std::collections::VecDeque;

use crate::event::{Call, Data, Direction, Endpoint, Nanoseconds, Opened, Origin, Role, StateChange, TcpState};
use crate::exchange::{Ending, Exchange, ExchangeId, Unobserved};
use crate::gateways::GatewayId;
use crate::http::head::{Framing, Side};
use crate::http::http1::{Input, Part, Reader};

/// Exchanges that may be open on one connection: requests a client may send ahead.
const OPEN_MAX: usize = 1024;

/// What a connection tells of its exchanges, by number, in the order in which it happened.
#[derive(Debug)]
pub enum Moment {
    /// A request's first byte.
    Begun(u64),
    /// A request's head is complete.
    RequestHead(u64),
    /// A request is complete.
    RequestEnd(u64),
    /// A final response's head is complete.
    ResponseHead(u64),
    /// An exchange is over.
    Ended(Box<Exchange>, Ending),
    /// Bytes of an exchange that was never seen to begin.
    Stray(Unobserved),
}

/// Where a client's connection stands, as nginx's `stub_status` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No request is under way.
    #[default]
    Waiting,
    /// A request's head is not complete.
    Reading,
    /// From then on to the end of the request.
    Writing,
}

/// One connection of the gateway's.
#[derive(Debug)]
pub struct Connection {
    /// What is known of the socket.
    pub opened: Opened,
    /// Whose it is.
    pub gateway: GatewayId,
    /// The other end's address as text, without port; empty where it has none.
    pub peer_address: Box<str>,
    /// Where it was counted last.
    pub phase: Phase,
    /// The gateway is done with it.
    pub is_closed: bool,
    /// The process that used it last.
    pub process: u32,
    /// The thread that used it last.
    pub thread: u32,
    /// Its peer is an observed gateway too.
    pub is_internal: bool,
    /// A connect was seen, and no request since.
    pub connected_ns: Option<Nanoseconds>,
    /// The client exchange that the upstream exchange under way, or the connect, was made for.
    pub made_for: Option<ExchangeId>,
    /// The client exchange read last on the thread when the connect or the request began.
    pub read_last: Option<ExchangeId>,
    requests: Reader,
    responses: Reader,
    exchanges: VecDeque<Exchange>,
    next_number: u64,
    turn: Option<Side>,
    /// Bytes that the kernel part has told of, by direction.
    received: u64,
    sent: u64,
    last_end_ns: Nanoseconds,
    /// The number of the next record, once that is known.
    next_sequence: Option<u32>,
    /// A record is missing, and no stream has told what was in it.
    misses_record: bool,
    /// Out of step, and the exchange that the bytes belong to was not told of yet.
    out_of_step: Option<Unobserved>,
    /// The newest exchange has but blank lines.
    is_begun_blank: bool,
    /// The answer that ended last said that the connection ends with it.
    is_last: bool,
    /// The turn began within a request: what looks like the beginning of one need not be one.
    is_mid_request: bool,
    /// There were too many open exchanges to keep track.
    is_given_up: bool,
    peer_closed: bool,
    gateway_closed: bool,
}

/// Bytes of one call for one side.
struct Piece<'a> {
    input: Input<'a>,
    time_ns: Nanoseconds,
    /// Why bytes of it are hidden, if some are.
    hidden_for: Unobserved,
}

impl Connection {
    /// A connection just opened or met.
    pub fn new(opened: Opened, gateway: GatewayId) -> Self {
        let reader = |side| match opened.origin {
            Origin::Beginning => Reader::new(side),
            // Whether anything went before is not known: the first bytes will tell.
            Origin::Midway | Origin::Scan => Reader::midway(side),
        };
        Connection {
            gateway,
            peer_address: opened.remote.ip().map(|address| address.ip().to_string()).unwrap_or_default().into(),
            phase: Phase::default(),
            is_closed: false,
            process: opened.process,
            thread: opened.thread,
            is_internal: false,
            connected_ns: (opened.role == Role::Upstream && opened.origin == Origin::Beginning)
                .then_some(opened.time_ns),
            made_for: None,
            read_last: None,
            requests: reader(Side::Request),
            responses: reader(Side::Response),
            exchanges: VecDeque::new(),
            next_number: 0,
            turn: None,
            received: 0,
            sent: 0,
            last_end_ns: 0,
            // A scan does not know what the kernel part has numbered already.
            next_sequence: (opened.origin != Origin::Scan).then(|| opened.sequence.wrapping_add(1)),
            misses_record: false,
            out_of_step: (opened.origin != Origin::Beginning).then_some(Unobserved::Midway),
            is_begun_blank: false,
            is_last: false,
            is_mid_request: false,
            is_given_up: false,
            peer_closed: false,
            gateway_closed: false,
            opened,
        }
    }

    /// An open exchange.
    pub fn exchange(&self, number: u64) -> Option<&Exchange> {
        let first = self.exchanges.front()?.id.number;
        self.exchanges.get(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// An open exchange, to change.
    pub fn exchange_mut(&mut self, number: u64) -> Option<&mut Exchange> {
        let first = self.exchanges.front()?.id.number;
        self.exchanges.get_mut(usize::try_from(number.checked_sub(first)?).ok()?)
    }

    /// The open exchanges, oldest first.
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter()
    }

    /// The name that the next exchange will have.
    pub fn next_id(&self) -> ExchangeId {
        ExchangeId { socket: self.opened.socket, number: self.next_number }
    }

    /// Where it stands.
    pub fn current_phase(&self) -> Phase {
        match self.exchanges.front() {
            None => Phase::Waiting,
            Some(open) if open.request.head.is_some() || open.request.is_malformed => Phase::Writing,
            Some(_) => Phase::Reading,
        }
    }

    /// Takes one call's bytes.
    pub fn data(&mut self, data: &Data<'_>, moments: &mut Vec<Moment>) {
        self.process = data.process;
        self.thread = data.thread;
        self.follow(data.sequence);
        let side = self.side(data.direction);
        self.account_for_gap(side, data, moments);
        match u64::try_from(data.result) {
            Ok(0) => self.end_of_stream(data.direction, data.time_ns, moments),
            Ok(bytes) => {
                // A damaged recording may claim anything.
                let sampled = data.sample.len().min(data.result as usize);
                let input = Input::new(&data.sample[..sampled], bytes - sampled as u64, data.tail);
                let piece = Piece {
                    input,
                    time_ns: data.time_ns,
                    hidden_for: match data.call {
                        Call::Buffer | Call::Pages => Unobserved::NotSampled,
                        Call::Unsampled => Unobserved::UnsampledCall,
                    },
                };
                self.feed(side, piece, moments);
                *self.offset(data.direction) = data.offset.saturating_add(bytes);
            }
            Err(_) => self.failed(data.time_ns, moments),
        }
    }

    /// Takes a TCP state change. Returns whether the gateway is done with the connection.
    pub fn state(&mut self, change: &StateChange, moments: &mut Vec<Moment>) -> bool {
        let StateChange { new, time_ns, .. } = *change;
        self.follow(change.sequence);
        match new {
            TcpState::CloseWait => {
                self.peer_closed = true;
                false
            }
            TcpState::FinWait => {
                self.gateway_closed = true;
                self.end_open_response(Some(time_ns), moments);
                if change.is_closed {
                    self.close(time_ns, moments);
                }
                change.is_closed
            }
            TcpState::LastAck | TcpState::Close => {
                // A gateway that leaves bytes unread resets the connection, too.
                if !self.gateway_closed && (new == TcpState::LastAck || !change.is_closed) {
                    self.peer_closed = true;
                }
                self.touch_lingering(time_ns);
                self.close(time_ns, moments);
                true
            }
            TcpState::Established | TcpState::SynSent | TcpState::Listen | TcpState::Other(_) => false,
        }
    }

    /// The process that had the connection ended.
    pub fn process_ended(&mut self, moments: &mut Vec<Moment>) {
        if !self.exchanges.is_empty() {
            self.lose(Unobserved::ProcessEnded);
            self.end_all(Ending::WithProcess, moments);
            self.out_of_step = None;
        }
    }

    /// Whether it has no states that would tell of its end.
    pub fn is_unix(&self) -> bool {
        matches!(self.opened.local, Endpoint::Unix(_))
    }

    /// Whether its bytes tell that it is over, where no state will.
    pub fn is_over_unseen(&self) -> bool {
        self.is_unix() && self.exchanges.is_empty() && (self.peer_closed || self.is_last)
    }

    fn side(&self, direction: Direction) -> Side {
        match (self.opened.role, direction) {
            (Role::Upstream, Direction::Sent) | (Role::Client | Role::Listener, Direction::Received) => Side::Request,
            (Role::Upstream, Direction::Received) | (Role::Client | Role::Listener, Direction::Sent) => Side::Response,
        }
    }

    fn offset(&mut self, direction: Direction) -> &mut u64 {
        match direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        }
    }

    /// Notices a missing record. A state change may overtake the call that it interrupts.
    fn follow(&mut self, sequence: u32) {
        let ahead = self.next_sequence.map_or(0, |next| sequence.wrapping_sub(next) as i32);
        if ahead >= 0 {
            self.next_sequence = Some(sequence.wrapping_add(1));
            self.misses_record |= ahead > 0;
        }
    }

    /// Bytes that the kernel part counted and that never came here.
    fn account_for_gap(&mut self, side: Side, data: &Data<'_>, moments: &mut Vec<Moment>) {
        let missing = data.offset.saturating_sub(*self.offset(data.direction));
        *self.offset(data.direction) = data.offset;
        if missing == 0 {
            return;
        }
        let reason = if data.unseen_bytes > 0 { Unobserved::UnseenBytes } else { Unobserved::RecordsLost };
        self.misses_record &= reason != Unobserved::RecordsLost;
        self.lose(reason);
        if !self.exchanges.is_empty() {
            // What goes on behind the gap most likely belongs to these.
            self.out_of_step = None;
        }
        self.end_all(Ending::Lost(reason), moments);
        self.turn = Some(side);
    }

    fn feed(&mut self, side: Side, piece: Piece<'_>, moments: &mut Vec<Moment>) {
        let is_new_turn = self.turn != Some(side);
        self.turn = Some(side);
        match side {
            Side::Request => {
                if is_new_turn {
                    self.end_blurred_response(moments);
                }
                self.feed_requests(piece, moments);
            }
            Side::Response => {
                self.is_mid_request = false;
                self.feed_responses(piece, moments);
            }
        }
    }

    fn feed_requests(&mut self, piece: Piece<'_>, moments: &mut Vec<Moment>) {
        let Piece { mut input, time_ns, hidden_for } = piece;
        if self.requests.is_lost() && !self.resynchronise(&input, moments) {
            return;
        }
        while input.left() > 0 {
            let before = input.left();
            let part = self.requests.read(&mut input);
            let taken = before - input.left();
            match part {
                Some(Part::Blank) => {
                    // To nginx the request begins with it, but has none of its bytes.
                    if !std::mem::replace(&mut self.is_begun_blank, true) {
                        self.begin(time_ns, moments);
                    }
                    continue;
                }
                Some(Part::Begin) => {
                    if !std::mem::take(&mut self.is_begun_blank) {
                        self.begin(time_ns, moments);
                    }
                    continue;
                }
                _ => {}
            }
            let Some(open) = self.exchanges.back_mut() else { break };
            if !open.is_upgraded {
                open.request.bytes += taken;
                open.request.last_ns = time_ns;
            }
            match part {
                Some(Part::Head(head)) => {
                    open.request.head_bytes = open.request.bytes;
                    open.request.head_ns = Some(time_ns);
                    let framing = head.request_framing();
                    open.request.head = Some(head);
                    moments.push(Moment::RequestHead(open.id.number));
                    if self.requests.begin_body(framing).is_some() {
                        self.request_ended(moments);
                    }
                }
                Some(Part::End) => self.request_ended(moments),
                Some(Part::Malformed) => {
                    open.request.is_malformed = true;
                    self.is_mid_request = true;
                }
                Some(Part::Blurred) => {
                    if open.request.head.is_none() {
                        open.blame(hidden_for);
                    }
                }
                Some(Part::Blank | Part::Begin) | None => {}
            }
        }
    }

    fn feed_responses(&mut self, piece: Piece<'_>, moments: &mut Vec<Moment>) {
        let Piece { mut input, time_ns, hidden_for } = piece;
        if self.responses.is_lost() {
            if self.current_response().is_none() || !input.begins_with(b"HTTP/1.") {
                self.tell_stray(moments);
                return;
            }
            self.responses.restart();
        }
        while input.left() > 0 {
            let before = input.left();
            let part = self.responses.read(&mut input);
            let taken = before - input.left();
            let Some(number) = self.current_response() else {
                // A response that nobody asked for.
                self.lose(Unobserved::OutOfStep);
                self.tell_stray(moments);
                return;
            };
            let Some(open) = self.exchange_mut(number) else { return };
            open.response.began_ns.get_or_insert(time_ns);
            open.response.bytes += taken;
            open.response.last_ns = time_ns;
            match part {
                Some(Part::Head(head)) => {
                    open.response.head_bytes += head.bytes();
                    let is_interim = head.is_interim();
                    let framing = head.response_framing(open.method());
                    if !is_interim {
                        open.response.head_ns = Some(time_ns);
                        open.is_upgraded = framing == Framing::Tunnel;
                        open.response.head = Some(head);
                        moments.push(Moment::ResponseHead(number));
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
                Some(Part::End) => self.response_ended(number, moments),
                Some(Part::Malformed) => {
                    open.response.is_malformed = true;
                    // Where it ends is not known, so neither is whose the next answer is.
                    self.lose(Unobserved::OutOfStep);
                    self.end_all(Ending::Lost(Unobserved::OutOfStep), moments);
                    self.out_of_step = None;
                    return;
                }
                Some(Part::Blurred) => {
                    if open.response.head.is_none() {
                        open.blame(hidden_for);
                    }
                }
                Some(Part::Begin | Part::Blank) | None => {}
            }
        }
    }

    /// What was read ahead of an upgrade were the tunnel's first bytes, no requests.
    fn drop_behind(&mut self, number: u64, moments: &mut Vec<Moment>) {
        let upgraded = self.exchanges.iter().take_while(|open| open.id.number <= number).count();
        for behind in self.exchanges.drain(upgraded..) {
            moments.push(Moment::Ended(Box::new(behind), Ending::NotTaken));
        }
    }

    /// The oldest exchange whose response is not complete.
    fn current_response(&self) -> Option<u64> {
        self.exchanges.iter().find(|open| !open.response.is_complete).map(|open| open.id.number)
    }

    fn begin(&mut self, time_ns: Nanoseconds, moments: &mut Vec<Moment>) {
        if self.exchanges.len() >= OPEN_MAX {
            // Their answers are still to come: nobody's from here on.
            self.is_given_up = true;
            self.lose(Unobserved::TableFull);
            return self.end_all(Ending::Lost(Unobserved::TableFull), moments);
        }
        let id = self.next_id();
        self.next_number += 1;
        let began_ns = self.connected_ns.take().unwrap_or(time_ns);
        self.exchanges.push_back(Exchange::new(id, began_ns));
        moments.push(Moment::Begun(id.number));
    }

    /// After a loss, or when met midway: in step again where a request begins.
    fn resynchronise(&mut self, input: &Input<'_>, moments: &mut Vec<Moment>) -> bool {
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

    fn lose(&mut self, reason: Unobserved) {
        self.requests.lose();
        self.responses.lose();
        self.out_of_step = Some(reason);
    }

    /// Tells once of the exchange that bytes out of step belong to.
    fn tell_stray(&mut self, moments: &mut Vec<Moment>) {
        if let Some(reason) = self.out_of_step.take() {
            moments.push(Moment::Stray(reason));
        }
    }

    fn request_ended(&mut self, moments: &mut Vec<Moment>) {
        let Some(open) = self.exchanges.back_mut() else { return };
        open.request.is_complete = true;
        moments.push(Moment::RequestEnd(open.id.number));
        self.pop_complete(moments);
    }

    fn response_ended(&mut self, number: u64, moments: &mut Vec<Moment>) {
        let is_request_open_ended = self.requests.is_open_ended() && number + 1 == self.next_number;
        if is_request_open_ended {
            self.requests.end();
        }
        if let Some(open) = self.exchange_mut(number) {
            open.response.is_complete = true;
            // The gateway answered in full: it has read of the request what it wanted.
            open.request.is_complete |= open.request.is_malformed || is_request_open_ended;
        }
        self.pop_complete(moments);
    }

    fn pop_complete(&mut self, moments: &mut Vec<Moment>) {
        while let Some(open) = self.exchanges.front() {
            if !(open.request.is_complete && open.response.is_complete) || self.holds(open) {
                return;
            }
            self.pop(Ending::Complete, moments);
        }
    }

    /// A client's last exchange ends with the connection: the gateway may linger.
    fn holds(&self, open: &Exchange) -> bool {
        ends_connection(open) && !self.is_unix() && self.opened.role == Role::Client && !self.is_closed
    }

    fn pop(&mut self, ending: Ending, moments: &mut Vec<Moment>) {
        let Some(mut open) = self.exchanges.pop_front() else { return };
        // nginx starts a request's clock when the one before it is done, if it was read earlier.
        if self.opened.role == Role::Client {
            open.request.began_ns = open.request.began_ns.map(|began| began.max(self.last_end_ns));
        }
        self.last_end_ns = open.ended_ns();
        self.is_last = ends_connection(&open) || open.request.head.as_ref().is_some_and(|head| head.close);
        moments.push(Moment::Ended(Box::new(open), ending));
    }

    fn end_all(&mut self, ending: Ending, moments: &mut Vec<Moment>) {
        self.is_begun_blank = false;
        while !self.exchanges.is_empty() {
            self.pop(ending, moments);
        }
    }

    fn end_of_stream(&mut self, direction: Direction, time_ns: Nanoseconds, moments: &mut Vec<Moment>) {
        if direction == Direction::Sent {
            return;
        }
        self.peer_closed |= !self.gateway_closed;
        match self.opened.role {
            Role::Upstream => {
                self.end_open_response(Some(time_ns), moments);
                if self.is_unix() {
                    self.close(time_ns, moments);
                }
            }
            Role::Client | Role::Listener => {
                self.touch_lingering(time_ns);
                if self.gateway_closed || self.is_unix() {
                    self.close(time_ns, moments);
                }
            }
        }
    }

    fn failed(&mut self, time_ns: Nanoseconds, moments: &mut Vec<Moment>) {
        self.peer_closed |= !self.gateway_closed;
        self.touch_lingering(time_ns);
        if self.gateway_closed || self.is_unix() {
            self.close(time_ns, moments);
        }
    }

    /// nginx ends a request whose body it reads away when the body ends, and one behind which it lingers when the
    /// connection does (`ngx_http_set_lingering_close`).
    fn touch_lingering(&mut self, time_ns: Nanoseconds) {
        if let Some(open) = self.exchanges.front_mut()
            && open.response.is_complete
            && (self.gateway_closed || !open.request.is_complete)
        {
            open.request.last_ns = open.request.last_ns.max(time_ns);
        }
    }

    /// The connection's end completes a response that has no other end, and is the end of one without length.
    fn end_open_response(&mut self, closed_ns: Option<Nanoseconds>, moments: &mut Vec<Moment>) {
        if !self.responses.is_open_ended() {
            return;
        }
        let Some(number) = self.current_response() else { return };
        if let Some(closed_ns) = closed_ns
            && let Some(open) = self.exchange_mut(number)
            && let Some(head) = &open.response.head
            && head.response_framing(open.method()) == Framing::UntilClose
        {
            open.response.last_ns = open.response.last_ns.max(closed_ns);
        }
        self.responses.end();
        self.response_ended(number, moments);
    }

    /// A new request completes a response whose end lies in hidden bytes.
    fn end_blurred_response(&mut self, moments: &mut Vec<Moment>) {
        if !self.requests.is_in_message() {
            self.end_open_response(None, moments);
        }
    }

    fn close(&mut self, time_ns: Nanoseconds, moments: &mut Vec<Moment>) {
        self.end_open_response(Some(time_ns), moments);
        let ending = if self.peer_closed { Ending::ByPeer } else { Ending::ByGateway };
        let mut is_over = self.is_last && self.opened.role == Role::Client;
        // What was answered in full is complete, whatever of its body was never read.
        while let Some(open) = self.exchanges.front_mut() {
            if !open.response.is_complete {
                open.response.last_ns = open.response.last_ns.max(time_ns);
                if self.misses_record {
                    open.blame(Unobserved::RecordsLost);
                }
            }
            let ending = if open.response.is_complete || open.is_upgraded {
                Ending::Complete
            } else if is_over && open.response.began_ns.is_none() {
                Ending::NotTaken
            } else {
                ending
            };
            is_over = self.opened.role == Role::Client && (!open.response.is_complete || ends_connection(open));
            self.pop(ending, moments);
        }
    }
}

/// Whether the answer says that it is the connection's last (RFC 9112, section 9.6); nginx always does.
fn ends_connection(exchange: &Exchange) -> bool {
    exchange.response.head.as_ref().is_some_and(|head| head.close)
}

#[cfg(test)]
mod tests;
