//! What the kernel part and the agent's own look at the host tell the pipeline, as plain values.
//!
//! An event is all that enters the pipeline, so a file of events replays to the same metrics.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

mod wire;

pub use wire::DecodeError;

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub type Nanoseconds = u64;

/// A socket's cookie: unique since boot.
pub type Cookie = u64;

/// Something that happened on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// A socket was seen for the first time.
    Opened(Opened),
    /// A call moved bytes, met the end of the stream or failed.
    Data(Data<'a>),
    /// A datagram came that may be a name server's answer.
    Datagram(Datagram<'a>),
    /// A TCP socket changed its state.
    State(StateChange),
    /// A TLS handshake went on.
    Handshake(Handshake),
    /// A process began, changed, ended, or was found.
    Process(Process),
    /// The kernel part lost something.
    Lost(Lost),
    /// A host name's addresses.
    Resolved(Resolved),
    /// The sockets that a network namespace had.
    Remaining(Remaining),
    /// The first scan is done: from here on every connection's beginning is seen.
    Ready(Nanoseconds),
    /// Time went by without anything else.
    Tick(Nanoseconds),
}

/// Who opened a connection, seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client did: the gateway accepted it.
    Client,
    /// The gateway did, to an upstream.
    Upstream,
    /// A listening socket.
    Listener,
}

/// How an opened socket became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Its connect, accept or listen was seen.
    Beginning,
    /// It moved bytes before anything else was known of it.
    Midway,
    /// A scan of the host found it.
    Scan,
}

/// A socket's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP.
    Ip(SocketAddr),
    /// A UNIX socket's path; an abstract one begins with a zero byte; empty if it has no name.
    Unix(Arc<[u8]>),
}

/// A socket and its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// When.
    pub time_ns: Nanoseconds,
    /// Which socket.
    pub socket: Cookie,
    /// Its record's number.
    pub sequence: u32,
    /// The process that opened or used it; 0 where that is not known.
    pub process: u32,
    /// The thread, likewise.
    pub thread: u32,
    /// Inode of its network namespace.
    pub network: u32,
    /// Who opened it.
    pub role: Role,
    /// How it became known.
    pub origin: Origin,
    /// The TCP state (`include/net/tcp_states.h`).
    pub state: u8,
    /// The gateway's end. A connect's own port is not known yet: 0.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
}

/// Which way bytes moved, seen from the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The gateway read.
    Received,
    /// The gateway wrote.
    Sent,
}

impl Direction {
    /// The other way.
    pub const fn opposite(self) -> Self {
        match self {
            Direction::Received => Direction::Sent,
            Direction::Sent => Direction::Received,
        }
    }
}

/// Why a call's bytes were not sampled, if they were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Sampled as far as the limits allow.
    Buffer,
    /// Pages from a file or a pipe.
    Pages,
    /// Buffers that cannot be told.
    Unsampled,
}

/// Whose bytes a call moved. Each layer has offsets and record numbers of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Layer {
    /// The socket's.
    #[default]
    Socket,
    /// The plaintext that a TLS library took in or handed out.
    Tls,
}

/// One call's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// When the call ended.
    pub time_ns: Nanoseconds,
    /// On which socket.
    pub socket: Cookie,
    /// The record's number among those of its socket.
    pub sequence: u32,
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: u32,
    /// Which way.
    pub direction: Direction,
    /// How.
    pub call: Call,
    /// Whose.
    pub layer: Layer,
    /// Bytes moved this way before, since the socket was met.
    pub offset: u64,
    /// Bytes moved, 0 at the end of the stream, or a negative errno.
    pub result: i32,
    /// Bytes that left the receive queue unseen just before.
    pub unseen_bytes: u32,
    /// The first of the bytes moved.
    pub sample: &'a [u8],
    /// The last of the bytes moved; empty where the sample holds all, or where they are not known.
    pub tail: &'a [u8],
}

/// A datagram that a gateway received from a name server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// When the call ended.
    pub time_ns: Nanoseconds,
    /// On which socket.
    pub socket: Cookie,
    /// The record's number among those of its socket.
    pub sequence: u32,
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: u32,
    /// Inode of the socket's network namespace.
    pub network: u32,
    /// Its first bytes, nearly always all.
    pub sample: &'a [u8],
}

/// A step of a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// When.
    pub time_ns: Nanoseconds,
    /// On which socket.
    pub socket: Cookie,
    /// The record's number among those of the layer [`Layer::Tls`].
    pub sequence: u32,
    /// The process.
    pub process: u32,
    /// The thread.
    pub thread: u32,
    /// When the first call for it began; 0 if that was not seen.
    pub began_ns: Nanoseconds,
    /// What happened.
    pub step: HandshakeStep,
}

/// What happened in a TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeStep {
    /// The first call for it ended.
    Begun,
    /// It is done.
    Done,
    /// An alert in the clear (RFC 8446, section 6).
    Alert {
        /// Who sent it.
        direction: Direction,
        /// Its description's number.
        description: u8,
    },
    /// The protocol agreed on (RFC 7301), cut to its first bytes.
    Protocol(Arc<[u8]>),
}

/// A TCP socket's new state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// When.
    pub time_ns: Nanoseconds,
    /// Which socket.
    pub socket: Cookie,
    /// The record's number among those of its socket.
    pub sequence: u32,
    /// State before.
    pub old: TcpState,
    /// State after.
    pub new: TcpState,
    /// The socket's own end, once it is bound.
    pub local_port: u16,
    /// Its address, in the family of the socket.
    pub local: [u8; 16],
    /// `sk_err`, 0 for none.
    pub error: i32,
    /// The socket was closed altogether, not only its sending side shut down.
    pub is_closed: bool,
    /// Bytes that left the receive queue unseen before the gateway closed.
    pub unseen_bytes: u32,
}

