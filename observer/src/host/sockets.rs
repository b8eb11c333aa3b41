//! Which sockets a process holds, and what the kernel says of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, SOCK_STREAM};
use netlink_packet_sock_diag::inet::{InetResponseHeader, StateFlags as InetStates};
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags as UnixStates, UnixResponseHeader};

use super::diag::{Diag, DiagError, cookie_number, unix_name};

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

/// A state as the kernel numbers it (`include/net/tcp_states.h`); UNIX sockets use the same numbers.
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
    /// An IP address and port; IPv4 addresses mapped into IPv6 (`::ffff:a.b.c.d`) are given as IPv4.
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
    /// The other end. For a UNIX socket the name its peer is bound to, which is the listener's name when this is the
    /// connecting side; a peer in another network namespace has none.
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
    #[error(
        "cannot list the descriptors of process {pid}: run as root or with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH"
    )]
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

/// The TCP and UNIX stream sockets, in any state, that these processes hold now. The kernel is asked once for each
/// network namespace and family, however many processes and sockets there are.
pub fn scan(processes: &[u32]) -> Scan {
    let mut scan = Scan::default();
    for group in by_namespace(processes, &mut scan.failures) {
        match group.sockets() {
            Ok(sockets) => scan.sockets.extend(sockets),
            Err(source) => scan.failures.push(ScanError::Sockets {
                pid: group.members[0],
                source,
            }),
        }
    }
    // A list read while it changes can name a socket twice.
    scan.sockets.sort_unstable_by_key(|socket| socket.cookie);
    scan.sockets.dedup_by_key(|socket| socket.cookie);
    scan
}

/// The TCP ports that each of these processes listens on; processes without any are left out, and so is what cannot be
/// read.
pub fn listening_ports(processes: &[u32]) -> HashMap<u32, BTreeSet<u16>> {
    let mut ports: HashMap<u32, BTreeSet<u16>> = HashMap::new();
    for group in by_namespace(processes, &mut Vec::new()) {
        let Ok(Some(mut diag)) = group.diag() else {
            continue;
        };
        for family in [AF_INET, AF_INET6] {
            let listeners = diag.tcp(family, InetStates::LISTEN, |socket| {
                Some((
                    group.holders.get(&socket.inode)?,
                    socket.socket_id.source_port,
                ))
            });
            for (holders, port) in listeners.unwrap_or_default() {
                for holder in holders {
                    ports.entry(*holder).or_default().insert(port);
                }
            }
        }
    }
    ports
}

/// The processes by the inode of each socket that they hold.
type Holders = HashMap<u32, Vec<u32>>;

/// Processes of one network namespace, at least one.
struct Group {
    members: Vec<u32>,
    holders: Holders,
}

impl Group {
    /// `None` when all members are gone.
    fn diag(&self) -> Result<Option<Diag>, DiagError> {
        for member in &self.members {
            match Diag::of_process(*member) {
                Err(DiagError::Namespace { source, .. }) if is_gone(&source) => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    fn sockets(&self) -> Result<Vec<SocketFacts>, DiagError> {
        let Some(mut diag) = self.diag()? else {
            return Ok(Vec::new());
        };
        let netns = diag.netns();
        let mut sockets = Vec::new();
        for family in [AF_INET, AF_INET6] {
            sockets.extend(diag.tcp(family, InetStates::all(), |socket| {
                Some(inet_facts(&socket, netns, self.holders.get(&socket.inode)?))
            })?);
        }
        sockets.extend(unix_sockets(&mut diag, &self.holders)?);
        Ok(sockets)
    }
}

fn by_namespace(processes: &[u32], failures: &mut Vec<ScanError>) -> Vec<Group> {
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    let processes: BTreeSet<u32> = processes.iter().copied().collect();
    for pid in processes {
        let netns = netns_of(pid);
        let inodes = netns.and_then(|netns| Ok((netns, socket_inodes(pid)?)));
        match inodes {
            Ok((netns, inodes)) => {
                let group = groups.entry(netns).or_insert_with(|| Group {
                    members: Vec::new(),
                    holders: Holders::new(),
                });
                group.members.push(pid);
                for inode in inodes {
                    group.holders.entry(inode).or_default().push(pid);
                }
            }
            Err(e) if is_gone(&e) => {}
            Err(source) => failures.push(ScanError::Descriptors { pid, source }),
        }
    }
    groups.into_values().collect()
}

fn netns_of(pid: u32) -> io::Result<u32> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino() as u32)
}

/// The inodes of the sockets that a process has open, each once.
fn socket_inodes(pid: u32) -> io::Result<BTreeSet<u32>> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed before its link is read.
        let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else {
            continue;
        };
        inodes.extend(socket_inode(target.as_os_str().as_bytes()));
    }
    Ok(inodes)
}

