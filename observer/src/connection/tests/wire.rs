//! One connection fed by hand: what is read and written when, and a line of text for each exchange that is over.

use super::super::{Connection, Moment, Moments, Phase};
use crate::event::{Call, Data, Direction, Endpoint, Layer, Opened, Origin, Role, StateChange, TcpState};
use crate::exchange::{Ending, Exchange};
use crate::verdict::Verdict;

pub const MS: u64 = 1_000_000;

pub struct Wire {
    pub connection: Connection,
    pub moments: Moments,
    received: u64,
    sent: u64,
    sequence: u32,
}

impl Wire {
    /// A client's connection, accepted under our eyes.
    pub fn client() -> Self {
        Wire::new(Role::Client, Origin::Beginning)
    }

    pub fn new(role: Role, origin: Origin) -> Self {
        let opened = Opened {
            time_ns: 0,
            socket: 1,
            sequence: 0,
            process: 7,
            thread: 7,
            network: 1,
            role,
            origin,
            state: 1,
            local: Endpoint::Ip("10.0.0.1:80".parse().unwrap()),
            remote: Endpoint::Ip("10.0.0.9:4000".parse().unwrap()),
        };
        Wire { connection: Connection::new(opened, 0), moments: Moments::default(), received: 0, sent: 0, sequence: 1 }
    }

    pub fn reads(&mut self, at_ms: u64, bytes: impl AsRef<[u8]>) {
        self.moves(at_ms, Direction::Received, bytes.as_ref(), 0, b"");
    }

    pub fn writes(&mut self, at_ms: u64, bytes: impl AsRef<[u8]>) {
        self.moves(at_ms, Direction::Sent, bytes.as_ref(), 0, b"");
    }

    /// Reads a sample, then bytes that were not sampled but for the last ones.
    pub fn reads_hidden(&mut self, at_ms: u64, sample: impl AsRef<[u8]>, hidden: u64, tail: &[u8]) {
        self.moves(at_ms, Direction::Received, sample.as_ref(), hidden, tail);
    }

    pub fn writes_hidden(&mut self, at_ms: u64, sample: impl AsRef<[u8]>, hidden: u64, tail: &[u8]) {
        self.moves(at_ms, Direction::Sent, sample.as_ref(), hidden, tail);
    }

    fn moves(&mut self, at_ms: u64, direction: Direction, sample: &[u8], hidden: u64, tail: &[u8]) {
        let result = i32::try_from(sample.len() as u64 + hidden).unwrap();
        self.call(Data { sample, tail, ..self.data(at_ms, direction, result) });
    }

    /// The client's end of the stream.
    pub fn reads_end(&mut self, at_ms: u64) {
        self.call(self.data(at_ms, Direction::Received, 0));
    }

    pub fn fails(&mut self, at_ms: u64, direction: Direction, errno: i32) {
        self.call(self.data(at_ms, direction, -errno));
    }

