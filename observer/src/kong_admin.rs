//! Kong's Admin API as a source of services: read at the start, and again and again in the background.

mod node;

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::SERVER;
use hyper::{Response, StatusCode};
use tokio::time::{sleep, timeout};

use crate::client::{self, Client, ClientError, runtime};
use crate::config::kong_admin::{Lists, Page, admin_ports, config};
use crate::config::{Config, ConfigError};
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

/// The root of an Admin API, over http or https.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminUrl(client::Url);

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
        let url: client::Url = text.parse().map_err(|_| NotAnAdminUrl)?;
        if url.is_unix() { Err(NotAnAdminUrl) } else { Ok(Self(url)) }
    }
}

impl fmt::Display for AdminUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
        let mut session = self.session()?;
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

    fn session(&self) -> Result<Session<'_>, AdminError> {
        let client = Client::new(&self.url.0, self.token_file.as_deref(), self.ca_file.as_deref());
        Ok(Session { admin: self, client: client.map_err(|error| self.failed(error))?, is_before_3: false })
    }

    fn failed(&self, error: ClientError) -> AdminError {
        match error {
            ClientError::Away(reason) => self.away(reason),
            ClientError::Token { file, reason } => AdminError::Token { file, reason },
            ClientError::Tls { host, ca, reason } => AdminError::Tls { host, ca, reason },
            ClientError::NoAuthorities => AdminError::NoAuthorities,
        }
    }

    fn away(&self, reason: impl fmt::Display) -> AdminError {
        AdminError::Away { url: self.url.clone(), reason: reason.to_string() }
    }
}

/// One reading, over one connection as long as Kong keeps it.
struct Session<'a> {
    admin: &'a KongAdmin,
    client: Client,
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
        let response = self.client.get(target).await.map_err(|error| self.admin.failed(error))?;
        let status = response.status();
        self.is_before_3 = is_before_3(&response);
        let body = client::text(response.into_body(), ANSWER_BYTES_MAX).await;
        let body = body.map_err(|reason| self.admin.away(reason))?;
        let next = match status {
            StatusCode::OK => return Ok(body),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                "give a token that may read, by --kong-admin-token-file"
            }
            _ => "see whether this is the Admin API's address",
        };
        Err(AdminError::Refused { url: self.admin.url.clone(), status, target: target.to_owned(), next })
    }
}

/// `Server: kong/2.8.1`; today's where it says nothing.
fn is_before_3(response: &Response<Incoming>) -> bool {
    let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok());
    let version = server.and_then(|server| server.strip_prefix("kong/"));
    version.is_some_and(|version| ["0.", "1.", "2."].iter().any(|old| version.starts_with(old)))
}

#[cfg(test)]
mod tests;
