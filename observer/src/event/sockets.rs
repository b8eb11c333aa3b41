//! Sockets, their ends and their states.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{Cookie, Nanoseconds};

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
