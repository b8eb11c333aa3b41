//! Kong's Admin API as a source of services: read at the start, and again and again in the background.

mod node;
mod tls;

use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderValue, SERVER};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::config::kong_admin::{Lists, Page, admin_ports, config};
use crate::config::{Config, ConfigError, Endpoint, Url};
use crate::reload::Message;

/// Between the end of one reading and the next.
const PERIOD: Duration = Duration::from_secs(5);

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Entities asked for at once: the most that Kong gives.
const PAGE_SIZE: usize = 1000;

/// Pages of one list: 10 million entities are no Kong's.
const PAGES_MAX: usize = 10_000;

/// An answer with more bytes is refused: a page has some 1,000 bytes an entity.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The root of an Admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUrl {
    is_encrypted: bool,
    host: String,
    port: u16,
    /// Before every path of the API; without a slash at its end.
    path: String,
}

/// A text that is no [`AdminUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the address of an Admin API; write http://HOST:PORT or https://HOST:PORT")]
pub struct NotAnAdminUrl;

/// Why Kong's Admin API could not be read.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text says it")]
pub enum AdminError {
    #[error("Kong's Admin API at {url} is not to be reached: {reason}; see whether Kong runs and the address is right")]
    Away { url: AdminUrl, reason: String },
    #[error("Kong's Admin API at {url} answers {status} to {target}; {next}")]
    Refused { url: AdminUrl, status: StatusCode, target: String, next: &'static str },
    #[error("the token file {file} cannot be used: {reason}; give the path of a file with the token and nothing else")]
    Token { file: String, reason: String },
    #[error(
        "no TLS with Kong's Admin API at {host}, trusting {ca}: {reason}; give the file of the authority that made its \
         certificate, by --kong-admin-ca"
    )]
    Tls { host: String, ca: String, reason: String },
    #[error("this host has no file of trusted authorities where one is usual; give one by --kong-admin-ca")]
    NoAuthorities,
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Where an Admin API is, and what it asks for.
#[derive(Clone, Debug)]
pub struct KongAdmin {
    /// Its root.
    pub url: AdminUrl,
    /// The file of the token that goes into `Kong-Admin-Token`; read each time.
    pub token_file: Option<PathBuf>,
    /// A PEM file of the authorities that its certificate is checked with, over TLS; those of the system without one.
    /// Read each time.
    pub ca_file: Option<PathBuf>,
}

impl FromStr for AdminUrl {
    type Err = NotAnAdminUrl;

    fn from_str(text: &str) -> Result<Self, NotAnAdminUrl> {
        let url: Url = text.parse().map_err(|_| NotAnAdminUrl)?;
        let path = url.path.unwrap_or_default().trim_end_matches('/').to_owned();
        let is_encrypted = match url.protocol.as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(NotAnAdminUrl),
        };
        match url.endpoint {
            Endpoint::Tcp { host, port } => Ok(Self { is_encrypted, host: host.to_string(), port, path }),
            Endpoint::Unix(_) => Err(NotAnAdminUrl),
        }
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", Endpoint::tcp(&self.host, self.port), self.path)
    }
}

impl KongAdmin {
    /// Reads everything, all pages.
    pub fn read(&self) -> Result<Config, AdminError> {
        runtime().map_err(|reason| self.away(reason))?.block_on(self.read_all())
    }

    /// Reads it in the background until nobody takes what it says; the first time after a while.
    pub fn watch(self, messages: Sender<Message>) {
        thread::spawn(move || match runtime() {
            Ok(runtime) => runtime.block_on(async {
                loop {
                    sleep(PERIOD).await;
                    let read = self.read_all().await.map_err(|error| error.to_string());
                    if messages.send(Message::KongAdmin(read)).is_err() {
                        return;
                    }
                }
            }),
            Err(error) => log::error!("{}", self.away(error)),
        });
    }

    async fn read_all(&self) -> Result<Config, AdminError> {
        let mut session = Session { admin: self, token: self.token()?, sender: None, is_before_3: false };
        // Routes first: those that are made meanwhile lead to no service that is missing.
        let routes = session.list("/routes").await?;
        let services = session.list("/services").await?;
        let upstreams = session.list("/upstreams").await?;
        let mut targets = Vec::new();
        for page in &upstreams {
            for id in page.ids()? {
                targets.extend(session.list(&format!("/upstreams/{id}/targets")).await?);
            }
        }
        let is_before_3 = session.is_before_3;
        let admin_ports = session.admin_ports().await?;
        let config = config(&Lists { services, routes, upstreams, targets, is_before_3 })?;
        Ok(Config { admin_ports, ..config })
    }

