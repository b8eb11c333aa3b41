//! An upstream that takes every upgrade and sends back whatever comes then.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Result;

use crate::wire::{Framing, Wire};

/// A listening service; one thread a connection. Dropping it ends all of them.
#[derive(Debug)]
pub struct Tunnel {
    address: SocketAddr,
    open: Arc<Mutex<Vec<TcpStream>>>,
    is_stopping: Arc<AtomicBool>,
}

impl Tunnel {
    /// On 127.0.0.1.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let tunnel = Self { address: listener.local_addr()?, open: Arc::default(), is_stopping: Arc::default() };
        let (open, is_stopping) = (Arc::clone(&tunnel.open), Arc::clone(&tunnel.is_stopping));
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if is_stopping.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(handle) = stream.try_clone() {
                    open.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
                }
                // An error is the gateway's end of the connection.
                thread::spawn(move || serve(stream));
            }
        });
        Ok(tunnel)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections.
    pub fn close_all(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        self.close_all();
    }
}

fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut out = stream.try_clone()?;
    let mut wire = Wire::new(stream);
    let Some(head) = wire.head()? else { return Ok(()) };
    if head.header("upgrade").is_none() {
        wire.body(head.framing(Framing::Length(0)))?;
        return out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n");
    }
    out.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")?;
    out.write_all(&wire.held())?;
    let mut buffer = vec![0; 1 << 16];
    let mut stream = wire.into_stream();
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..read])?;
    }
}
