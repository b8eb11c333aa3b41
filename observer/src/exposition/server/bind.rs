//! Listeners with their rules, ready to be served.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};

use super::access::Rules;
use super::tls::{Tls, TlsError};
use crate::exposition::listen::{Address, Listen};

/// Connections that wait to be accepted; more than may be open at all.
const BACKLOG: i32 = 1024;

/// What holds on every listener.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Who may ask where a listener has no list of its own; all when empty.
    pub allow: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted: Vec<IpNet>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `EADDRINUSE`.
    #[error(
        "cannot listen on {0}: the address is taken; stop the program that holds it \
         (`ss -lxtnp` names it) or choose another with --listen ADDR:PORT"
    )]
    Taken(String),
    /// `EACCES`, `EPERM`.
    #[error(
        "cannot listen on {0}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE and a socket's file a \
         directory that this user may write to, choose another with --listen or run as root"
    )]
    Denied(String),
    /// `EADDRNOTAVAIL`.
    #[error(
        "cannot listen on {0}: this host has no such address; choose one that `ip address` shows \
         with --listen ADDR:PORT"
    )]
    Foreign(String),
    /// There is a file, and it is no socket.
    #[error("cannot listen on {0}: there is a file of that name; move it or choose another with --listen unix:/PATH")]
    NoSocket(String),
    /// Anything else that the kernel answers.
    #[error("cannot listen on {address}: {reason}; choose another with --listen ADDR:PORT or unix:/PATH")]
    Refused {
        /// The address asked for.
        address: String,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// The files for TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A listener that clients can connect to already; they are answered once it is served.
pub struct Bound {
    pub(super) socket: Socket,
    pub(super) rules: Arc<Rules>,
    pub(super) tls: Option<Arc<Tls>>,
    address: Listen,
}

pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// Binds every listener or none. Port 0 takes a free one, which [`Bound::local_addr`] tells.
///
/// It needs no runtime: ports and places that only root may use are taken before root is given up, and threads are
/// started after that.
pub fn bind(listeners: &[Listen], access: &Access) -> Result<Vec<Bound>, ListenError> {
    let mut bound = Vec::with_capacity(listeners.len());
    for listen in listeners {
        let tls = listen.tls.as_ref().map(Tls::load).transpose()?.map(Arc::new);
        let socket = match &listen.address {
            Address::Tcp(address) => Socket::Tcp(bind_tcp(address).map_err(|reason| listen_error(address, reason))?),
            Address::Unix { path, mode } => Socket::Unix(UnixSocket::bind(path, *mode)?),
        };
        let rules = Arc::new(Rules::new(listen, &access.allow, &access.trusted));
        bound.push(Bound { socket, rules, tls, address: listen.clone() });
    }
    Ok(bound)
}

impl Bound {
    /// The address of a TCP listener, with the port that it got.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }
}

impl fmt::Display for Bound {
    /// The address of its metrics.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut listen = self.address.clone();
        if let Some(address) = self.local_addr() {
            listen.address = Address::Tcp(address);
        }
        listen.fmt(f)
    }
}

fn bind_tcp(address: &SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    socket::listen(&listener, backlog()?)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn backlog() -> nix::Result<Backlog> {
    Backlog::new(BACKLOG)
}

/// A listening UNIX socket, not blocking.
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    pub(super) file: UnixFile,
}

/// The file of a listening UNIX socket, which goes with it.
pub(super) struct UnixFile {
    path: PathBuf,
    inode: Option<(u64, u64)>,
}

impl UnixSocket {
    fn bind(path: &Path, mode: u32) -> Result<Self, ListenError> {
        let name = format!("unix:{}", path.display());
        let failed = |reason| listen_error(&name, reason);
        remove_stale(path, &name)?;
        let listener = listen_unix(path, mode).map_err(failed)?;
        Ok(UnixSocket { listener, file: UnixFile { path: path.to_owned(), inode: inode(path) } })
    }
}

fn listen_unix(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The file is made with the socket's own mode (Linux, `unix_bind_bsd`), so it is never wider than asked for.
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // The umask has narrowed it.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    socket::listen(&socket, backlog()?)?;
    Ok(socket.into())
}

impl fmt::Display for UnixFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix:{}", self.path.display())
    }
}

impl Drop for UnixFile {
    fn drop(&mut self) {
        // Another observer may have taken the place since.
        if self.inode.is_some() && inode(&self.path) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of an observer that ended without doing so.
fn remove_stale(path: &Path, name: &str) -> Result<(), ListenError> {
    let Ok(meta) = fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() {
        return Err(ListenError::NoSocket(name.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|reason| listen_error(name, reason))
        }
        Ok(_) | Err(_) => Err(ListenError::Taken(name.to_owned())),
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

fn listen_error(address: impl ToString, reason: io::Error) -> ListenError {
    let address = address.to_string();
    match reason.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        io::ErrorKind::AddrNotAvailable => ListenError::Foreign(address),
        _ => ListenError::Refused { address, reason },
    }
}
