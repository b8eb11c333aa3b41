//! What a connection's bytes are: those of its socket, or the plaintext that a TLS library hands out for them; HTTP/1, or
//! what is not read.

use super::{Connection, Moment, Moments, Piece};
use crate::event::{Data, Direction, Handshake, HandshakeStep, Layer, Nanoseconds, Origin, Role};
use crate::exchange::{Ending, Unobserved};
use crate::http::head::Side;
use crate::http::http1::Input;

/// How an HTTP/2 client begins (RFC 9113, section 3.4), as far as no request of HTTP/1 does.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// The name under which HTTP/2 is agreed on (RFC 9113, section 3.1).
const HTTP2_NAME: &[u8] = b"h2";

/// What a connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carried {
    /// Exchanges, as far as is known.
    #[default]
    Http1,
    /// HTTP/2.
    Http2,
    /// TLS whose plaintext nobody hands out.
    Encrypted,
}

/// A TLS handshake under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenHandshake {
    /// When its first call began.
    pub began_ns: Nanoseconds,
    /// The first alert seen.
    pub alert: Option<(Direction, u8)>,
}

/// Layers of one connection.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Whose bytes are read.
    pub current: Layer,
    /// The number of the next record of the TLS layer, once that is known.
    pub next_sequence: Option<u32>,
    carries: Carried,
    /// What the first request's bytes look like: the answer tells.
    suspected: Option<Carried>,
    /// A handshake that is not told to be unread yet.
    withheld: Option<Withheld>,
}

/// A handshake that nobody hands out the plaintext of may be all that was missed, if that begins right behind it: the
/// client makes it in two turns, and may send its first request with the second (RFC 8446, section 2).
#[derive(Debug)]
struct Withheld {
    side: Side,
    /// Of the client.
    turns: u32,
}

/// By then the client has sent a request.
const TURNS_WITH_A_REQUEST: u32 = 3;

impl Connection {
    /// Takes a step of a TLS handshake.
    pub fn handshake(&mut self, handshake: &Handshake, moments: &mut Moments) {
        self.process = handshake.process;
        self.thread = handshake.thread;
        self.follow(Layer::Tls, handshake.sequence);
        self.enter_tls(Side::Request, moments);
        match &handshake.step {
            HandshakeStep::Begun => {
                self.handshake = Some(OpenHandshake { began_ns: handshake.began_ns, alert: None });
            }
            HandshakeStep::Done => {}
            HandshakeStep::Alert { direction, description } => {
                if let Some(open) = &mut self.handshake {
                    open.alert.get_or_insert((*direction, *description));
                }
            }
            HandshakeStep::Protocol(name) => {
                if **name == *HTTP2_NAME && self.layers.carries != Carried::Http2 {
                    self.turn_to(Carried::Http2, moments);
                }
            }
        }
    }

    /// Whether plaintext of a TLS library is read.
    pub fn is_tls(&self) -> bool {
        self.layers.current == Layer::Tls
    }

    /// Whether the peer closed first.
    pub fn has_peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// Whether a call is one of the layer that is read. Once there is plaintext, the socket's own calls tell of its end
    /// alone.
    pub(super) fn takes(&mut self, data: &Data<'_>, moments: &mut Moments) -> bool {
        if data.layer == Layer::Tls {
            self.enter_tls(self.side(data.direction), moments);
        }
        data.layer == self.layers.current || data.result <= 0
    }

    /// Whether the bytes are such as are read here.
    pub(super) fn is_read(&mut self, side: Side, piece: &Piece<'_>, moments: &mut Moments) -> bool {
        if self.layers.carries != Carried::Http1 {
            self.withhold(side, moments);
            return false;
        }
        match side {
            Side::Request if self.turn.is_none() => self.suspect(&piece.input),
            Side::Request => {}
            Side::Response => self.confirm(&piece.input, moments),
        }
        self.layers.carries == Carried::Http1
    }

    /// Whoever was asked something else than HTTP/1 and never answered was not asked for HTTP/1.
    pub(super) fn close_suspected(&mut self, moments: &mut Moments) {
        if let Some(suspected) = self.layers.suspected.take() {
            self.carry(suspected, moments);
        }
        self.tell_withheld(moments);
    }

    /// Counts the client's turns behind a handshake that is not read. Whether a request is, shows behind its ciphertext: it
    /// is told of when it is answered.
    fn withhold(&mut self, side: Side, moments: &mut Moments) {
        let Some(withheld) = &mut self.layers.withheld else { return };
        let before = std::mem::replace(&mut withheld.side, side);
        withheld.turns += u32::from(side == Side::Request && before == Side::Response);
        if side == Side::Response && withheld.turns >= TURNS_WITH_A_REQUEST {
            self.tell_withheld(moments);
        }
    }

