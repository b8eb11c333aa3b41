//! A small HTTP/1.1 service that the demo's gateway forwards to.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// A service, which runs as long as xtask.
pub struct Service {
    /// Its name, and the first part of its paths.
    pub name: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Service {
    /// Starts it on a free port of loopback.
    pub fn start(name: &'static str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A connection that the gateway drops is no loss.
                thread::spawn(move || serve(stream));
            }
        });
        Ok(Self { name, address })
    }
}

struct Request {
    method: String,
    path: String,
    body_bytes: u64,
}

struct Response {
    status: &'static str,
    body_bytes: usize,
    chunked: bool,
    delay: Duration,
}

fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let mut body = reader.by_ref().take(request.body_bytes);
        io::copy(&mut body, &mut io::sink())?;
        let response = respond(&request);
        thread::sleep(response.delay);
        write_response(&mut writer, &response, request.method == "HEAD")?;
    }
    Ok(())
}

/// Reads a head. `None` at the connection's end.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ');
    let mut request = Request {
        method: words.next().unwrap_or_default().to_owned(),
        path: words.next().unwrap_or_default().to_owned(),
        body_bytes: 0,
    };
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.split_once(':') else {
            return Ok(Some(request));
        };
        // The gateway gives every body a length.
        if name.eq_ignore_ascii_case("content-length") {
            request.body_bytes = value.trim().parse().unwrap_or(0);
        }
    }
}

/// The last part of the path decides, then the method.
fn respond(request: &Request) -> Response {
    let item = request.path.rsplit('/').next().unwrap_or_default();
    let (status, body_bytes) = match (item, request.method.as_str()) {
        ("missing", _) => ("404 Not Found", 60),
        ("broken", _) => ("500 Internal Server Error", 45),
        ("export", _) => ("200 OK", 200_000),
        (_, "POST") => ("201 Created", 120),
        (_, "DELETE") => ("204 No Content", 0),
        _ => ("200 OK", 100 + item.parse().unwrap_or(0) % 50 * 80),
    };
    Response {
        status,
        body_bytes,
        chunked: item == "export",
        delay: Duration::from_millis(if item == "slow" { 40 } else { 0 }),
    }
}

fn write_response(writer: &mut impl Write, response: &Response, head_only: bool) -> io::Result<()> {
    let mut message = format!("HTTP/1.1 {}\r\nContent-Type: text/plain\r\n", response.status);
    let body = "x".repeat(response.body_bytes);
    if response.chunked {
        message += "Transfer-Encoding: chunked\r\n\r\n";
    } else if response.status.starts_with("204") {
        message += "\r\n";
    } else {
        message += &format!("Content-Length: {}\r\n\r\n", body.len());
    }
    if head_only {
        return writer.write_all(message.as_bytes());
    }
    if response.chunked {
        message += &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    } else {
        message += &body;
    }
    writer.write_all(message.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(requests: &str) -> String {
        let service = Service::start("orders").unwrap();
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.write_all(requests.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn requests_on_one_connection_are_answered_in_order() {
        let answer = ask("POST /orders HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello\
            DELETE /orders/1 HTTP/1.1\r\nHost: a\r\n\r\n\
            HEAD /orders/2 HTTP/1.1\r\n\r\n\
            GET /orders/missing HTTP/1.1\r\n\r\n");
        let statuses: Vec<_> = answer.split("HTTP/1.1 ").map(|rest| &rest[..rest.len().min(3)]).collect();
        assert_eq!(statuses, ["", "201", "204", "200", "404"]);
        assert!(answer.contains("Content-Length: 260\r\n\r\nHTTP/1.1 404"), "{answer}");
    }

    #[test]
    fn an_export_comes_in_chunks() {
        let answer = ask("GET /orders/export HTTP/1.1\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with("Transfer-Encoding: chunked"));
        assert!(body.starts_with("30d40\r\nxxx"));
        assert!(body.ends_with("\r\n0\r\n\r\n"));
    }
}
