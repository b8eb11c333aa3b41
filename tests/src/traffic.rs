//! Many requests from several clients at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};

use crate::client::Client;
use crate::request::Request;

/// One exchange as the client counted it.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The request's place in the plan.
    pub index: usize,
    /// Bytes sent.
    pub sent_bytes: usize,
    /// Bytes received, 1xx responses included.
    pub received_bytes: usize,
    /// Final status.
    pub status: u16,
}

/// Sends every request of `plan` once, from `clients` threads, each on one connection for as long as the server
/// keeps it. Error for the first exchange that fails.
pub fn run(address: SocketAddr, plan: &[Request], clients: usize) -> Result<Vec<Outcome>> {
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(Vec::with_capacity(plan.len()));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(|| work(address, plan, &next, &outcomes))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a client thread panicked"))
    })?;
    let mut outcomes = outcomes.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|outcome| outcome.index);
    Ok(outcomes)
}

fn work(address: SocketAddr, plan: &[Request], next: &AtomicUsize, outcomes: &Mutex<Vec<Outcome>>) -> Result<()> {
    let mut kept: Option<Client> = None;
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(request) = plan.get(index) else {
            return Ok(());
        };
        let mut client = match kept.take() {
            Some(client) => client,
            None => Client::connect(address)?,
        };
        let response = client.exchange(request).with_context(|| format!("request {index} of the plan: {request:?}"))?;
        let mut outcomes = outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.push(Outcome {
            index,
            sent_bytes: request.bytes().len(),
            received_bytes: response.wire_bytes,
            status: response.status,
        });
        kept = (!response.is_last).then_some(client);
    }
}

/// Sends the same request again and again in the background, a new connection for each, until stopped.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Background {
    /// Starts `clients` threads.
    pub fn start(address: SocketAddr, request: &Request, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients)
            .map(|_| {
                let (stop, done, request) = (Arc::clone(&stop), Arc::clone(&done), request.clone());
                thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        Client::connect(address)?.exchange(&request)?;
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        Self { stop, done, threads }
    }

    /// Exchanges finished so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops and gives the number of exchanges. Error if one of them failed.
    pub fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client thread panicked")?;
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}

/// Sends the same request again and again in the background, on connections that are kept as long as they last, until
/// stopped. An exchange that fails is made again on a new connection.
#[derive(Debug)]
pub struct Kept {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Kept {
    /// Starts `clients` threads.
    pub fn start(address: SocketAddr, request: &Request, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let threads = (0..clients)
            .map(|_| {
                let (stop, done, request) = (Arc::clone(&stop), Arc::clone(&done), request.clone());
                thread::spawn(move || {
                    let mut kept: Option<Client> = None;
                    while !stop.load(Ordering::Relaxed) {
                        let client = kept.take().map_or_else(|| Client::connect(address), Ok);
                        let Ok(mut client) = client else { continue };
                        if let Ok(response) = client.exchange(&request) {
                            done.fetch_add(1, Ordering::Relaxed);
                            kept = (!response.is_last).then_some(client);
                        }
                    }
                })
            })
            .collect();
        Self { stop, done, threads }
    }

    /// Exchanges finished so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Stops, ends the connections, and gives the number of exchanges that succeeded.
    pub fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client thread panicked");
        }
        Ok(self.done.load(Ordering::Relaxed))
    }
}