    fn tell_withheld(&mut self, moments: &mut Moments) {
        if self.layers.withheld.take().is_some() {
            self.end_all(Ending::Lost(Unobserved::Encrypted), moments);
        }
    }

    /// Plaintext begins, on this side. What came before it was ciphertext.
    fn enter_tls(&mut self, side: Side, moments: &mut Moments) {
        if self.layers.current == Layer::Tls {
            return;
        }
        self.layers.current = Layer::Tls;
        let was_suspected = self.layers.suspected.take().is_some();
        // An answer that comes first is that to a request which was not seen.
        let was_handshake = self.layers.withheld.take().is_some() && side == Side::Request;
        // Behind a PROXY protocol's header nothing is missing.
        let was_read = self.next_number > 0 || self.requests.is_lost();
        let has_moved = self.turn.take().is_some();
        (self.received, self.sent) = (0, 0);
        if has_moved && was_read {
            self.lose(Unobserved::Encrypted);
            self.out_of_step = None;
            if was_suspected || was_handshake {
                // A handshake was taken for a request's beginning.
                self.leave_unread(0, moments);
            }
            self.end_all(Ending::Lost(Unobserved::Encrypted), moments);
        }
        if self.layers.carries == Carried::Encrypted {
            self.layers.carries = Carried::Http1;
            moments.push(Moment::Carries(Carried::Http1));
        }
    }

    fn suspect(&mut self, input: &Input<'_>) {
        if self.layers.current == Layer::Socket && begins_like_tls(input) {
            self.layers.suspected = Some(Carried::Encrypted);
        } else if input.begins_with(HTTP2_PREFACE) {
            self.layers.suspected = Some(Carried::Http2);
        }
    }

    /// A gateway that was asked in TLS where it speaks none answers in HTTP/1, and so it does to HTTP/2.
    fn confirm(&mut self, input: &Input<'_>, moments: &mut Moments) {
        let is_first = self.turn.is_none();
        let confirmed = match self.layers.suspected.take() {
            Some(Carried::Encrypted) => begins_like_tls(input).then_some(Carried::Encrypted),
            Some(Carried::Http2) => (!input.begins_with(b"HTTP/1.")).then_some(Carried::Http2),
            // Met in the middle.
            Some(Carried::Http1) | None => {
                if is_first && self.exchanges.is_empty() && begins_like_http2(input) {
                    return self.turn_to(Carried::Http2, moments);
                }
                let is_midway = is_first && self.opened.origin != Origin::Beginning;
                let is_tls = self.layers.current == Layer::Socket && begins_like_tls(input);
                (is_midway && is_tls).then_some(Carried::Encrypted)
            }
        };
        if let Some(carried) = confirmed {
            if carried == Carried::Encrypted && !is_first && self.opened.role == Role::Client {
                self.layers.withheld = Some(Withheld { side: Side::Response, turns: 1 });
            }
            self.turn_to(carried, moments);
        }
    }

    fn turn_to(&mut self, carried: Carried, moments: &mut Moments) {
        self.carry(carried, moments);
        self.tell_stray(moments);
    }

    /// From here on its bytes are not read. What was begun on it is not seen whole; if there was nothing, one exchange
    /// is told of for all that follow.
    fn carry(&mut self, carried: Carried, moments: &mut Moments) {
        let reason = match carried {
            Carried::Http1 => return,
            Carried::Http2 => Unobserved::Http2,
            Carried::Encrypted => Unobserved::Encrypted,
        };
        self.layers.carries = carried;
        self.layers.suspected = None;
        moments.push(Moment::Carries(carried));
        self.lose(reason);
        if !self.exchanges.is_empty() {
            self.out_of_step = None;
        }
        // An upstream that cannot be read was asked for a client all the same, until it closes.
        if self.opened.role == Role::Client && self.layers.withheld.is_none() {
            self.end_all(Ending::Lost(reason), moments);
        }
    }
}

/// How many of a call's first bytes tell that it is no HTTP/1: a record's type and version, a preface, a frame's head.
pub fn telling_bytes(sample: &[u8]) -> usize {
    const FRAME_HEAD: usize = 9;
    let input = Input::new(sample, 0, &[]);
    if begins_like_tls(&input) {
        3
    } else if input.begins_with(HTTP2_PREFACE) {
        HTTP2_PREFACE.len()
    } else if begins_like_http2(&input) {
        FRAME_HEAD
    } else {
        0
    }
}

/// A record of TLS 1.0 to 1.3 (RFC 8446, section 5.1).
fn begins_like_tls(input: &Input<'_>) -> bool {
    matches!(input.known(), [0x14..=0x17, 3, 0..=4, ..])
}

/// A SETTINGS frame, a server's first (RFC 9113, sections 3.4 and 6.5).
fn begins_like_http2(input: &Input<'_>) -> bool {
    matches!(input.known(), [0, _, _, 4, 0 | 1, 0, 0, 0, 0, ..])
}
