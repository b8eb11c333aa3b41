//! The kernel's TCP sockets as `/proc/net/tcp` and `/proc/net/tcp6` list them, for the calling thread's network.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};

const STATE_LISTEN: u8 = 0x0A;

/// One socket of the calling thread's network namespace.
#[derive(Debug, Clone)]
pub struct Row {
    /// The socket's own address.
    pub local: SocketAddr,
    /// Its peer's; port 0 when it listens.
    pub remote: SocketAddr,
    /// Bytes that arrived and were not read yet.
    pub unread_bytes: u64,
    state: u8,
}

/// True when some process listens on `port`, on whatever address.
pub fn listens(port: u16) -> Result<bool> {
    Ok(rows_of(port)?.iter().any(|row| row.state == STATE_LISTEN && row.local.port() == port))
}

/// Connections to `port` that wait to be accepted, on all its listening sockets: of those the kernel gives the queue's length
/// for the bytes to read.
pub fn waiting_to_be_accepted(port: u16) -> Result<u64> {
    let listeners = rows_of(port)?.into_iter().filter(|row| row.state == STATE_LISTEN && row.local.port() == port);
    Ok(listeners.map(|row| row.unread_bytes).sum())
}

/// The other end of a loopback connection, while the kernel still has it.
pub fn peer_of(local: SocketAddr, remote: SocketAddr) -> Result<Option<Row>> {
    Ok(rows_of(local.port())?.into_iter().find(|row| row.local == remote && row.remote == local))
}

/// Rows with `port` at either end. The rest, thousands of ended connections after some tests, are not parsed.
fn rows_of(port: u16) -> Result<Vec<Row>> {
    let mark = format!(":{port:04X} ");
    let mut rows = Vec::new();
    for path in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
        for line in text.lines().filter(|line| line.contains(&mark)) {
            rows.push(row(line).with_context(|| format!("{path}: {line}"))?);
        }
    }
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let field = |index: usize| fields.get(index).copied().context("too few columns");
    let (_, unread) = field(4)?.split_once(':').context("queues")?;
    Ok(Row {
        local: address(field(1)?)?,
        remote: address(field(2)?)?,
        state: u8::from_str_radix(field(3)?, 16)?,
        unread_bytes: u64::from_str_radix(unread, 16)?,
    })
}

/// Addresses are printed as 32-bit words in the host's byte order.
fn address(text: &str) -> Result<SocketAddr> {
    let (words, port) = text.split_once(':').context("address")?;
    let mut bytes = Vec::with_capacity(16);
    for start in (0..words.len()).step_by(8) {
        let word = words.get(start..start + 8).context("address word")?;
        bytes.extend(u32::from_str_radix(word, 16)?.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(&bytes[..])?)),
        _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..])?)),
    };
    Ok(SocketAddr::new(ip, u16::from_str_radix(port, 16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_listener_is_listed_until_it_is_dropped() -> Result<()> {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host)?;
            let port = listener.local_addr()?.port();
            assert!(listens(port)?);
            drop(listener);
            assert!(!listens(port)?);
        }
        Ok(())
    }

    #[test]
    fn unread_bytes_of_the_peer_are_counted() -> Result<()> {
        use std::io::Write;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
        let _server = listener.accept()?;
        client.write_all(b"hello")?;
        let peer = peer_of(client.local_addr()?, client.peer_addr()?)?.context("peer")?;
        assert_eq!(peer.unread_bytes, 5);
        Ok(())
    }
}
