//! A connection: two byte streams with gaps, and the exchanges that lie on them.

mod endings;
mod gaps;
mod layers;
mod moments;
mod open;
mod requests;
mod responses;
#[cfg(test)]
mod tests;

use crate::event::{Call, Data, Direction, Endpoint, Layer, Nanoseconds, Opened, Origin, Role, StateChange, TcpState};
use crate::exchange::{Ending, Exchange, ExchangeId, Unobserved};
use crate::gateways::GatewayId;
use crate::http::head::Side;
use crate::http::http1::{Input, Reader, Span};
use crate::pairing::Lead;

pub use endings::telling_unsent_bytes;
pub use layers::{Carried, OpenHandshake, telling_bytes};
pub use moments::Moments;

use layers::Layers;
use open::Open;

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
    /// What the connection carries is known, or known anew.
    Carries(Carried),
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
    /// It does not count as open any more.
    pub is_closed: bool,
    /// No other exchange will follow: a message said so, or the peer closed. A UNIX socket's close shows no other way.
    pub is_over: bool,
    /// The process that used it last.
    pub process: u32,
    /// The thread that used it last.
    pub thread: u32,
    /// When that was; 0 if it moved no bytes yet.
    pub last_call_ns: Nanoseconds,
    /// A connect was seen, and no request since.
    pub connected_ns: Option<Nanoseconds>,
    /// The client exchange that the upstream exchange under way, or the connect, was made for.
    pub made_for: Option<ExchangeId>,
    /// What it was last told to carry.
    pub carried: Carried,
    /// Its protocol was counted.
    pub is_protocol_told: bool,
    /// A TLS handshake that is under way.
    pub handshake: Option<OpenHandshake>,
    layers: Layers,
    /// What the thread was at when the connect or the request began.
    pub lead: Option<Lead>,
    /// Upstream exchanges below this number are over as far as the client's are concerned.
    pub told_over: u64,
    /// The connect was done, and no request followed since.
    pub established_ns: Option<Nanoseconds>,
    /// The client exchange that was at hand when something else than HTTP was written last.
    pub spoken_for: Option<ExchangeId>,
    requests: Reader,
    responses: Reader,
    exchanges: Open,
    next_number: u64,
    /// The gateway said that it closes behind this one.
    last_number: Option<u64>,
    /// Blank lines began an exchange whose request line is still to come.
    is_begun_blank: bool,
    turn: Option<Side>,
    /// Bytes that the kernel part has told of, by direction.
    received: u64,
    sent: u64,
    last_end_ns: Nanoseconds,
    /// The number of the next record, once that is known.
    next_sequence: Option<u32>,
    /// Records that are missing, and of which no stream has told what was in them.
    missing_records: u32,
    /// In this direction bytes may have been lost with the last records that are missing: when they show, that is no new loss.
    behind: Option<Direction>,
    /// Out of step, and the exchange that the bytes belong to was not told of yet.
    out_of_step: Option<Unobserved>,
    /// The turn began within a request: what looks like the beginning of one need not be one.
    is_mid_request: bool,
    /// There were too many open exchanges to keep track.
    is_given_up: bool,
    peer_closed: bool,
    gateway_closed: bool,
    /// The peer reset it, and the gateway has not closed it yet: the kernel's tables have it no more.
    is_reset: bool,
    /// The last list of the kernel's sockets lacked it.
    is_missed: bool,
    /// All that was open on it ended with it.
    is_ended: bool,
}

