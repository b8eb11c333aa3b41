//! The pages: what each path answers, and to whom.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use futures_util::Stream;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;
use tokio::time::sleep;
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use warp::reply::Response;
use warp::{Buf, Filter, Reply};

use super::Limits;
use super::access::{Foreign, Peer, is_forwarded};
use super::answer::{Answer, message, not_allowed, not_found, plain};
use super::body;
use super::connection::Answers;
use super::negotiate;
use super::page::Page;
use super::scrape;
use super::tail;
use crate::exposition::auth::{Auth, Denied, Role};
use crate::exposition::health::Health;
use crate::exposition::plugins::{self, Plugins};
use crate::exposition::snapshot::Snapshots;
use crate::exposition::status::status;
use crate::exposition::text;
use crate::exposition::ui;
use crate::metrics::{Dialect, Registry};
use crate::tail::Hub;

/// Whether the observer sees everything yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet; the text names what it waits for, as in "waiting for `first scan of the gateways`".
    Waiting(Cow<'static, str>),
    /// Attached, and the first scan is done.
    Ready,
}

/// What the pages are made of.
#[derive(Clone)]
pub struct Pages {
    /// Gathered anew for each scrape.
    pub registry: Registry,
    /// Told by the agent.
    pub readiness: watch::Receiver<Readiness>,
    /// Asked by `/healthy`.
    pub health: Health,
    /// What the text of `/metrics` holds.
    pub text: text::Options,
    /// Those that the registry has; the first is spoken unless a scrape asks for another.
    pub dialects: Vec<Dialect>,
    /// The users; without any, everyone whom the listener's rules let in may read, and nobody change, save through a
    /// private UNIX socket.
    pub auth: Option<Arc<Auth>>,
    /// What `/snapshot` is made of.
    pub snapshots: Snapshots,
    /// What `/tail` listens to.
    pub tail: Arc<Hub>,
    /// What is enabled.
    pub plugins: Arc<Plugins>,
}

/// The pages as the connections ask for them.
pub(super) fn service(pages: Pages, limits: Limits) -> impl Answers + Sync {
    TowerToHyperService::new(warp::service(routes(Arc::new(pages), limits)))
}

fn routes(
    pages: Arc<Pages>,
    limits: Limits,
) -> impl Filter<Extract = (Response,), Error = warp::Rejection> + Clone + Send + Sync + 'static {
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .map(|method, path: warp::path::FullPath, query, headers, peer| Asked {
            method,
            path: path.as_str().to_owned(),
            query,
            headers,
            peer,
        })
        .and(warp::body::stream())
        .then(move |asked, body| {
            let pages = Arc::clone(&pages);
            async move { pages.respond(&asked, body, limits).await }
        })
}

/// A request without its body.
struct Asked {
    method: Method,
    path: String,
    query: String,
    headers: HeaderMap,
    peer: Peer,
}

impl Asked {
    /// What lies at its path, if there is such a page for this client. nginx's status is for this host alone, unless the
    /// listener's paths list it.
    fn page(&self) -> Option<Page<'_>> {
        let page = Page::at(&self.path, &self.peer.rules)?;
        let is_near = || self.peer.is_local(&self.headers) || self.is_listed(page);
        (self.peer.rules.serves(&self.path) && (page != Page::Status || is_near())).then_some(page)
    }

    /// Whether the listener's own list opens this very page.
    fn is_listed(&self, page: Page<'_>) -> bool {
        self.peer.rules.lists(page.place().unwrap_or(&self.path))
    }

    fn is_change(&self) -> bool {
        self.method != Method::GET && self.method != Method::HEAD
    }
}

impl Pages {
    async fn respond(
        &self,
        asked: &Asked,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
        limits: Limits,
    ) -> Response {
        match self.enter(asked).await {
            Ok(Page::Tail) => tail::stream(&self.tail, &asked.query),
            Ok(Page::Metrics) => self.metrics(asked, limits),
            Ok(page) => self.answer(page, asked, body, limits).await.into_response(),
            Err(refusal) => refusal.into_response(),
        }
    }

