//! `sock_diag`: the kernel's own list of sockets, asked for over netlink, one network namespace at
//! a time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::thread;

use netlink_packet_core::{DecodeError, NLM_F_DUMP, NLM_F_REQUEST, Parseable};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, IPPROTO_TCP, TCP_LISTEN};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags as InetStates,
};
use netlink_packet_sock_diag::unix::nlas::UnixDiagName;
use netlink_packet_sock_diag::unix::{
    ShowFlags, StateFlags as UnixStates, UnixRequest, UnixResponse,
};
use nix::libc;
use nix::sched::{CloneFlags, setns};

use netlink::{Netlink, Progress};

mod netlink;

/// How often a list is asked for again when the kernel says that it changed meanwhile. The last one
/// is taken as it is: what appeared during the scan is seen by the hooks, which were attached
/// before.
const DUMP_TRIES: u32 = 4;

/// The cookie that fits every socket (`INET_DIAG_NOCOOKIE`).
const ANY_COOKIE: [u8; 8] = [0xff; 8];

/// A `sock_diag` socket in one network namespace. It keeps that namespace alive, so keep it no
/// longer than the process it was made for.
#[derive(Debug)]
pub struct Diag {
    netlink: Netlink,
    netns: u32,
}

/// Why the list of sockets could not be had.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// No such process any more, or its `/proc` entry is closed to the agent.
    #[error("cannot open {path}: run as root or with CAP_SYS_PTRACE")]
    Namespace {
        /// The namespace's file.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The agent may not enter the namespace.
    #[error("cannot enter the network namespace {netns}: run as root or with CAP_SYS_ADMIN")]
    Enter {
        /// Its inode.
        netns: u32,
        /// What the kernel said.
        source: io::Error,
    },
    /// No socket, or a broken one.
    #[error("netlink: try again; if it stays, `observer check` shows whether sock_diag works here")]
    Netlink(#[source] io::Error),
    /// The kernel refused the question; `ENOENT` when the module is missing.
    #[error("the kernel does not list its sockets: load the modules tcp_diag and unix_diag")]
    Refused(#[source] io::Error),
    /// An answer that is no netlink message.
    #[error("the kernel's list of sockets is not readable: report this with the kernel's version")]
    Garbled(#[from] DecodeError),
}

impl Diag {
    /// For the calling thread's own network namespace.
    pub fn own() -> Result<Self, DiagError> {
        Ok(Diag {
            netlink: Netlink::open()?,
            netns: own_netns()?,
        })
    }

    /// For the network namespace of a process. Another namespace than the caller's is entered by a
    /// thread that lives for this alone, so no thread of the agent ever changes its own; the socket
    /// stays where it was made.
    pub fn of_process(pid: u32) -> Result<Self, DiagError> {
        let path = format!("/proc/{pid}/ns/net");
        let unopened = |source| DiagError::Namespace {
            path: path.clone(),
            source,
        };
        let file = File::open(&path).map_err(unopened)?;
        let netns = file.metadata().map_err(unopened)?.ino() as u32;
        if netns == own_netns()? {
            return Diag::own();
        }
        let maker = thread::Builder::new()
            .name("netns".to_owned())
            .spawn(move || {
                setns(file, CloneFlags::CLONE_NEWNET).map_err(|errno| DiagError::Enter {
                    netns,
                    source: errno.into(),
                })?;
                Netlink::open()
            })
            .map_err(DiagError::Netlink)?;
        let netlink = maker
            .join()
            .map_err(|_| DiagError::Netlink(io::Error::other("the thread ended early")))??;
        Ok(Diag { netlink, netns })
    }

    /// The inode of the network namespace (`net.ns.inum`).
    pub fn netns(&self) -> u32 {
        self.netns
    }

    /// The TCP sockets of one family (`AF_INET`, `AF_INET6`) in these states, as far as `keep`
    /// keeps them.
    pub fn tcp<T>(
        &mut self,
        family: u8,
        states: InetStates,
        mut keep: impl FnMut(InetResponseHeader) -> Option<T>,
    ) -> Result<Vec<T>, DiagError> {
        let request = SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states,
            socket_id: if family == AF_INET {
                SocketId::new_v4()
            } else {
                SocketId::new_v6()
            },
        });
        self.dump(request, |payload| {
            Ok(keep(InetResponseHeader::parse(payload)?))
        })
    }

    /// The UNIX sockets of all types in these states, with what `show` asks for, as far as `keep`
    /// keeps them.
    pub fn unix<T>(
        &mut self,
        states: UnixStates,
        show: ShowFlags,
        mut keep: impl FnMut(UnixResponse) -> Option<T>,
    ) -> Result<Vec<T>, DiagError> {
        let request = unix_request(states, show, 0, ANY_COOKIE);
        self.dump(request, |payload| Ok(keep(UnixResponse::parse(payload)?)))
    }

    /// The name that the peer of a UNIX socket is bound to: for the connecting side that of the
    /// listener, as bytes of `sun_path` (a path, or a zero and an abstract name). `None` when the
    /// socket is gone (or its cookie another), its peer is gone, without a name, or in another
    /// network namespace.
    ///
    /// Two questions about one socket each, no list, unless the connection still waits to be
    /// accepted.
    pub fn unix_peer_name(
        &mut self,
        inode: u32,
        cookie: Option<u64>,
    ) -> Result<Option<Vec<u8>>, DiagError> {
        let cookie = cookie.map_or(ANY_COOKIE, cookie_bytes);
        // Twice, since a waiting connection may be accepted between the two looks.
        for _ in 0..2 {
            let Some(socket) = self.unix_socket(inode, cookie, ShowFlags::PEER)? else {
                return Ok(None);
            };
            match socket.peer() {
                None => return Ok(None),
                Some(0) => {
                    if let Some(name) = self.pending_listener(inode)? {
                        return Ok(Some(name));
                    }
                }
                Some(peer) => {
                    let peer = self.unix_socket(peer, ANY_COOKIE, ShowFlags::NAME)?;
                    return Ok(peer.as_ref().and_then(unix_name));
                }
            }
        }
        Ok(None)
    }

    /// The UNIX socket of this cookie: its inode. It reads the whole list, since the kernel finds
    /// sockets by inode only.
    pub fn unix_inode(&mut self, cookie: u64) -> Result<Option<u32>, DiagError> {
        let wanted = cookie_bytes(cookie);
        let found = self.unix(
            UnixStates::from_bits_retain(u32::MAX),
            ShowFlags::empty(),
            |socket| (socket.header.cookie == wanted).then_some(socket.header.inode),
        )?;
        Ok(found.first().copied())
    }

    fn unix_socket(
        &mut self,
        inode: u32,
        cookie: [u8; 8],
        show: ShowFlags,
    ) -> Result<Option<UnixResponse>, DiagError> {
        let request = unix_request(UnixStates::empty(), show, inode, cookie);
        self.netlink.send(request, NLM_F_REQUEST)?;
        let mut answer = None;
        let mut done = false;
        while !done {
            match self
                .netlink
                .receive(|payload| answer = Some(UnixResponse::parse(payload)))
            {
                // ESTALE: another socket has that inode now.
                Err(DiagError::Refused(e))
                    if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) =>
                {
                    return Ok(None);
                }
                Err(e) => return Err(e),
                Ok(progress) => done = progress.done || answer.is_some(),
            }
        }
        Ok(answer.transpose()?)
    }

    /// Until a connection is accepted its peer has no inode, but the listener lists it.
    fn pending_listener(&mut self, inode: u32) -> Result<Option<Vec<u8>>, DiagError> {
        let listen = UnixStates::from_bits_retain(1 << TCP_LISTEN);
        let names = self.unix(listen, ShowFlags::NAME | ShowFlags::ICONS, |listener| {
            let pending = listener.pending_connections()?.contains(&inode);
            if pending { unix_name(&listener) } else { None }
        })?;
        Ok(names.into_iter().next())
    }

    fn dump<T>(
        &mut self,
        request: SockDiagMessage,
        mut read: impl FnMut(&[u8]) -> Result<Option<T>, DecodeError>,
    ) -> Result<Vec<T>, DiagError> {
        let mut found: Result<Vec<T>, DecodeError> = Ok(Vec::new());
        for _ in 0..DUMP_TRIES {
            found = Ok(Vec::new());
            self.netlink
                .send(request.clone(), NLM_F_REQUEST | NLM_F_DUMP)?;
            let mut so_far = Progress {
                done: false,
                interrupted: false,
            };
            while !so_far.done {
                // Read to its end even after an unreadable message: the kernel takes no other
                // question before.
                let part = self.netlink.receive(|payload| {
                    if let Ok(kept) = &mut found {
                        match read(payload) {
                            Ok(socket) => kept.extend(socket),
                            Err(e) => found = Err(e),
                        }
                    }
                })?;
                so_far.done = part.done;
                so_far.interrupted |= part.interrupted;
            }
            if !so_far.interrupted {
                break;
            }
        }
        Ok(found?)
    }
}

