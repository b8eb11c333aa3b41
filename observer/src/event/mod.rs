//! What the kernel part and the agent's own look at the host tell the pipeline, as plain values.
//!
//! An event is all that enters the pipeline, so a file of events replays to the same metrics.

mod sockets;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;

pub use sockets::{Endpoint, Opened, Origin, Role, StateChange, TcpState};
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
