//! An upstream that resets its connections, at a place that the request's path names.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer_tests::socket::Socket;
use observer_tests::wire::read_head;

/// Places of a reset: the path's first segment behind the service's, and what is sent before.
pub const PLACES: [(&str, &[u8]); 10] = [
    ("in-the-status-line", b"HTTP/1.1 20"),
    ("in-a-header-line", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nX: "),
    ("behind-the-head", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"),
    ("in-a-chunks-size", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5"),
    ("in-a-chunk", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n50\r\nhel"),
    ("between-chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
    ("in-the-trailer", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
    ("where-a-close-would-end-it", b"HTTP/1.1 200 OK\r\n\r\nhello"),
    ("behind-the-answer", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("behind-a-204", b"HTTP/1.1 204 No Content\r\n\r\n"),
];

/// As [`PLACES`], but before any answer.
pub const SILENT: &str = "without-a-byte";

/// Of the request's body so much is read, then the connection is reset.
pub const READ_OF_A_BODY: usize = 100_000;

/// The place where it reads some of the body first.
pub const IN_THE_REQUEST: &str = "in-the-request";

/// Segment that sets a pause between the last byte and the reset, so that the gateway reads the one before the other.
pub const PAUSED: &str = "paused";

const PAUSE: Duration = Duration::from_millis(20);

/// Starts one. It ends with the test's process.
pub fn upstream() -> Result<SocketAddr> {
    serve(|stream| {
        // An error is the gateway's end of the connection.
        let _ = answer(&stream);
        stream
    })
}

/// Starts one that resets each connection as soon as it has it.
pub fn unwilling_upstream() -> Result<SocketAddr> {
    serve(|stream| stream)
}

fn serve(handle: impl Fn(TcpStream) -> TcpStream + Copy + Send + 'static) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || Socket::Tcp(handle(stream)).reset_on_close());
        }
    });
    Ok(address)
}

fn answer(mut stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let head = String::from_utf8_lossy(&read_head(&mut stream)?).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let is_at = |place: &str| path.split('/').any(|segment| segment == place);
    if is_at(IN_THE_REQUEST) {
        stream.read_exact(&mut vec![0; READ_OF_A_BODY])?;
    } else if !is_at(SILENT) {
        let (_, bytes) = PLACES.iter().find(|(place, _)| is_at(place)).ok_or_else(|| io::Error::other("no place"))?;
        stream.write_all(bytes)?;
    }
    if is_at(PAUSED) {
        thread::sleep(PAUSE);
    }
    Ok(())
}
