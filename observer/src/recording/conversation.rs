//! One connection as the masker follows it: the same steps as [`crate::connection::Connection`] takes, so that heads,
//! bodies and chunks lie where the pipeline finds them, but of each exchange only what decides how to read on.

use std::collections::VecDeque;

use super::kept::Kept;
use super::stream::{Pass, Stream};
use crate::event::{Data, Direction, Opened, Origin, Role, StateChange, TcpState};
use crate::http::head::{Framing, Head, Side};
use crate::http::http1::{Input, Part};

/// As on a connection.
const OPEN_MAX: usize = 1024;

/// A connection's two streams and its open exchanges.
#[derive(Debug)]
pub struct Conversation {
    role: Role,
    /// The process that used it last.
    pub process: u32,
    requests: Stream,
    responses: Stream,
    exchanges: VecDeque<Open>,
    turn: Option<Side>,
    received: u64,
    sent: u64,
    gateway_closed: bool,
}

#[derive(Debug, Default)]
struct Open {
    /// The request's head, for its method.
    request: Option<Box<Head>>,
    is_request_complete: bool,
    is_request_malformed: bool,
    is_response_complete: bool,
}

impl Conversation {
    /// A connection just opened or met; `role` is the pipeline's.
    pub fn new(opened: &Opened, role: Role) -> Self {
        let is_midway = opened.origin != Origin::Beginning;
        Conversation {
            role,
            process: opened.process,
            requests: Stream::new(Side::Request, is_midway),
            responses: Stream::new(Side::Response, is_midway),
            exchanges: VecDeque::new(),
            turn: None,
            received: 0,
            sent: 0,
            gateway_closed: false,
        }
    }

    /// Takes one call's bytes and writes the sample to `masked`, which has room for just it.
    pub fn data(&mut self, data: &Data<'_>, kept: &Kept, masked: &mut [u8]) {
        self.process = data.process;
        let side = self.side(data.direction);
        self.account_for_gap(side, data);
        match u64::try_from(data.result) {
            Ok(0) => self.end_of_stream(data.direction),
            Ok(bytes) => {
                let hidden = bytes.saturating_sub(data.sample.len() as u64);
                let input = Input::new(data.sample, hidden, data.tail);
                self.feed(side, Pass::new(input, data.sample, kept, masked));
                *self.offset(data.direction) = data.offset + bytes;
            }
            Err(_) if self.gateway_closed => self.close(),
            Err(_) => {}
        }
    }

    /// Takes a TCP state change.
    pub fn state(&mut self, change: &StateChange) {
        match change.new {
            TcpState::FinWait => {
                self.gateway_closed = true;
                self.end_open_response();
                if change.is_closed {
                    self.close();
                }
            }
            TcpState::LastAck | TcpState::Close => self.close(),
            TcpState::CloseWait | TcpState::Established | TcpState::SynSent | TcpState::Listen | TcpState::Other(_) => {
            }
        }
    }

    /// The process that had the connection ended.
    pub fn process_ended(&mut self) {
        self.exchanges.clear();
    }

