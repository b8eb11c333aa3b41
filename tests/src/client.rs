//! A raw HTTP/1 client: every byte and every end of a connection is the test's choice.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use rustls::ClientConfig;

use crate::netstat;
use crate::request::Request;
use crate::socket::{Address, Socket};
use crate::tls::Tls;
use crate::wait::{PATIENCE, until_true};
use crate::wire::{Framing, Head, Wire};

const TIMEOUT: Duration = Duration::from_secs(30);

/// A response as it came over the wire.
#[derive(Debug, Clone)]
pub struct Response {
    /// Of the final response.
    pub status: u16,
    /// Of the final response.
    pub head: Head,
    /// Content, unchunked.
    pub body: Vec<u8>,
    /// Statuses of the 1xx responses before it.
    pub interim: Vec<u16>,
    /// All bytes, framing and 1xx responses included.
    pub wire_bytes: usize,
    /// The server will read no further request on this connection.
    pub is_last: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Client {
    wire: Wire<Socket>,
}

impl Client {
    /// Connects over TCP.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_to(&Address::Tcp(address))
    }

    /// Connects over TCP or a UNIX socket. Reads and writes give up after half a minute.
    pub fn connect_to(address: &Address) -> Result<Self> {
        let socket = Socket::connect(address).with_context(|| format!("connect to {address}"))?;
        socket.set_timeout(TIMEOUT)?;
        Ok(Self { wire: Wire::new(socket) })
    }

    /// Connects over TCP and speaks plainly, whatever the server expects.
    pub fn connect_plainly(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Self::over(Socket::Tcp(stream))
    }

    /// Connects over TLS with settings of the test's own; see [`crate::tls::client_config`].
    pub fn connect_by_tls(address: SocketAddr, config: &Arc<ClientConfig>) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        Self::over(Socket::Tls(Box::new(Tls::connect_with(stream, Arc::clone(config))?)))
    }

    /// Connects over TLS behind bytes in the clear, such as a PROXY protocol's header.
    pub fn connect_by_tls_behind(address: SocketAddr, bytes: &[u8], config: &Arc<ClientConfig>) -> Result<Self> {
        let mut stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.write_all(bytes)?;
        Self::over(Socket::Tls(Box::new(Tls::connect_with(stream, Arc::clone(config))?)))
    }

    /// The TLS under it, if there is any.
    pub fn tls(&mut self) -> Option<&mut Tls> {
        match self.wire.stream() {
            Socket::Tls(stream) => Some(stream),
            Socket::Tcp(_) | Socket::Unix(_) => None,
        }
    }

    fn over(socket: Socket) -> Result<Self> {
        socket.set_timeout(TIMEOUT)?;
        Ok(Self { wire: Wire::new(socket) })
    }

    /// Connects over TCP with a receive buffer of about `receive_bytes`, so that the server can send little ahead.
    pub fn connect_slow(address: SocketAddr, receive_bytes: usize) -> Result<Self> {
        let mut client = Self::connect(address)?;
        client.wire.stream().set_receive_buffer(receive_bytes)?;
        Ok(client)
    }

    /// Sends `bytes` at once.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.wire.write_all(bytes).context("send")
    }

    /// Sends `bytes` in pieces that end at the given places, each only when the server has read the one before it:
    /// the server cannot see two of them in one read. TCP on loopback only.
    pub fn send_split(&mut self, bytes: &[u8], ends: &[usize]) -> Result<()> {
        let mut start = 0;
        for &end in ends.iter().chain([&bytes.len()]) {
            self.send(&bytes[start..end])?;
            self.until_read()?;
            start = end;
        }
        Ok(())
    }

    /// Waits until the server has read everything sent so far. TCP on loopback only.
    pub fn until_read(&mut self) -> Result<()> {
        let Some(stream) = self.wire.stream().tcp() else {
            bail!("only TCP sockets are listed with what their peers have not read");
        };
        let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
        until_true("the server reads what was sent", PATIENCE, || {
            let peer = netstat::peer_of(local, remote)?;
            Ok(peer.is_none_or(|peer| peer.unread_bytes == 0))
        })
    }

    /// Sends `request` and reads its response.
    pub fn exchange(&mut self, request: &Request) -> Result<Response> {
        self.send(&request.bytes())?;
        self.response(request.is_head())
    }

    /// Reads one response, the 1xx before it included. `to_head`: it answers a `HEAD`.
    pub fn response(&mut self, to_head: bool) -> Result<Response> {
        let start = self.wire.consumed_bytes();
        let mut interim = Vec::new();
        let (head, status) = loop {
            let head = self.wire.head().context("read a response's head")?;
            let head = head.context("the server closed the connection without a response")?;
            let status = status_of(&head)?;
            if status >= 200 || status == 101 {
                break (head, status);
            }
            interim.push(status);
        };
        let framing = match status {
            101 | 204 | 304 => Framing::Length(0),
            _ if to_head => Framing::Length(0),
            _ => head.framing(Framing::Close),
        };
        let body = self.wire.body(framing).context("read a response's body")?;
        let closes = |value: &str| value.eq_ignore_ascii_case("close");
        Ok(Response {
            status,
            is_last: framing == Framing::Close || head.header("connection").is_some_and(closes),
            head,
            body,
            interim,
            wire_bytes: self.wire.consumed_bytes() - start,
        })
    }

    /// Reads `length` bytes as they come, whatever they are.
    pub fn bytes(&mut self, length: usize) -> Result<Vec<u8>> {
        let what = || format!("read {length} bytes");
        self.wire.body(Framing::Length(length)).with_context(what)
    }

    /// Reads all that comes until the server closes, or sends nothing for as long as `limit`.
    pub fn read_for(&mut self, limit: Duration) -> Result<Vec<u8>> {
        let socket = self.wire.stream();
        socket.set_timeout(limit)?;
        let mut bytes = Vec::new();
        // Time that ran out and a reset are ends like any other here; what came before is in `bytes`.
        let _ = socket.read_to_end(&mut bytes);
        socket.set_timeout(TIMEOUT)?;
        Ok(bytes)
    }

    /// Waits for the server's end of the connection. Error if it sends anything first.
    pub fn until_closed(&mut self) -> Result<()> {
        let rest = self.wire.body(Framing::Close).context("await the close")?;
        anyhow::ensure!(rest.is_empty(), "{} bytes instead of the close", rest.len());
        Ok(())
    }

    /// All bytes up to the server's end of the connection, or up to its reset.
    pub fn rest(&mut self) -> Vec<u8> {
        self.wire.rest()
    }

    /// Half-close: no more requests, responses can still be read.
    pub fn finish_sending(&mut self) -> Result<()> {
        Ok(self.wire.stream().shutdown(Shutdown::Write)?)
    }

    /// Ends the connection with a reset.
    pub fn reset(self) -> Result<()> {
        Ok(self.wire.into_stream().reset_on_close()?)
    }
}

fn status_of(head: &Head) -> Result<u16> {
    let line = &head.start_line;
    let status = line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5))
        .with_context(|| format!("not a status line: {line:?}"))?;
    status.parse().with_context(|| format!("not a status line: {line:?}"))
}