    /// The page that is asked for, for those who may have it.
    async fn enter<'a>(&self, asked: &'a Asked) -> Result<Page<'a>, Answer> {
        if !asked.peer.is_allowed(&asked.headers) {
            return Err(message(StatusCode::FORBIDDEN, "Your IP address is not allowed"));
        }
        let page = asked.page().ok_or_else(not_found)?;
        if !page.has(&asked.method) {
            return Err(not_allowed(page.methods()));
        }
        self.admit(page, asked).await?;
        Ok(page)
    }

    async fn answer(
        &self,
        page: Page<'_>,
        asked: &Asked,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
        limits: Limits,
    ) -> Answer {
        match page {
            Page::Root => plain(StatusCode::OK, "Kong Prometheus exporter, visit /metrics"),
            Page::Ready => self.ready(),
            Page::Healthy => self.healthy(),
            Page::Snapshot => self.snapshot(asked),
            Page::UiSnapshot { .. } => ui::protect(self.snapshot(asked)),
            Page::Ui { rest, .. } => ui::answer(rest, &asked.headers),
            Page::Status => plain(StatusCode::OK, status(&self.registry.gather())),
            Page::Plugins if asked.is_change() => self.change(asked, None, body, limits).await,
            Page::Plugin(id) if asked.is_change() => self.change(asked, Some(id), body, limits).await,
            Page::Plugins => plugins::list(&self.plugins),
            Page::Plugin(id) => plugins::one(&self.plugins, id),
            // Their bodies are streams.
            Page::Tail | Page::Metrics => not_found(),
        }
    }

    fn snapshot(&self, asked: &Asked) -> Answer {
        self.snapshots.answer(self.plugins.switch().is_on(), &asked.headers)
    }

    async fn change(
        &self,
        asked: &Asked,
        id: Option<&str>,
        body: impl Stream<Item = Result<impl Buf, warp::Error>>,
        limits: Limits,
    ) -> Answer {
        let content_type = asked.headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?"));
        match body::read(&asked.headers, body, limits).await {
            Ok(body) => plugins::change(&self.plugins, &asked.method, id, content_type, &body),
            Err(refusal) => refusal,
        }
    }

    /// Whether this request may have this page.
    async fn admit(&self, page: Page<'_>, asked: &Asked) -> Result<(), Answer> {
        let is_change = asked.is_change();
        if is_change {
            asked.peer.check_origin(&asked.headers).map_err(foreign)?;
        }
        if asked.peer.is_private(&asked.headers) {
            return Ok(());
        }
        let is_admins = is_change || page == Page::Tail;
        let needed = if is_admins { Role::Admin } else { Role::Metrics };
        // Through a gateway's route nothing but the numbers is open, whatever the route's path lets through.
        let is_open = page.is_open() && !is_forwarded(&asked.headers);
        let users = self.auth.as_deref().filter(|_| is_admins || !asked.peer.rules.reads_openly());
        match users {
            Some(_) if is_open => Ok(()),
            Some(auth) => self.check(auth, asked, needed).await,
            None if is_admins => Err(message(
                StatusCode::FORBIDDEN,
                "this needs an admin token: start the observer with --auth-file, or use a UNIX socket of mode 0600",
            )),
            None if !page.is_numbers() && !asked.is_listed(page) && is_forwarded(&asked.headers) => Err(not_found()),
            None => Ok(()),
        }
    }

    async fn check(&self, auth: &Auth, asked: &Asked, needed: Role) -> Result<(), Answer> {
        let denied = match auth.check(&asked.headers, needed) {
            Ok(()) => return Ok(()),
            Err(denied) => denied,
        };
        let (status, text) = match denied {
            Denied::Missing => (StatusCode::UNAUTHORIZED, "a token is needed; `observer token` makes one"),
            Denied::Unknown => (StatusCode::UNAUTHORIZED, "this token is not known; `observer token` makes a new one"),
            Denied::Forbidden => {
                (StatusCode::FORBIDDEN, "this token may only read the numbers; this needs one with the role admin")
            }
        };
        if denied == Denied::Unknown {
            sleep(auth.delay(asked.peer.client(&asked.headers))).await;
        }
        let mut answer = message(status, text);
        if status == StatusCode::UNAUTHORIZED {
            let schemes = HeaderValue::from_static("Basic realm=\"observer\", Bearer realm=\"observer\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, schemes);
        }
        Err(answer)
    }

    /// The numbers are copied right here, which takes less than a millisecond for 1,000 services.
    fn metrics(&self, asked: &Asked, limits: Limits) -> Response {
        let Some(dialect) = self.dialect(&asked.query) else {
            let spoken: Vec<String> = self.dialects.iter().map(Dialect::to_string).collect();
            let spoken = spoken.join(", ");
            let text = format!("this dialect is not spoken here; there is {spoken}, --dialect adds others");
            return message(StatusCode::BAD_REQUEST, &text).into_response();
        };
        let format = negotiate::format(&asked.headers);
        let page = text::Page::new(self.registry.gather(), text::Options { dialect, format, ..self.text });
        let mut response = if negotiate::takes_gzip(&asked.headers) {
            scrape::gzipped(page, format)
        } else {
            scrape::plain(page, format, limits.response_time)
        };
        response.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }

    /// The dialect that `?dialect=` asks for, else the first; `None` for one that is not spoken.
    fn dialect(&self, query: &str) -> Option<Dialect> {
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        match pairs.find(|(key, _)| key == "dialect") {
            None => Some(self.dialects.first().copied().unwrap_or_default()),
            Some((_, name)) => self.dialects.iter().find(|dialect| dialect.to_string() == name).copied(),
        }
    }

    /// Pages are served once the kernel part is attached; from the first look at the host on, the pipeline must go on.
    fn healthy(&self) -> Answer {
        match self.ready() {
            ready if ready.status() != StatusCode::OK => ready,
            _ if self.health.is_moving(Instant::now()) => plain(StatusCode::OK, "healthy"),
            _ => plain(StatusCode::SERVICE_UNAVAILABLE, "the pipeline stands still; restart the observer"),
        }
    }

    fn ready(&self) -> Answer {
        match &*self.readiness.borrow() {
            Readiness::Ready => plain(StatusCode::OK, "ready"),
            Readiness::Waiting(what) => {
                plain(StatusCode::SERVICE_UNAVAILABLE, format!("not ready, waiting for {what}"))
            }
        }
    }
}

fn foreign(foreign: Foreign) -> Answer {
    let text = match foreign {
        Foreign::Host => "the Host header is none of this listener's names; add one with --listen ADDR:PORT,name=HOST",
        Foreign::Origin => "changes from pages of another origin are refused",
    };
    message(StatusCode::FORBIDDEN, text)
}
