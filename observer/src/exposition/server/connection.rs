//! One connection: hyper's HTTP/1 machine between a byte stream and the pages, within the limits.

mod deadline;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::pin::pin;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use warp::reply::Response;

use self::deadline::WriteDeadline;
use super::Limits;
use super::access::Peer;

/// What answers requests. It gets their bodies unread, and what it leaves unread closes the connection.
pub(super) trait Answers:
    Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S> Answers for S where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// Tells the answering side whom each request comes from.
#[derive(Clone)]
pub(super) struct ForPeer<S> {
    service: S,
    peer: Peer,
}

impl<S> ForPeer<S> {
    pub(super) fn new(service: S, peer: Peer) -> Self {
        ForPeer { service, peer }
    }
}

impl<S: Answers> Service<Request<Incoming>> for ForPeer<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.peer.clone());
        self.service.call(request)
    }
}

/// Answers the requests of one connection, of whatever kind, until it ends or reaches a limit.
///
/// Once `stopped` has lost its sender, an idle connection ends at once and another after the answer under way.
pub(super) async fn serve<IO>(io: IO, service: impl Answers, limits: Limits, mut stopped: watch::Receiver<()>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let io = TokioIo::new(WriteDeadline::new(io, limits.response_time));
    let mut connection = pin!(http1(limits).serve_connection(io, service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    // Clients that leave, stall or send garbage are no news; hyper's errors hold none of their bytes.
    if let Err(error) = ended {
        log::debug!("a connection to the metrics ended early: {error}");
    }
}

/// The least that hyper takes for its buffers.
const HYPER_MIN_BUFFER_BYTES: usize = 8192;

fn http1(limits: Limits) -> Builder {
    let mut http1 = Builder::new();
    http1
        // The page prints them so, and nginx writes them so.
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_header_size(limits.head_bytes)
        // Bounds what is read ahead too.
        .max_buf_size(limits.head_bytes.max(HYPER_MIN_BUFFER_BYTES));
    http1
}