    fn token(&self) -> Result<Option<HeaderValue>, AdminError> {
        let Some(path) = &self.token_file else { return Ok(None) };
        let bad = |reason: String| AdminError::Token { file: path.display().to_string(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
        let mut token = HeaderValue::from_str(text.trim()).map_err(|error| bad(error.to_string()))?;
        token.set_sensitive(true);
        Ok(Some(token))
    }

    fn away(&self, reason: impl fmt::Display) -> AdminError {
        AdminError::Away { url: self.url.clone(), reason: reason.to_string() }
    }
}

/// One reading, over one connection as long as Kong keeps it.
struct Session<'a> {
    admin: &'a KongAdmin,
    token: Option<HeaderValue>,
    sender: Option<SendRequest<String>>,
    /// What Kong says of itself.
    is_before_3: bool,
}

impl Session<'_> {
    async fn list(&mut self, path: &str) -> Result<Vec<Page>, AdminError> {
        let mut pages = Vec::new();
        let mut next = Some(format!("{path}?size={PAGE_SIZE}"));
        while let Some(target) = next.filter(|_| pages.len() < PAGES_MAX) {
            let text = self.patiently(&target).await?;
            let page = Page::parse(&format!("{}{target}", self.admin.url), &text)?;
            next = page.next()?;
            pages.push(page);
        }
        Ok(pages)
    }

    async fn patiently(&mut self, target: &str) -> Result<String, AdminError> {
        match timeout(PATIENCE, self.get(target)).await {
            Ok(text) => text,
            Err(_) => Err(self.admin.away(format!("no answer to {target} within {PATIENCE:?}"))),
        }
    }

    /// What a token may not read tells nothing.
    async fn admin_ports(&mut self) -> Result<Vec<u16>, AdminError> {
        match self.patiently("/").await {
            Ok(text) => Ok(admin_ports(&self.admin.url.to_string(), &text)?),
            Err(AdminError::Refused { .. }) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    async fn get(&mut self, target: &str) -> Result<String, AdminError> {
        let away = |error: hyper::Error| self.admin.away(error);
        let mut sender = self.sender().await?;
        let response = sender.send_request(self.request(target)?).await.map_err(away)?;
        let status = response.status();
        self.is_before_3 = is_before_3(&response);
        let body = body(response.into_body()).await.map_err(|reason| self.admin.away(reason))?;
        self.sender = Some(sender);
        let next = match status {
            StatusCode::OK => return Ok(body),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "give a token that may read, by --kong-admin-token-file"
            }
            _ => "see whether this is the Admin API's address",
        };
        Err(AdminError::Refused { url: self.admin.url.clone(), status, target: target.to_owned(), next })
    }

    /// That of the answer before, unless Kong has closed its connection since.
    async fn sender(&mut self) -> Result<SendRequest<String>, AdminError> {
        if let Some(mut sender) = self.sender.take()
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        self.connect().await
    }

    async fn connect(&self) -> Result<SendRequest<String>, AdminError> {
        let AdminUrl { host, port, is_encrypted, .. } = &self.admin.url;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| self.admin.away(error))?;
        let stream: Box<dyn tls::Stream> = if *is_encrypted {
            Box::new(tls::encrypted(stream, host, self.admin.ca_file.as_deref()).await?)
        } else {
            Box::new(stream)
        };
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|error| self.admin.away(error))?;
        // Its errors are the requests' errors too.
        tokio::spawn(async move { connection.await.unwrap_or_default() });
        Ok(sender)
    }

    fn request(&self, target: &str) -> Result<Request<String>, AdminError> {
        let AdminUrl { host, port, path, .. } = &self.admin.url;
        let request = Request::get(format!("{path}{target}")).header(HOST, Endpoint::tcp(host, *port).to_string());
        let request = match &self.token {
            Some(token) => request.header("Kong-Admin-Token", token),
            None => request,
        };
        request.body(String::new()).map_err(|error| self.admin.away(format!("{target:?}: {error}")))
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// `Server: kong/2.8.1`; today's where it says nothing.
fn is_before_3(response: &Response<Incoming>) -> bool {
    let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok());
    let version = server.and_then(|server| server.strip_prefix("kong/"));
    version.is_some_and(|version| ["0.", "1.", "2."].iter().any(|old| version.starts_with(old)))
}

async fn body(mut body: Incoming) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame.map_err(|error| error.to_string())?.into_data() {
            bytes.extend_from_slice(&data);
        }
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(format!("an answer has more than {ANSWER_BYTES_MAX} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
