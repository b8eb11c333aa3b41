//! An upstream that answers with whatever bytes it was given.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer_tests::wire::read_head;

/// What it answers to `/N`, N counting from 0; it closes behind each answer.
pub fn answering(answers: Vec<Vec<u8>>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    // It ends with the test's process.
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            // An error is the gateway's end of the connection.
            let _ = answer(stream, &answers);
        }
    });
    Ok(address)
}

fn answer(mut stream: TcpStream, answers: &[Vec<u8>]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let head = String::from_utf8_lossy(&read_head(&mut stream)?).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let index: usize = path.rsplit('/').next().and_then(|last| last.parse().ok()).unwrap_or(usize::MAX);
    stream.write_all(answers.get(index).map_or(b"HTTP/1.1 404 x\r\n\r\n", |bytes| bytes.as_slice()))?;
    stream.shutdown(Shutdown::Write)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map(drop)
}
