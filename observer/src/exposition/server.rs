//! The HTTP surface: `/metrics`, `/ready` and `/`, for reading only.
//!
//! It runs apart from the pipeline and touches nothing of it but the registry's atomics.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use warp::Filter;
use warp::http::{Method, Response, StatusCode, header};

use super::text;

/// Content type of the metrics, spelt as the plugin spells it.
pub const CONTENT_TYPE: &str = "text/plain; charset=UTF-8";

/// How long responses under way may go on after the shutdown; the agent has to be gone within a second.
pub const GRACE: Duration = Duration::from_millis(500);

/// Whether the observer sees everything yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet; the text names what it waits for, as in "waiting for `first scan of the gateways`".
    Waiting(Cow<'static, str>),
    /// Attached, and the first scan is done.
    Ready,
}

/// What the pages are made of.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Gathered anew for each scrape.
    pub registry: Registry,
    /// Told by the agent.
    pub readiness: watch::Receiver<Readiness>,
    /// What the text of `/metrics` holds.
    pub text: text::Options,
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
/// A connection that is not finished by then ends with the runtime.
pub async fn serve(listeners: Vec<TcpListener>, pages: Pages, shutdown: impl Future<Output = ()>) {
    let (stop, stopped) = watch::channel(());
    let mut servers = JoinSet::new();
    for listener in listeners {
        let mut stopped = stopped.clone();
        let server = warp::serve(routes(pages.clone())).incoming(listener).graceful(async move {
            // Nothing is ever sent: this is done when `stop` is dropped.
            let _ = stopped.changed().await;
        });
        servers.spawn(server.run());
    }
    shutdown.await;
    drop(stop);
    let all = async { while servers.join_next().await.is_some() {} };
    if timeout(GRACE, all).await.is_err() {
        log::debug!("left connections open that had not finished {GRACE:?} after the shutdown");
    }
}

/// What one listener answers.
fn routes(
    pages: Pages,
) -> impl Filter<Extract = (Response<String>,), Error = Infallible> + Clone + Send + Sync + 'static {
    warp::method()
        .and(warp::path::full())
        .map(move |method, path: warp::path::FullPath| pages.answer(&method, path.as_str()))
}

impl Pages {
    fn answer(&self, method: &Method, path: &str) -> Response<String> {
        let page = match path {
            "/metrics" => Pages::metrics,
            "/ready" => Pages::ready,
            "/" => Pages::root,
            _ => return not_found(),
        };
        // The HTTP library leaves out the body of an answer to HEAD, and keeps its length.
        if method == Method::GET || method == Method::HEAD { page(self) } else { not_allowed() }
    }

    /// Gathering and encoding is plain computing (optimised, 2 to 3 ms for 200 services, 11 to 22 ms for 1,000), so it
    /// runs right here: the runtime's threads bound how many scrapes are encoded at once.
    fn metrics(&self) -> Response<String> {
        let text = text::encode(&self.registry.gather(), self.text);
        let mut response = plain(StatusCode::OK, text);
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, header::HeaderValue::from_static("*"));
        response
    }

    fn ready(&self) -> Response<String> {
        match &*self.readiness.borrow() {
            Readiness::Ready => plain(StatusCode::OK, "ready"),
            Readiness::Waiting(what) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready, waiting for {what}"))
            }
        }
    }

    fn root(&self) -> Response<String> {
        plain(StatusCode::OK, "Kong Prometheus exporter, visit /metrics")
    }
}

fn not_found() -> Response<String> {
    plain(StatusCode::NOT_FOUND, "no such page; the metrics are at /metrics, readiness is at /ready")
}

fn not_allowed() -> Response<String> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this page can only be read; use GET or HEAD");
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    response
}

fn plain(status: StatusCode, body: impl Into<String>) -> Response<String> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(CONTENT_TYPE));
    response
}

fn listen_error(address: SocketAddr, source: io::Error) -> ListenError {
    match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        io::ErrorKind::PermissionDenied => ListenError::Denied(address),
        io::ErrorKind::AddrNotAvailable => ListenError::Foreign(address),
        _ => ListenError::Refused { address, source },
    }
}
