//! Clients that send the demo's gateway a steady mix of requests.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Running clients. Dropping it ends them.
pub struct Traffic {
    ending: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

impl Traffic {
    /// Starts clients that together send 50 requests a second.
    pub fn start(gateway: SocketAddr) -> Self {
        let ending = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS)
            .map(|number| {
                let ending = Arc::clone(&ending);
                thread::spawn(move || send_all(gateway, number, &ending))
            })
            .collect();
        Self { ending, clients }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            // A client that panicked has said so.
            let _ = client.join();
        }
    }
}

const CLIENTS: usize = 4;
const INTERVAL: Duration = Duration::from_millis(CLIENTS as u64 * 1000 / 50);
/// Long against the slowest response, short against a person's patience at the end.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Request {
    method: &'static str,
    path: &'static str,
    body_bytes: usize,
}

const fn request(method: &'static str, path: &'static str, body_bytes: usize) -> Request {
    Request { method, path, body_bytes }
}

const MIX: &[Request] = &[
    request("GET", "/orders/1", 0),
    request("GET", "/users/2", 0),
    request("GET", "/orders/17", 0),
    request("POST", "/orders", 300),
    request("GET", "/users/slow", 0),
    request("HEAD", "/orders/5", 0),
    request("GET", "/orders/export", 0),
    request("PUT", "/users/9", 2_000),
    request("GET", "/users/missing", 0),
    request("GET", "/orders/42", 0),
    request("DELETE", "/orders/3", 0),
    request("GET", "/users/31", 0),
    request("GET", "/orders/broken", 0),
    request("POST", "/users", 40_000),
    request("GET", "/orders/49", 0),
    request("GET", "/nowhere", 0),
    request("GET", "/users/44", 0),
];

fn send_all(gateway: SocketAddr, number: usize, ending: &AtomicBool) {
    let mut connection = None;
    let mut due = Instant::now() + INTERVAL * number as u32 / CLIENTS as u32;
    for request in MIX.iter().cycle().skip(number * MIX.len() / CLIENTS) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += INTERVAL;
        if ending.load(Ordering::Relaxed) {
            return;
        }
        // A gateway that is away for a moment gets a new connection with the next request.
        connection = send(connection, gateway, request).unwrap_or(None);
    }
}

type Connection = BufReader<TcpStream>;

/// Sends a request on a kept connection or a new one, and gives the connection back if it is kept.
fn send(kept: Option<Connection>, gateway: SocketAddr, request: &Request) -> io::Result<Option<Connection>> {
    let mut connection = match kept {
        Some(connection) => connection,
        None => connect(gateway)?,
    };
    let Request { method, path, body_bytes } = request;
    let mut message = format!("{method} {path} HTTP/1.1\r\nHost: demo.example\r\n");
    if *body_bytes > 0 {
        message += &format!("Content-Length: {body_bytes}\r\n");
    }
    message += "\r\n";
    message += &"x".repeat(*body_bytes);
    connection.get_mut().write_all(message.as_bytes())?;
    let kept = skip_response(&mut connection, *method == "HEAD")?;
    Ok(kept.then_some(connection))
}

fn connect(gateway: SocketAddr) -> io::Result<Connection> {
    let stream = TcpStream::connect_timeout(&gateway, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(BufReader::new(stream))
}

/// Reads a response to its end, and says whether the connection is kept.
fn skip_response(reader: &mut impl BufRead, head_only: bool) -> io::Result<bool> {
    let (mut length, mut chunked, mut kept) = (0, false, true);
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "transfer-encoding" => chunked = value == "chunked",
            "connection" => kept = value != "close",
            _ => {}
        }
    }
    if head_only {
        return Ok(kept);
    }
    if chunked {
        skip_chunks(reader)?;
    } else {
        skip(reader, length)?;
    }
    Ok(kept)
}

fn skip_chunks(reader: &mut impl BufRead) -> io::Result<()> {
    loop {
        let size = u64::from_str_radix(&read_line(reader)?, 16).map_err(io::Error::other)?;
        skip(reader, size)?;
        read_line(reader)?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn skip(reader: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    io::copy(&mut reader.take(bytes), &mut io::sink())?;
    Ok(())
}

/// A line without its end.
fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rest_after(response: &str, head_only: bool) -> (bool, String) {
        let mut reader = response.as_bytes();
        let kept = skip_response(&mut reader, head_only).unwrap();
        (kept, String::from_utf8(reader.to_vec()).unwrap())
    }

    #[test]
    fn a_response_is_read_to_its_end_and_no_further() {
        let next = || (true, "HTTP/1.1 200".to_owned());
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200";
        assert_eq!(rest_after(length, false), next());
        let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            a\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\nHTTP/1.1 200";
        assert_eq!(rest_after(chunks, false), next());
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200";
        assert_eq!(rest_after(head, true), next());
        let empty = "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200";
        assert_eq!(rest_after(empty, false), next());
    }

    #[test]
    fn a_connection_that_the_gateway_closes_is_not_kept() {
        let (kept, _) = rest_after("HTTP/1.1 500 x\r\nConnection: close\r\n\r\n", false);
        assert!(!kept);
    }

    #[test]
    fn a_response_cut_short_in_its_head_is_an_error() {
        let mut reader = "HTTP/1.1 200 OK\r\nContent-Le".as_bytes();
        assert!(skip_response(&mut reader, false).is_err());
    }
}
