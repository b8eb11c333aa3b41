//! Which sockets a process holds, and what the kernel says of them.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::{InetResponseHeader, StateFlags as InetStates};

use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags as UnixStates};

use super::diag::{Diag, DiagError, cookie_number};
use holders::{Group, by_namespace};
use unix::unix_sockets;

mod holders;
mod listed;
mod unix;

/// A socket's address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `AF_INET`.
    Inet,
    /// `AF_INET6`; its addresses may be IPv4 all the same.
    Inet6,
    /// `AF_UNIX`.
    Unix,
}

/// A state as the kernel numbers it (`include/net/tcp_states.h`); UNIX sockets use the same
/// numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpState(pub u8);

impl TcpState {
    /// Open in both directions.
    pub const ESTABLISHED: TcpState = TcpState(1);
    /// Connecting.
    pub const SYN_SENT: TcpState = TcpState(2);
    /// Closed, or never connected.
    pub const CLOSE: TcpState = TcpState(7);
    /// The peer has closed its side.
    pub const CLOSE_WAIT: TcpState = TcpState(8);
    /// Waiting for connections.
    pub const LISTEN: TcpState = TcpState(10);
}

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An IP address and port; IPv4 addresses mapped into IPv6 (`::ffff:a.b.c.d`) are given as
    /// IPv4.
    Ip(SocketAddr),
    /// A UNIX socket's name as the bytes of `sun_path`: a path, or a zero and an abstract name.
    Unix(Vec<u8>),
    /// No address: the remote end of a listener, or a UNIX socket without a name.
    None,
}

impl fmt::Display for Endpoint {
    /// As gateways write it: `127.0.0.1:80`, `unix:/run/app.sock`, `unix:@abstract`, `-`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Ip(address) => address.fmt(f),
            Endpoint::Unix(name) => match name.strip_prefix(&[0]) {
                Some(name) => write!(f, "unix:@{}", name.escape_ascii()),
                None => write!(f, "unix:{}", String::from_utf8_lossy(name)),
            },
            Endpoint::None => f.write_str("-"),
        }
    }
}

/// A TCP or UNIX stream socket that at least one of the scanned processes holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketFacts {
    /// Unique since boot; the same that `bpf_get_socket_cookie` and `SO_COOKIE` give.
    pub cookie: u64,
    /// The inode behind `/proc/PID/fd/N` (`socket:[inode]`).
    pub inode: u32,
    /// The address family.
    pub family: Family,
    /// The state.
    pub state: TcpState,
    /// This end.
    pub local: Endpoint,
    /// The other end. For a UNIX socket the name its peer is bound to, which is the listener's name
    /// when this is the connecting side; a peer in another network namespace has none.
    pub remote: Endpoint,
    /// The inode of the network namespace (`net.ns.inum`).
    pub netns: u32,
    /// The scanned processes that have it open, ascending.
    pub holders: Vec<u32>,
}

/// What [`scan`] found.
#[derive(Debug, Default)]
pub struct Scan {
    /// Each socket once, by ascending cookie.
    pub sockets: Vec<SocketFacts>,
    /// What could not be read; the sockets behind it are missing.
    pub failures: Vec<ScanError>,
}

/// Why a part of a scan is missing. A process that ended is no reason.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// A process's descriptors are closed to the agent.
    #[error("cannot list the descriptors of process {pid}: run as root or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")]
    Descriptors {
        /// The process.
        pid: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's list could not be had.
    #[error("cannot list the sockets around process {pid}")]
    Sockets {
        /// A process in the network namespace that was asked for.
        pid: u32,
        /// Why.
        source: DiagError,
    },
}

/// The TCP and UNIX stream sockets, in any state, that these processes hold now. The kernel is
/// asked once for each network namespace and family, however many processes and sockets there are.
/// Where it has no `sock_diag`, only TCP listeners are found.
pub fn scan(processes: &[u32]) -> Scan {
    let mut scan = Scan::default();
    for group in by_namespace(processes, &mut scan.failures) {
        match in_namespace(&group) {
            Ok(sockets) => scan.sockets.extend(sockets),
            Err(source) => {
                scan.failures.push(ScanError::Sockets { pid: group.members[0], source });
                scan.sockets.extend(listed::facts(&group));
            }
        }
    }
    // A list read while it changes can name a socket twice.
    scan.sockets.sort_unstable_by_key(|socket| socket.cookie);
    scan.sockets.dedup_by_key(|socket| socket.cookie);
    scan
}

