//! The HTTP surface: `/metrics`, `/ready` and `/`, for reading only.
//!
//! It runs apart from the pipeline and touches nothing of it but the registry's atomics. HTTP/2 is not offered.

mod accept;
mod connection;
mod pages;
#[cfg(test)]
mod tests;
mod throttle;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::pages::{CONTENT_TYPE, Pages, Readiness};

/// How long responses under way may go on after the shutdown; the agent has to be gone within a second.
pub const GRACE: Duration = Duration::from_millis(500);

/// What clients may use up. Request bodies are never read, so they have no limit of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Request line and header lines; more is answered with 431 and the end of the connection.
    pub head_bytes: usize,
    /// For a whole head, from the connection's begin or the answer before it; so also how long a connection may idle.
    pub head_time: Duration,
    /// For the client to take an answer, from its first wait for the client until the kernel has its last byte.
    pub response_time: Duration,
    /// Open at once, over all listeners; one more is closed as soon as it is accepted.
    pub connections: usize,
}

impl Default for Limits {
    /// 8 KiB, 10 s each way (all that Prometheus gives a scrape by default), 256 connections.
    fn default() -> Self {
        Limits {
            head_bytes: 8 * 1024,
            head_time: Duration::from_secs(10),
            response_time: Duration::from_secs(10),
            connections: 256,
        }
    }
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// `EADDRINUSE`.
    #[error(
        "cannot listen on {0}: the address is taken; stop the program that holds it \
         (`ss -ltnp` names it) or choose another with --listen ADDR:PORT"
    )]
    Taken(SocketAddr),
    /// `EACCES`, `EPERM`.
    #[error(
        "cannot listen on {0}: not permitted; ports below 1024 need CAP_NET_BIND_SERVICE, \
         choose a higher one with --listen ADDR:PORT or run as root"
    )]
    Denied(SocketAddr),
    /// `EADDRNOTAVAIL`.
    #[error(
        "cannot listen on {0}: this host has no such address; choose one that `ip address` shows \
         with --listen ADDR:PORT"
    )]
    Foreign(SocketAddr),
    /// Anything else that the kernel answers.
    #[error("cannot listen on {address}: {source}; choose another with --listen ADDR:PORT")]
    Refused {
        /// The address asked for.
        address: SocketAddr,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Binds every address or none. Port 0 takes a free one, which the listener's `local_addr` tells.
///
/// From here on clients can connect; they are answered once [`serve`] runs.
pub async fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ListenError> {
    let mut listeners = Vec::with_capacity(addresses.len());
    for &address in addresses {
        let listener = TcpListener::bind(address).await;
        listeners.push(listener.map_err(|source| listen_error(address, source))?);
    }
    Ok(listeners)
}

/// Serves the pages on all listeners until `shutdown` is done, and then for up to [`GRACE`] what is under way.
///
/// A connection that is not finished by then is cut off.
pub async fn serve(listeners: Vec<TcpListener>, pages: Pages, limits: Limits, shutdown: impl Future<Output = ()>) {
    // Nothing is ever sent: to drop `stop` is the signal.
    let (stop, stopped) = watch::channel(());
    let slots = Arc::new(Semaphore::new(limits.connections));
    let shared = accept::Shared { service: pages::service(pages), limits, slots, stopped };
    let mut servers = JoinSet::new();
    for listener in listeners {
        servers.spawn(accept::run(listener, shared.clone()));
    }
    shutdown.await;
    drop(stop);
    let all = async { while servers.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        log::debug!("cut off connections that had not finished {GRACE:?} after the shutdown");
        servers.shutdown().await;
    }
}

fn listen_error(address: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        io::ErrorKind::AddrNotAvailable => ListenError::Foreign(address),
        _ => ListenError::Refused { address, source },
    }
}