/// States of a TCP socket, as far as they matter here (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpState {
    /// Open both ways.
    Established,
    /// A connect is under way.
    SynSent,
    /// The gateway closed first.
    FinWait,
    /// The peer closed first.
    CloseWait,
    /// The gateway closed after the peer.
    LastAck,
    /// Closed.
    Close,
    /// Listening.
    Listen,
    /// Another one.
    Other(u8),
}

/// A process's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// When.
    pub time_ns: Nanoseconds,
    /// Which process, in the initial PID namespace.
    pub process: u32,
    /// What happened.
    pub change: ProcessChange,
}

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// A scan found it, in the tree of this root.
    Found {
        /// The tree's topmost selected process.
        root: u32,
        /// The root's name.
        name: Arc<str>,
    },
    /// A watched process forked it.
    Forked {
        /// The process that forked.
        parent: u32,
    },
    /// It executed another program.
    Executed {
        /// The program's name, cut to 15 bytes.
        name: Arc<str>,
        /// Whether it is watched from here on.
        watched: bool,
    },
    /// It ended.
    Exited,
}

/// A loss in the kernel part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// When it was noticed.
    pub time_ns: Nanoseconds,
    /// Why: a name out of `observer_ebpf::tables::Loss`.
    pub reason: Arc<str>,
    /// How many since the last such event.
    pub count: u64,
}

/// A host name's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// When.
    pub time_ns: Nanoseconds,
    /// The name.
    pub name: Arc<str>,
    /// Inode of the network namespace where it was looked up; 0 for the host's own resolver, whose answers hold wherever
    /// there are no others.
    pub network: u32,
    /// Its addresses; they replace earlier ones.
    pub addresses: Vec<IpAddr>,
}

/// The sockets, TCP and UNIX, that a network namespace had, of those whose cookies lie within a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// Just before they were listed.
    pub time_ns: Nanoseconds,
    /// The namespace's inode.
    pub network: u32,
    /// The range's first and last cookie.
    pub range: (Cookie, Cookie),
    /// The sockets, ascending.
    pub sockets: Vec<Cookie>,
}

impl StateChange {
    /// A close whose record never came.
    pub fn made_up_close(socket: Cookie, time_ns: Nanoseconds) -> Self {
        StateChange {
            time_ns,
            socket,
            sequence: 0,
            old: TcpState::Close,
            new: TcpState::Close,
            local_port: 0,
            local: [0; 16],
            error: 0,
            is_closed: true,
            unseen_bytes: 0,
        }
    }

    /// Whether the peer reset the connection while the gateway still had it: what had arrived can be read all the same,
    /// and the gateway's close comes as another change from closed to closed.
    pub fn is_reset(&self) -> bool {
        self.new == TcpState::Close && !matches!(self.old, TcpState::SynSent | TcpState::Close) && !self.is_closed
    }
}

impl Event<'_> {
    /// When it happened.
    pub fn time_ns(&self) -> Nanoseconds {
        match self {
            Event::Opened(event) => event.time_ns,
            Event::Data(event) => event.time_ns,
            Event::Datagram(event) => event.time_ns,
            Event::State(event) => event.time_ns,
            Event::Handshake(event) => event.time_ns,
            Event::Process(event) => event.time_ns,
            Event::Lost(event) => event.time_ns,
            Event::Resolved(event) => event.time_ns,
            Event::Remaining(event) => event.time_ns,
            Event::Ready(time_ns) | Event::Tick(time_ns) => *time_ns,
        }
    }
}

/// In nginx's notation: `127.0.0.1:80`, `[::1]:80`, `unix:/path`, `unix:@name` for an abstract name.
impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Unix(path) => match path.as_ref() {
                [0, name @ ..] => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
                path => write!(f, "unix:{}", String::from_utf8_lossy(path)),
            },
        }
    }
}

impl Endpoint {
    /// From a record's 16 bytes; IPv4-mapped IPv6 addresses become IPv4.
    pub fn from_bytes(is_v4: bool, address: [u8; 16], port: u16) -> Self {
        let ip = if is_v4 {
            IpAddr::V4(Ipv4Addr::new(address[0], address[1], address[2], address[3]))
        } else {
            Ipv6Addr::from(address).to_canonical()
        };
        Endpoint::Ip(SocketAddr::new(ip, port))
    }

    /// The address and port of a TCP end.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Ip(address) => Some(*address),
            Endpoint::Unix(_) => None,
        }
    }
}

impl From<u8> for TcpState {
    fn from(state: u8) -> Self {
        match state {
            1 => TcpState::Established,
            2 => TcpState::SynSent,
            4 => TcpState::FinWait,
            7 => TcpState::Close,
            8 => TcpState::CloseWait,
            9 => TcpState::LastAck,
            10 => TcpState::Listen,
            other => TcpState::Other(other),
        }
    }
}

impl From<TcpState> for u8 {
    fn from(state: TcpState) -> Self {
        match state {
            TcpState::Established => 1,
            TcpState::SynSent => 2,
            TcpState::FinWait => 4,
            TcpState::Close => 7,
            TcpState::CloseWait => 8,
            TcpState::LastAck => 9,
            TcpState::Listen => 10,
            TcpState::Other(other) => other,
        }
    }
}