/// Bytes of one call for one side.
#[derive(Clone, Copy)]
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
            is_over: false,
            process: opened.process,
            thread: opened.thread,
            last_call_ns: 0,
            connected_ns: (opened.role == Role::Upstream && opened.origin == Origin::Beginning)
                .then_some(opened.time_ns),
            made_for: None,
            carried: Carried::default(),
            is_protocol_told: false,
            handshake: None,
            layers: Layers::default(),
            lead: None,
            told_over: 0,
            established_ns: None,
            spoken_for: None,
            requests: reader(Side::Request),
            responses: reader(Side::Response),
            exchanges: Open::default(),
            next_number: 0,
            last_number: None,
            is_begun_blank: false,
            turn: None,
            received: 0,
            sent: 0,
            last_end_ns: 0,
            // A scan does not know what the kernel part has numbered already.
            next_sequence: (opened.origin != Origin::Scan).then(|| opened.sequence.wrapping_add(1)),
            missing_records: 0,
            behind: None,
            out_of_step: (opened.origin != Origin::Beginning).then_some(Unobserved::Midway),
            is_mid_request: false,
            is_given_up: false,
            peer_closed: false,
            gateway_closed: false,
            is_reset: false,
            is_missed: false,
            is_ended: false,
            opened,
        }
    }

    /// An open exchange.
    pub fn exchange(&self, number: u64) -> Option<&Exchange> {
        self.exchanges.numbered(number)
    }

    /// An open exchange, to change.
    pub fn exchange_mut(&mut self, number: u64) -> Option<&mut Exchange> {
        self.exchanges.numbered_mut(number)
    }

    /// The open exchanges, oldest first.
    pub fn exchanges(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter()
    }

    /// The name that the next exchange will have.
    pub fn next_id(&self) -> ExchangeId {
        ExchangeId { socket: self.opened.socket, number: self.next_number }
    }

    /// The bytes so far of a request's head that is not complete yet; empty anywhere else.
    pub fn begun_head(&self) -> &[u8] {
        self.requests.begun_head()
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
    pub fn data(&mut self, data: &Data<'_>, moments: &mut Moments) {
        self.data_with(data, moments, &mut |_| {});
    }

    /// Takes one call's bytes and tells `spans` what they are, from the first one on; of those behind the last span
    /// nothing is read.
    pub fn data_with(&mut self, data: &Data<'_>, moments: &mut Moments, spans: &mut impl FnMut(Span<'_>)) {
        self.process = data.process;
        self.thread = data.thread;
        self.last_call_ns = data.time_ns;
        if !self.takes(data, moments) {
            self.follow(data.layer, data.sequence);
            return;
        }
        let side = self.side(data.direction);
        if data.layer == self.layers.current {
            self.account_for_records(side, data, moments);
            self.account_for_gap(side, data, moments);
        } else {
            self.follow(data.layer, data.sequence);
        }
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
                self.feed(side, piece, spans, moments);
                *self.offset(data.direction) = data.offset.saturating_add(bytes);
            }
            Err(_) => self.failed(data, moments),
        }
    }

    /// Takes a TCP state change. Returns whether the gateway is done with the connection.
    pub fn state(&mut self, change: &StateChange, moments: &mut Moments) -> bool {
        let StateChange { new, time_ns, .. } = *change;
        self.follow(Layer::Socket, change.sequence);
        self.account_for_unseen(change.unseen_bytes, moments);
        match new {
            TcpState::CloseWait => {
                self.peer_closed = true;
                false
            }
            TcpState::FinWait => {
                self.gateway_closed = true;
                self.end_open_response(Some(time_ns), moments);
                if let Some(open) = self.exchanges.front_mut() {
                    open.body_reads.lingers_within |= !change.is_closed && !open.request.is_complete;
                }
                if change.is_closed {
                    self.close(change.time_ns, moments);
                }
                change.is_closed
            }
            TcpState::Close if change.is_reset() => {
                self.is_reset = true;
                self.peer_closed |= !self.gateway_closed;
                false
            }
            TcpState::LastAck | TcpState::Close => {
                // A gateway that leaves bytes unread resets the connection, too.
                if !self.gateway_closed && (new == TcpState::LastAck || !change.is_closed) {
                    self.peer_closed = true;
                }
                self.close(change.time_ns, moments);
                true
            }
            TcpState::Established | TcpState::SynSent | TcpState::Listen | TcpState::Other(_) => false,
        }
    }

    /// Whether it has no states that would tell of its end.
    pub fn is_unix(&self) -> bool {
        matches!(self.opened.local, Endpoint::Unix(_))
    }

    /// Whether its bytes tell that it is over, where no state will.
    pub fn is_over_unseen(&self) -> bool {
        self.is_unix() && self.is_over && self.exchanges.is_empty()
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

    fn feed(&mut self, side: Side, piece: Piece<'_>, spans: &mut impl FnMut(Span<'_>), moments: &mut Moments) {
        if !self.is_read(side, &piece, moments) {
            return;
        }
        let is_new_turn = self.turn != Some(side);
        self.turn = Some(side);
        match side {
            Side::Request => {
                if is_new_turn {
                    self.end_hidden(&piece, moments);
                    self.end_held_request(&piece.input, moments);
                    self.end_blurred_response(moments);
                    self.end_copied(moments);
                }
                self.feed_requests(piece, spans, moments);
            }
            Side::Response => {
                self.is_mid_request = false;
                self.feed_responses(piece, spans, moments);
            }
        }
    }
}