/// Opens the network namespace of each of these processes that is not among the `open` ones yet. One that may not be
/// entered, or is gone, is left out.
pub fn open_namespaces(processes: &[u32], open: &mut Vec<Diag>) {
    for &process in processes {
        if let Ok(netns) = holders::netns_of(process)
            && open.iter().all(|diag| diag.netns() != netns)
            && let Ok(diag) = Diag::of_process(process)
        {
            open.push(diag);
        }
    }
}

/// The cookies of all sockets of a network namespace, TCP and UNIX, ascending; but for TCP sockets that listen or that no
/// process holds any more.
pub fn cookies(diag: &mut Diag) -> Result<Vec<u64>, DiagError> {
    let mut cookies = Vec::new();
    let states = || InetStates::all() - InetStates::LISTEN - InetStates::TIME_WAIT;
    for family in [AF_INET, AF_INET6] {
        cookies.extend(diag.tcp(family, states(), |socket| Some(cookie_number(socket.socket_id.cookie)))?);
    }
    let any = UnixStates::from_bits_retain(u32::MAX);
    cookies.extend(diag.unix(any, ShowFlags::empty(), |socket| Some(cookie_number(socket.header.cookie)))?);
    cookies.sort_unstable();
    Ok(cookies)
}

/// The TCP ports that each of these processes listens on; processes without any are left out, and
/// so is what cannot be read.
pub fn listening_ports(processes: &[u32]) -> HashMap<u32, BTreeSet<u16>> {
    let mut ports: HashMap<u32, BTreeSet<u16>> = HashMap::new();
    for group in by_namespace(processes, &mut Vec::new()) {
        let listeners = match diag_listeners(&group) {
            Ok(listeners) => listeners,
            Err(_) => listed::listeners(&group).into_iter().map(|listener| (listener.inode, listener.local)).collect(),
        };
        for (inode, local) in listeners {
            for holder in group.holders.get(&inode).into_iter().flatten() {
                ports.entry(*holder).or_default().insert(local.port());
            }
        }
    }
    ports
}

fn diag_listeners(group: &Group) -> Result<Vec<(u32, SocketAddr)>, DiagError> {
    let Some(mut diag) = group.diag()? else {
        return Ok(Vec::new());
    };
    let mut listeners = Vec::new();
    for family in [AF_INET, AF_INET6] {
        listeners.extend(diag.tcp(family, InetStates::LISTEN, |socket| {
            let id = &socket.socket_id;
            Some((socket.inode, SocketAddr::new(id.source_address, id.source_port)))
        })?);
    }
    Ok(listeners)
}

fn in_namespace(group: &Group) -> Result<Vec<SocketFacts>, DiagError> {
    let Some(mut diag) = group.diag()? else {
        return Ok(Vec::new());
    };
    let netns = diag.netns();
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        sockets.extend(diag.tcp(family, InetStates::all(), |socket| {
            Some(inet_facts(&socket, netns, group.holders.get(&socket.inode)?))
        })?);
    }
    sockets.extend(unix_sockets(&mut diag, &group.holders)?);
    Ok(sockets)
}

fn inet_facts(socket: &InetResponseHeader, netns: u32, holders: &[u32]) -> SocketFacts {
    let id = &socket.socket_id;
    let remote = match id.destination_port {
        0 => Endpoint::None,
        port => ip(id.destination_address, port),
    };
    SocketFacts {
        cookie: cookie_number(id.cookie),
        inode: socket.inode,
        family: if socket.family == AF_INET { Family::Inet } else { Family::Inet6 },
        state: TcpState(socket.state),
        local: ip(id.source_address, id.source_port),
        remote,
        netns,
        holders: holders.to_vec(),
    }
}

fn ip(address: IpAddr, port: u16) -> Endpoint {
    Endpoint::Ip(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests;
