//! A stream socket, TCP or UNIX, with the rude ways to end it.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};

use crate::tls::Tls;

/// Where a server listens. Printed in nginx's notation: `127.0.0.1:80`, `[::1]:80`, `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// IPv4 or IPv6.
    Tcp(SocketAddr),
    /// A UNIX socket's path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A connected stream socket.
#[derive(Debug)]
pub enum Socket {
    /// IPv4 or IPv6.
    Tcp(TcpStream),
    /// UNIX.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<Tls>),
}

impl Socket {
    /// Connects, without Nagle's delay; over TLS to a port that [`crate::tls::is_spoken_on`].
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) if crate::tls::is_spoken_on(address.port()) => {
                Ok(Self::Tls(Box::new(Tls::connect(TcpStream::connect(address)?)?)))
            }
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => Ok(Self::Unix(UnixStream::connect(path)?)),
        }
    }

    /// The TCP socket, under TLS if need be; `None` for a UNIX socket.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Tls(stream) => Some(stream.tcp()),
            Self::Unix(_) => None,
        }
    }

    /// Makes the receive buffer small and keeps the kernel from enlarging it (`SO_RCVBUF`).
    pub fn set_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => Ok(setsockopt(stream, sockopt::RcvBuf, &bytes)?),
            Self::Tls(stream) => Ok(setsockopt(stream.tcp(), sockopt::RcvBuf, &bytes)?),
            Self::Unix(stream) => Ok(setsockopt(stream, sockopt::RcvBuf, &bytes)?),
        }
    }

    /// A second handle to the same socket; of TLS to the socket under it, to end it.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            Self::Tls(stream) => Self::Tcp(stream.tcp().try_clone()?),
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    /// Ends one or both directions in an orderly way.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tls(stream) => stream.tcp().shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Reads and writes that take longer fail with `WouldBlock`.
    pub fn set_timeout(&self, limit: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))
            }
            Self::Tls(stream) => {
                stream.tcp().set_read_timeout(Some(limit))?;
                stream.tcp().set_write_timeout(Some(limit))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(limit))?;
                stream.set_write_timeout(Some(limit))
            }
        }
    }

    /// Makes the close, which comes with the last handle's drop, a reset (RST). UNIX sockets have none.
    pub fn reset_on_close(&self) -> io::Result<()> {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        match self {
            Self::Tcp(stream) => Ok(setsockopt(stream, sockopt::Linger, &at_once)?),
            Self::Tls(stream) => Ok(setsockopt(stream.tcp(), sockopt::Linger, &at_once)?),
            Self::Unix(_) => Err(io::Error::other("a UNIX socket cannot be reset")),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

/// A listening socket that lets no connect succeed: its queue is full and nobody takes from it.
#[derive(Debug)]
pub struct Deaf {
    listener: std::net::TcpListener,
    _queued: Vec<TcpStream>,
}

impl Deaf {
    /// Where it listens, on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listening socket has an address")
    }
}

/// Makes a [`Deaf`] listener.
pub fn deaf_listener() -> anyhow::Result<Deaf> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    // listen(2) again replaces the length of the queue; Linux queues one more than asked for.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0)?)?;
    let queued = TcpStream::connect(listener.local_addr()?)?;
    Ok(Deaf { listener, _queued: vec![queued] })
}