    fn side(&self, direction: Direction) -> Side {
        match (self.role, direction) {
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

    fn account_for_gap(&mut self, side: Side, data: &Data<'_>) {
        let missing = data.offset.saturating_sub(*self.offset(data.direction));
        *self.offset(data.direction) = data.offset;
        if missing > 0 {
            self.lose();
            self.exchanges.clear();
            self.turn = Some(side);
        }
    }

    fn feed(&mut self, side: Side, pass: Pass<'_>) {
        let is_new_turn = self.turn != Some(side);
        self.turn = Some(side);
        match side {
            Side::Request => {
                if is_new_turn && !self.requests.reader.is_in_message() {
                    self.end_open_response();
                }
                self.feed_requests(pass);
            }
            Side::Response => self.feed_responses(pass),
        }
    }

    fn feed_requests(&mut self, mut pass: Pass<'_>) {
        if self.requests.reader.is_lost() && !self.resynchronise(&pass) {
            return;
        }
        while pass.left() > 0 {
            let part = pass.read(&mut self.requests);
            match part {
                Some(Part::Blank) => continue,
                Some(Part::Begin) => {
                    self.begin();
                    continue;
                }
                Some(Part::Head(_) | Part::End | Part::Malformed | Part::Blurred) | None => {}
            }
            let Some(open) = self.exchanges.back_mut() else { return };
            match part {
                Some(Part::Head(head)) => {
                    let framing = head.request_framing();
                    open.request = Some(head);
                    if self.requests.reader.begin_body(framing).is_some() {
                        self.request_ended();
                    }
                }
                Some(Part::End) => self.request_ended(),
                Some(Part::Malformed) => open.is_request_malformed = true,
                Some(Part::Blank | Part::Begin | Part::Blurred) | None => {}
            }
        }
    }

    fn feed_responses(&mut self, mut pass: Pass<'_>) {
        if self.responses.reader.is_lost() {
            if self.current_response().is_none() || !pass.begins_with(b"HTTP/1.") {
                return;
            }
            self.responses.reader.restart();
        }
        while pass.left() > 0 {
            let part = pass.read(&mut self.responses);
            let Some(at) = self.current_response() else { return self.lose() };
            match part {
                Some(Part::Head(head)) => self.response_head(at, &head),
                Some(Part::End) => self.response_ended(at),
                Some(Part::Begin | Part::Blank | Part::Malformed | Part::Blurred) | None => {}
            }
        }
    }

    fn response_head(&mut self, at: usize, head: &Head) {
        let method = self.exchanges[at].request.as_ref().map_or("", |request| request.method());
        let framing = head.response_framing(method);
        let is_interim = head.is_interim();
        let is_complete = self.responses.reader.begin_body(framing).is_some();
        if framing == Framing::Tunnel {
            self.requests.reader.begin_body(Framing::Tunnel);
        }
        if is_complete && !is_interim {
            self.response_ended(at);
        }
    }

    /// The oldest exchange whose response is not complete.
    fn current_response(&self) -> Option<usize> {
        self.exchanges.iter().position(|open| !open.is_response_complete)
    }

    fn begin(&mut self) {
        if self.exchanges.len() >= OPEN_MAX {
            self.exchanges.clear();
        }
        self.exchanges.push_back(Open::default());
    }

    fn resynchronise(&mut self, pass: &Pass<'_>) -> bool {
        if !pass.begins_like_a_request() {
            return false;
        }
        self.exchanges.clear();
        self.requests.reader.restart();
        self.responses.reader.restart();
        true
    }

    fn lose(&mut self) {
        self.requests.reader.lose();
        self.responses.reader.lose();
    }

    fn request_ended(&mut self) {
        if let Some(open) = self.exchanges.back_mut() {
            open.is_request_complete = true;
        }
        self.pop_complete();
    }

    fn response_ended(&mut self, at: usize) {
        let is_last = at + 1 == self.exchanges.len();
        let is_request_open_ended = is_last && self.requests.reader.is_open_ended();
        if is_request_open_ended {
            self.requests.reader.end();
        }
        if let Some(open) = self.exchanges.get_mut(at) {
            open.is_response_complete = true;
            open.is_request_complete |= open.is_request_malformed || is_request_open_ended;
        }
        self.pop_complete();
    }

    fn pop_complete(&mut self) {
        while self.exchanges.front().is_some_and(|open| open.is_request_complete && open.is_response_complete) {
            self.exchanges.pop_front();
        }
    }

    fn end_of_stream(&mut self, direction: Direction) {
        match (direction, self.role) {
            (Direction::Sent, _) => {}
            (Direction::Received, Role::Upstream) => self.end_open_response(),
            (Direction::Received, Role::Client | Role::Listener) if self.gateway_closed => self.close(),
            (Direction::Received, Role::Client | Role::Listener) => {}
        }
    }

    fn end_open_response(&mut self) {
        if self.responses.reader.is_open_ended()
            && let Some(at) = self.current_response()
        {
            self.responses.reader.end();
            self.response_ended(at);
        }
    }

    fn close(&mut self) {
        self.end_open_response();
        self.exchanges.clear();
    }
}