/// The inode of the calling thread's network namespace.
pub fn own_netns() -> Result<u32, DiagError> {
    let path = "/proc/thread-self/ns/net";
    let file = fs::metadata(path).map_err(|source| DiagError::Namespace {
        path: path.to_owned(),
        source,
    })?;
    Ok(file.ino() as u32)
}

/// The cookie as a number: the kernel gives it as two 32-bit words, the low one first
/// (`sock_diag_save_cookie`).
pub fn cookie_number(cookie: [u8; 8]) -> u64 {
    let [a, b, c, d, e, f, g, h] = cookie;
    let (low, high) = (
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
    );
    u64::from(high) << 32 | u64::from(low)
}

/// The name a UNIX socket is bound to, as bytes of `sun_path`: a path, or a zero and an abstract
/// name.
pub fn unix_name(socket: &UnixResponse) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    match socket.name()? {
        UnixDiagName::Pathname(path) => Some(path.as_bytes().to_vec()),
        UnixDiagName::Abstract(name) => Some([&[0], name.as_slice()].concat()),
    }
}

fn cookie_bytes(cookie: u64) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(cookie as u32).to_ne_bytes());
    bytes[4..].copy_from_slice(&((cookie >> 32) as u32).to_ne_bytes());
    bytes
}

fn unix_request(
    states: UnixStates,
    show: ShowFlags,
    inode: u32,
    cookie: [u8; 8],
) -> SockDiagMessage {
    SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: states,
        inode,
        show_flags: show,
        cookie,
    })
}

#[cfg(test)]
mod tests;
