//! What people tell the observer about their services: Kong's declarative file, and the observer's own.
//!
//! The observer's own file is YAML (or JSON) with these keys and no others; all are optional except where said:
//!
//! ```yaml
//! services:
//!   - name: orders                      # required: the label in the metrics
//!     url: http://10.0.0.7:8080/api     # this, or the four parts below; http://unix:/run/app.sock:/api works too
//!     routes:                           # which requests are its own when the gateway answers them itself
//!       - name: orders-v1
//!         hosts: [shop.example.com, "*.shop.example.com"]
//!         paths: [/orders, '~/v\d+/orders']   # a prefix, or ~ and a regular expression
//!         methods: [GET, POST]          # a route needs at least one of hosts, paths, methods
//!   - name: users
//!     protocol: http                    # default http
//!     host: users-upstream              # a name, an address, or the name of an upstream below
//!     port: 8080                        # default 443 for https, else 80
//!     path: /api
//! upstreams:
//!   - name: users-upstream
//!     targets: ["10.0.0.8:8080", "[fd00::8]:8080", "unix:/run/users.sock"]
//! datastore: 127.0.0.1:5432
//! ```
//!
//! Where both files name a service or an upstream alike, the observer's own replaces Kong's.

mod document;
mod endpoint;
mod error;
mod kong;
mod own;
mod path;
mod pattern;
mod read;
#[cfg(test)]
mod tests;
mod tree;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

pub use endpoint::{Endpoint, NotAnEndpoint, split_port};
pub use error::{ConfigError, Problem};
pub use path::normalize;
pub use pattern::{PathRule, Pattern, PatternError};

/// A larger file is refused before it is parsed.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// Everything the configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// In the order of the files, the observer's own first. Several may share a name.
    pub services: Vec<Service>,
    /// Routes that lead to no service; they win requests from other routes all the same.
    pub routes: Vec<Route>,
    /// Named groups of targets. No two share a name.
    pub upstreams: Vec<Upstream>,
    /// The gateway's database.
    pub datastore: Option<Endpoint>,
}

/// What a gateway proxies to.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// The label: its name, or its host where it has none.
    pub name: Arc<str>,
    /// Whether its routes match.
    pub enabled: bool,
    /// Where it listens; a host equal to an upstream's name stands for its targets.
    pub endpoint: Endpoint,
    /// What the gateway puts before the request's path; normalised, begins with `/`.
    pub path: Option<Arc<str>>,
    /// In the file's order.
    pub routes: Vec<Route>,
}

/// Which requests belong to a service. An empty list asks for nothing; a route whose lists are all empty matches
/// nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// Its name, if it has one.
    pub name: Option<Arc<str>>,
    /// `example.com`, `example.com:8080`, `*.example.com`, `example.*`; lower-cased.
    pub hosts: Vec<Arc<str>>,
    /// Path rules.
    pub paths: Vec<PathRule>,
    /// Upper-case method names.
    pub methods: Vec<Arc<str>>,
    /// All of them must agree.
    pub headers: Vec<HeaderRule>,
    /// `example.com`, `*.example.com`, `example.*`; lower-cased. Not asked of plain HTTP.
    pub snis: Vec<Arc<str>>,
    /// The greater wins among routes with a regular expression.
    pub regex_priority: i64,
    /// Seconds since 1970; the earlier wins among equals.
    pub created_at: Option<i64>,
}

/// A header a route asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderRule {
    /// Lower-cased.
    pub name: Arc<str>,
    /// Values, one of which it must have in any case of letters.
    pub values: Vec<Arc<str>>,
    /// Expressions (`~*` in Kong's file), one of which may match instead.
    pub patterns: Vec<Pattern>,
}

/// A group of targets under a name that services use as their host.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Lower-cased.
    pub name: Arc<str>,
    /// The `Host` that Kong sends to its targets instead of their names.
    pub host_header: Option<Arc<str>>,
    /// Where requests may go, those of weight 0 included.
    pub targets: Vec<Endpoint>,
}

impl Service {
    /// An enabled service without path and routes.
    pub fn new(name: &str, endpoint: Endpoint) -> Self {
        Self {
            name: name.into(),
            enabled: true,
            endpoint,
            path: None,
            routes: Vec::new(),
        }
    }
}

impl Config {
    /// Reads both files and merges them.
    ///
    /// # Errors
    /// The first thing that is wrong with either, the observer's own first.
    pub fn load(observer: Option<&Path>, kong: Option<&Path>) -> Result<Self, ConfigError> {
        let own = observer
            .map(|path| load(path, Self::parse_own))
            .transpose()?;
        let kong = kong.map(|path| load(path, Self::parse_kong)).transpose()?;
        Ok(Self::merge(
            own.unwrap_or_default(),
            kong.unwrap_or_default(),
        ))
    }

    /// Reads the text of Kong's declarative file, format 1.1, 2.1 or 3.0. `name` is the file's name, for errors.
    pub fn parse_kong(name: &str, text: &str) -> Result<Self, ConfigError> {
        kong::parse(&document::Document::parse(name, text)?)
    }

    /// Reads the text of the observer's own file. `name` is the file's name, for errors.
    pub fn parse_own(name: &str, text: &str) -> Result<Self, ConfigError> {
        own::parse(&document::Document::parse(name, text)?)
    }

    /// One configuration of two: services and upstreams of `own` replace those of `kong` that have the same name.
    pub fn merge(own: Self, mut kong: Self) -> Self {
        let mut merged = own;
        kong.services
            .retain(|service| merged.services.iter().all(|s| s.name != service.name));
        kong.upstreams
            .retain(|upstream| merged.upstreams.iter().all(|u| u.name != upstream.name));
        merged.services.append(&mut kong.services);
        merged.routes.append(&mut kong.routes);
        merged.upstreams.append(&mut kong.upstreams);
        merged.datastore = merged.datastore.or(kong.datastore);
        merged
    }
}

fn load(
    path: &Path,
    parse: impl FnOnce(&str, &str) -> Result<Config, ConfigError>,
) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = match read_text(path) {
        Ok(text) => text,
        Err(source) => return Err(ConfigError::Read { file, source }),
    };
    if text.len() as u64 > MAX_FILE_BYTES {
        let limit = MAX_FILE_BYTES;
        return Err(ConfigError::TooLarge { file, limit });
    }
    parse(&file, &text)
}

fn read_text(path: &Path) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file that is too large from one that just fits.
    File::open(path)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    String::from_utf8(bytes).map_err(|error| std::io::Error::other(error.utf8_error()))
}
