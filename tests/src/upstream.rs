//! An upstream service whose answer is written in the request's path; see [`script`].

pub mod script;

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};

use crate::socket::{Address, Socket};
use crate::tls::Tls;
use crate::wait::PATIENCE;
use crate::wire::{Framing, Wire};
use script::{After, Script};

/// A listening service; one thread a connection, keepalive as HTTP/1 has it. Dropping it ends all of them.
#[derive(Debug)]
pub struct Upstream {
    address: Address,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopping: AtomicBool,
    connections: AtomicU64,
    requests: AtomicU64,
    open: Mutex<HashMap<u64, Socket>>,
    gate: Gate,
}

impl Upstream {
    /// On 127.0.0.1.
    pub fn ipv4() -> Result<Self> {
        Self::tcp("127.0.0.1:0")
    }

    /// On 127.0.0.1, over TLS.
    pub fn tls() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("listen on 127.0.0.1")?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self::serve(address, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tls(Box::new(Tls::accept(stream)?)))
        }))
    }

    /// On ::1.
    pub fn ipv6() -> Result<Self> {
        Self::tcp("[::1]:0")
    }

    /// On `port` of 127.0.0.1.
    pub fn at(port: u16) -> Result<Self> {
        Self::tcp(&format!("127.0.0.1:{port}"))
    }

    /// On an address.
    pub fn on(address: &str) -> Result<Self> {
        Self::tcp(address)
    }

    /// On a UNIX socket, which it creates at `path`.
    pub fn unix(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path).with_context(|| format!("listen on {}", path.display()))?;
        let address = Address::Unix(path.to_owned());
        Ok(Self::serve(address, move || Ok(Socket::Unix(listener.accept()?.0))))
    }

    fn tcp(address: &str) -> Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        let address = Address::Tcp(listener.local_addr()?);
        Ok(Self::serve(address, move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(Socket::Tcp(stream))
        }))
    }

    fn serve(address: Address, accept: impl Fn() -> io::Result<Socket> + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_all(&accept, &shared)
        });
        Self { address, shared, acceptor: Some(acceptor) }
    }

    /// Where it listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests read whole so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Waits until `count` requests stand at `/hold`.
    pub fn until_held(&self, count: usize) -> Result<()> {
        self.shared.gate.until_held(count)
    }

    /// Ends all connections in an orderly way.
    pub fn close_all(&self) {
        for socket in lock(&self.shared.open).values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Lets all requests that stand at `/hold` go on.
    pub fn release(&self) {
        self.shared.gate.release();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        self.release();
        // The acceptor looks at the flag after each accept.
        let woken = Socket::connect(&self.address).is_ok();
        self.close_all();
        if let (true, Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(accept: &impl Fn() -> io::Result<Socket>, shared: &Arc<Shared>) {
    while let Ok(socket) = accept() {
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let id = shared.connections.fetch_add(1, Ordering::SeqCst);
        let Ok(handle) = socket.try_clone() else {
            return;
        };
        lock(&shared.open).insert(id, handle);
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            let mut wire = Wire::new(socket);
            // An error here is the gateway's end of the connection; the test sees it in the gateway's log.
            let after = converse(&mut wire, &shared);
            lock(&shared.open).remove(&id);
            if matches!(after, Ok(After::Reset)) {
                let _ = wire.stream().reset_on_close();
            }
        });
    }
}

fn converse(wire: &mut Wire<Socket>, shared: &Shared) -> io::Result<After> {
    while let Some(head) = wire.head()? {
        let body = wire.body(head.framing(Framing::Length(0)))?;
        shared.requests.fetch_add(1, Ordering::SeqCst);
        let script = Script::of(&head);
        if script.holds {
            shared.gate.pass();
        }
        match script.play(&head, &body, wire.stream())? {
            After::KeepAlive => {}
            after => return Ok(after),
        }
    }
    Ok(After::Close)
}

/// Holds requests until they are let go.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct GateState {
    held: usize,
    releases: u64,
}

impl Gate {
    fn pass(&self) {
        let mut state = lock(&self.state);
        let before = state.releases;
        state.held += 1;
        self.changed.notify_all();
        while state.releases == before {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.held -= 1;
    }

    fn release(&self) {
        lock(&self.state).releases += 1;
        self.changed.notify_all();
    }

    fn until_held(&self, count: usize) -> Result<()> {
        let (state, _) = self
            .changed
            .wait_timeout_while(lock(&self.state), PATIENCE, |state| state.held < count)
            .unwrap_or_else(PoisonError::into_inner);
        ensure!(state.held >= count, "{} of {count} requests reached the upstream within {PATIENCE:?}", state.held);
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