    pub fn data(&self, at_ms: u64, direction: Direction, result: i32) -> Data<'static> {
        Data {
            time_ns: at_ms * MS,
            socket: 1,
            sequence: self.sequence,
            process: 7,
            thread: 7,
            direction,
            call: Call::Buffer,
            layer: Layer::Socket,
            offset: match direction {
                Direction::Received => self.received,
                Direction::Sent => self.sent,
            },
            result,
            unseen_bytes: 0,
            sample: b"",
            tail: b"",
        }
    }

    pub fn call(&mut self, data: Data<'_>) {
        self.count(&data);
        self.connection.data(&data, &mut self.moments);
    }

    /// A call whose record was lost.
    pub fn loses(&mut self, direction: Direction, bytes: usize) {
        self.count(&self.data(0, direction, bytes as i32));
    }

    fn count(&mut self, data: &Data<'_>) {
        let stream = match data.direction {
            Direction::Received => &mut self.received,
            Direction::Sent => &mut self.sent,
        };
        *stream = data.offset + u64::try_from(data.result).unwrap_or(0);
        self.sequence = data.sequence + 1;
    }

    pub fn turns(&mut self, at_ms: u64, new: TcpState) -> bool {
        self.turns_with(at_ms, new, false)
    }

    /// `is_closed`: by the gateway, and altogether.
    pub fn turns_with(&mut self, at_ms: u64, new: TcpState, is_closed: bool) -> bool {
        self.turns_from(at_ms, TcpState::Established, new, is_closed)
    }

    /// The gateway's close of a connection that was reset.
    pub fn closes_reset(&mut self, at_ms: u64) -> bool {
        self.turns_from(at_ms, TcpState::Close, TcpState::Close, true)
    }

    /// The gateway closes, and so many bytes have left the socket since its last receive.
    pub fn closes_with_unseen(&mut self, at_ms: u64, unseen_bytes: u32) {
        let change = self.change(at_ms, TcpState::Established, TcpState::FinWait, true);
        self.connection.state(&StateChange { unseen_bytes, ..change }, &mut self.moments);
    }

    fn turns_from(&mut self, at_ms: u64, old: TcpState, new: TcpState, is_closed: bool) -> bool {
        let change = self.change(at_ms, old, new, is_closed);
        self.connection.state(&change, &mut self.moments)
    }

    fn change(&mut self, at_ms: u64, old: TcpState, new: TcpState, is_closed: bool) -> StateChange {
        let sequence = self.sequence;
        self.sequence += 1;
        StateChange {
            time_ns: at_ms * MS,
            socket: 1,
            sequence,
            old,
            new,
            local_port: 80,
            local: [0; 16],
            error: 0,
            is_closed,
            unseen_bytes: 0,
        }
    }

    /// The client's FIN, then the gateway's close.
    pub fn client_closes(&mut self, at_ms: u64) {
        self.turns(at_ms, TcpState::CloseWait);
        self.turns_with(at_ms, TcpState::LastAck, true);
        self.turns_with(at_ms, TcpState::Close, true);
    }

    /// The gateway's close, then the client's FIN.
    pub fn gateway_closes(&mut self, at_ms: u64) {
        self.turns_with(at_ms, TcpState::FinWait, true);
        self.turns_with(at_ms, TcpState::Close, true);
    }

    pub fn phase(&self) -> Phase {
        self.connection.current_phase()
    }

    /// What is over since the last look: `METHOD TARGET REQUEST+RESPONSE bytes BEGAN-ENDED ms: VERDICT`.
    pub fn over(&mut self) -> Vec<String> {
        let over = |moment: Moment| match moment {
            Moment::Ended(exchange, ending) => Some(line(&exchange, ending)),
            Moment::Stray(reason) => Some(format!("stray: {}", reason.name())),
            Moment::Carries(carried) => Some(format!("carries {carried:?}")),
            Moment::Begun(_) | Moment::RequestHead(_) | Moment::RequestEnd(_) | Moment::ResponseHead(_) => None,
        };
        self.moments.told.drain(..).filter_map(over).collect()
    }
}

fn line(exchange: &Exchange, ending: Ending) -> String {
    let (method, target) = exchange.request.head.as_ref().map_or(("-", "-"), |head| (head.method(), head.target()));
    let verdict = match Verdict::of(exchange, ending) {
        Verdict::Counted { status, rule: None } => status.to_string(),
        Verdict::Counted { status, rule: Some(rule) } => format!("{status} {}", rule.name()),
        Verdict::NeverRead => "not taken".to_owned(),
        Verdict::Unobserved(reason) => format!("unobserved {}", reason.name()),
    };
    let (request, response) = (exchange.request.bytes, exchange.response.bytes);
    let (began, ended) = (exchange.request.began_ns.unwrap() / MS, exchange.ended_ns() / MS);
    format!("{method} {target} {request}+{response} bytes {began}-{ended} ms: {verdict}")
}

/// 26 bytes and the target's.
pub fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// 40 bytes for a body of 3.
pub fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
