//! Which upstream exchange was made for which client's request, as the requests themselves say in a header that the agent
//! does not look at, compared with the pairs that the agent makes of a recording.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use observer::config::Config;
use observer::recording::pairs;

use crate::wire::{Framing, Head, Wire};

/// The header with the request's number.
pub const TRUTH: &str = "X-Truth";
/// The header with how long the upstream is to take, in ms.
pub const DELAY: &str = "X-Delay";

/// An exchange: the address of the end that asked, and its number on the connection, from 0.
pub type Place = (SocketAddr, u64);

/// What an upstream was asked.
#[derive(Debug, Clone)]
struct Asked {
    place: Place,
    truth: u64,
    path: String,
}

/// An upstream that keeps in mind what it was asked. Dropping it ends it.
#[derive(Debug)]
pub struct Witness {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    is_stopping: AtomicBool,
    has_one_answer: bool,
    asked: Mutex<Vec<Asked>>,
    open: Mutex<Vec<TcpStream>>,
}

/// How the pairs of a run compare with the truth.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Score {
    /// Requests that were proxied.
    pub requests: usize,
    /// Those whose pair is right.
    pub right: usize,
    /// Those whose upstream exchange was given to another client.
    pub wrong: usize,
    /// Those whose upstream exchange was given to nobody, or taken for a subrequest's.
    pub missing: usize,
    /// Upstream exchanges made for subrequests.
    pub subrequests: usize,
    /// Those that were taken for answers to a request.
    pub mistaken: usize,
    /// Upstream exchanges that were given to two clients.
    pub twice: usize,
}

impl Score {
    /// Of the requests.
    pub fn right_percent(&self) -> f64 {
        100.0 * self.right as f64 / self.requests.max(1) as f64
    }
}

impl Witness {
    /// On 127.0.0.1. Its answers tell the request's number in `ETag`, length and body, or are all the same.
    pub fn start(has_one_answer: bool) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            is_stopping: AtomicBool::new(false),
            has_one_answer,
            asked: Mutex::default(),
            open: Mutex::default(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_all(&listener, &shared)
        });
        Ok(Self { address, shared, acceptor: Some(acceptor) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Compares with what the agent makes of the recording. `clients`: each request's number by its place.
    /// `is_proxied` tells by its path whether an upstream exchange was to answer the request itself.
    pub fn judge(
        &self,
        recording: &Path,
        clients: &HashMap<Place, u64>,
        is_proxied: impl Fn(&str) -> bool,
    ) -> Result<Score> {
        let mut given = HashMap::new();
        let mut score = Score::default();
        let mut all = HashSet::new();
        for pair in pairs(recording, &Config::default()).context("replay")? {
            let (Some(client), Some(upstream)) = (pair.client, pair.upstream) else { continue };
            let place = (upstream, pair.upstream_number);
            score.twice += usize::from(!all.insert(place));
            if pair.is_try {
                given.insert(place, clients.get(&(client, pair.client_number)).copied());
            }
        }
        for Asked { place, truth, path } in lock(&self.shared.asked).iter() {
            let pair = given.get(place);
            if !is_proxied(path) {
                score.subrequests += 1;
                score.mistaken += usize::from(pair.is_some());
                continue;
            }
            score.requests += 1;
            match pair {
                Some(Some(number)) if number == truth => score.right += 1,
                Some(_) => score.wrong += 1,
                None => score.missing += 1,
            }
        }
        Ok(score)
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        // The acceptor looks at the flag after each accept.
        let woken = TcpStream::connect(self.address).is_ok();
        for socket in lock(&self.shared.open).iter() {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        if let (true, Some(acceptor)) = (woken, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((socket, peer)) = listener.accept() {
        if shared.is_stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(handle) = socket.try_clone() else { return };
        lock(&shared.open).push(handle);
        let shared = Arc::clone(shared);
        // An error is the gateway's end of the connection.
        thread::spawn(move || converse(socket, peer, &shared));
    }
}

fn converse(socket: TcpStream, peer: SocketAddr, shared: &Shared) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut wire = Wire::new(socket);
    for number in 0.. {
        let Some(head) = wire.head()? else { break };
        wire.body(head.framing(Framing::Length(0)))?;
        let truth = value(&head, TRUTH).unwrap_or(u64::MAX);
        let path = head.start_line.split(' ').nth(1).unwrap_or_default().to_owned();
        lock(&shared.asked).push(Asked { place: (peer, number), truth, path });
        thread::sleep(Duration::from_millis(value(&head, DELAY).unwrap_or(0)));
        wire.write_all(&answer(truth, shared.has_one_answer))?;
        if head.start_line.ends_with("HTTP/1.0") || head.header("connection") == Some("close") {
            break;
        }
    }
    Ok(())
}

fn answer(truth: u64, is_one_for_all: bool) -> Vec<u8> {
    let (tag, body) = match is_one_for_all {
        true => ("same".to_owned(), "the same for all\n".to_owned()),
        false => (format!("tag-{truth}"), format!("{truth} is the answer{}\n", ".".repeat(truth as usize % 50))),
    };
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nETag: \"{tag}\"\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// A header line's number.
fn value(head: &Head, name: &str) -> Option<u64> {
    head.header(name)?.parse().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
