//! The pages: what `/metrics`, `/ready` and `/` answer.

use std::borrow::Cow;
use std::convert::Infallible;

use hyper_util::service::TowerToHyperService;
use prometheus::Registry;
use tokio::sync::watch;
use warp::Filter;
use warp::http::{Method, Response, StatusCode, header};

use super::connection::Answers;
use crate::exposition::text;

/// Content type of the metrics, spelt as the plugin spells it.
pub const CONTENT_TYPE: &str = "text/plain; charset=UTF-8";

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

/// The pages as the connections ask for them.
pub(super) fn service(pages: Pages) -> impl Answers {
    TowerToHyperService::new(warp::service(routes(pages)))
}

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