/// The inode in a link's target of the form `socket:[1234]`.
fn socket_inode(target: &[u8]) -> Option<u32> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The process ended: `ESRCH` comes from reading what was opened before.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
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
        family: if socket.family == AF_INET {
            Family::Inet
        } else {
            Family::Inet6
        },
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

/// What is kept of a UNIX stream socket while the list is read.
struct UnixSocket {
    header: UnixResponseHeader,
    name: Option<Vec<u8>>,
    peer: Option<u32>,
    /// Of a listener: the inodes of those who wait to be accepted.
    pending: Vec<u32>,
}

fn unix_sockets(diag: &mut Diag, holders: &Holders) -> Result<Vec<SocketFacts>, DiagError> {
    let every_state = UnixStates::from_bits_retain(u32::MAX);
    let show = ShowFlags::NAME | ShowFlags::PEER | ShowFlags::ICONS;
    let listed = diag.unix(every_state, show, |socket| {
        let name = unix_name(&socket);
        let counts = name.is_some() || holders.contains_key(&socket.header.inode);
        (counts && socket.header.kind == SOCK_STREAM).then(|| UnixSocket {
            peer: socket.peer(),
            pending: socket.pending_connections().unwrap_or_default().to_vec(),
            header: socket.header,
            name,
        })
    })?;
    let names = names_by_peer(&listed);
    let held = listed.iter().filter_map(|socket| {
        let holders = holders.get(&socket.header.inode)?;
        Some(unix_facts(socket, &names, diag.netns(), holders))
    });
    Ok(held.collect())
}

/// The name that the peer of a socket sees, by what the peer knows: the inode of the named end, or, before it is
/// accepted, its own inode in the listener's queue.
struct PeerNames<'a> {
    accepted: HashMap<u32, &'a [u8]>,
    pending: HashMap<u32, &'a [u8]>,
}

fn names_by_peer(listed: &[UnixSocket]) -> PeerNames<'_> {
    let named = || {
        listed
            .iter()
            .filter_map(|socket| Some((socket, socket.name.as_deref()?)))
    };
    PeerNames {
        accepted: named()
            .map(|(socket, name)| (socket.header.inode, name))
            .collect(),
        pending: named()
            .flat_map(|(socket, name)| socket.pending.iter().map(move |client| (*client, name)))
            .collect(),
    }
}

fn unix_facts(socket: &UnixSocket, names: &PeerNames, netns: u32, holders: &[u32]) -> SocketFacts {
    let inode = socket.header.inode;
    let remote = match socket.peer {
        None => None,
        Some(0) => names.pending.get(&inode),
        Some(peer) => names.accepted.get(&peer),
    };
    SocketFacts {
        cookie: cookie_number(socket.header.cookie),
        inode,
        family: Family::Unix,
        state: TcpState(socket.header.state),
        local: socket.name.clone().map_or(Endpoint::None, Endpoint::Unix),
        remote: remote.map_or(Endpoint::None, |name| Endpoint::Unix(name.to_vec())),
        netns,
        holders: holders.to_vec(),
    }
}

#[cfg(test)]
mod tests;
