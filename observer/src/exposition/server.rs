//! The HTTP surface: the metrics, and what is around them.
//!
//! It runs apart from the pipeline and touches nothing of it but the registry's atomics. HTTP/2 is not offered.

mod accept;
mod access;
pub(super) mod answer;
mod bind;
mod body;
mod connection;
pub(super) mod negotiate;
mod page;
mod pages;
mod scrape;
mod tail;
#[cfg(test)]
mod tests;
mod throttle;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use self::answer::{CONTENT_TYPE, OPEN_METRICS_TYPE};
pub use self::bind::{Access, Bound, ListenError, bind};
pub use self::pages::{Pages, Readiness};
pub use self::tls::TlsError;

/// How long responses under way may go on after the shutdown; the agent has to be gone within a second.
pub const GRACE: Duration = Duration::from_millis(500);

/// What clients may use up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A request's body; more is answered with 413.
    pub body_bytes: usize,
    /// For a whole body, from when it is asked for.
    pub body_time: Duration,
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
    /// Heads of 8 KiB, bodies of 64 KiB, 10 s each way (all that Prometheus gives a scrape by default), 256 connections.
    fn default() -> Self {
        Limits {
            body_bytes: 64 * 1024,
            body_time: Duration::from_secs(10),
            head_bytes: 8 * 1024,
            head_time: Duration::from_secs(10),
            response_time: Duration::from_secs(10),
            connections: 256,
        }
    }
}

/// Serves the pages on all listeners until `shutdown` is done, and then for up to [`GRACE`] what is under way.
///
/// A connection that is not finished by then is cut off.
///
/// # Errors
/// The runtime cannot wait for a listener's connections.
pub async fn serve(
    listeners: Vec<Bound>,
    pages: Pages,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    // Nothing is ever sent: to drop `stop` is the signal.
    let (stop, stopped) = watch::channel(());
    let slots = Arc::new(Semaphore::new(limits.connections));
    let shared = accept::Shared { service: pages::service(pages, limits), limits, slots, stopped };
    let mut servers = JoinSet::new();
    for listener in listeners {
        accept::spawn(&mut servers, listener, &shared)?;
    }
    shutdown.await;
    drop(stop);
    let all = async { while servers.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        log::debug!("cut off connections that had not finished {GRACE:?} after the shutdown");
        servers.shutdown().await;
    }
    Ok(())
}
