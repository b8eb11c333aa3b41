//! What people tell the observer about their services: the observer's own file, Kong's declarative file, Kong's Admin
//! API, and nginx's own configuration.
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
//! admin_ports: [8001, 8100]           # the gateway's listeners that are not its proxy: they count as connections only
//! ```
//!
//! Where several of them name a service or an upstream alike, the first in this order wins.

mod document;
mod endpoint;
mod error;
mod files;
mod kong;
mod nginx;
mod own;
mod path;
mod pattern;
mod read;
mod sources;
#[cfg(test)]
mod tests;
mod tree;
mod virtual_server;

use std::sync::Arc;

pub use endpoint::Url;
pub use endpoint::{Endpoint, NotAnEndpoint, split_port};
pub use error::{ConfigError, Problem};
pub use files::MAX_FILE_BYTES;
pub use kong::admin as kong_admin;
pub use path::{normalize, normalize_for_nginx};
pub use pattern::{NginxPattern, PathRule, Pattern, PatternError};
pub use sources::{Sourced, Sources};
pub use virtual_server::{Listen, Location, LocationRule, ServerName, VirtualServer};

/// Everything the configuration says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// In the order of the files, the observer's own first. Several may share a name.
    pub services: Vec<Service>,
    /// Routes that lead to no service; they win requests from other routes all the same.
    pub routes: Vec<Route>,
    /// Named groups of targets. No two share a name.
    pub upstreams: Vec<Upstream>,
    /// nginx's servers, in the file's order; asked where no route of the above takes a request.
    pub servers: Vec<VirtualServer>,
    /// The gateway's database.
    pub datastore: Option<Endpoint>,
    /// Ports of the gateway's listeners that are not its proxy.
    pub admin_ports: Vec<u16>,
}

/// What a gateway proxies to.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Kong's id, where it tells one.
    pub id: Option<Arc<str>>,
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

/// What a service can be called by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceKey {
    /// Its label.
    pub name: Arc<str>,
    /// Kong's id, where it tells one.
    pub id: Option<Arc<str>>,
}

impl From<&str> for ServiceKey {
    fn from(name: &str) -> Self {
        Self { name: name.into(), id: None }
    }
}

impl Service {
    /// An enabled service without path and routes.
    pub fn new(name: &str, endpoint: Endpoint) -> Self {
        Self { id: None, name: name.into(), enabled: true, endpoint, path: None, routes: Vec::new() }
    }
}

impl Config {
    /// Reads the text of Kong's declarative file, format 1.1, 2.1 or 3.0. `name` is the file's name, for errors.
    pub fn parse_kong(name: &str, text: &str) -> Result<Self, ConfigError> {
        kong::parse(&document::Document::parse(name, text)?)
    }

    /// Reads the text of the observer's own file. `name` is the file's name, for errors.
    pub fn parse_own(name: &str, text: &str) -> Result<Self, ConfigError> {
        own::parse(&document::Document::parse(name, text)?)
    }

    /// What each service can be called by, in their order.
    pub fn service_keys(&self) -> Vec<ServiceKey> {
        let key = |service: &Service| ServiceKey { name: service.name.clone(), id: service.id.clone() };
        self.services.iter().map(key).collect()
    }

    /// One configuration of two: services and upstreams of `self` replace those of `other` that have the same name.
    /// The one service that has all targets of one of nginx's is that service, under the name it has here; where there
    /// are several, the path that they are asked for tells which, and nginx's location does not.
    pub fn merge(mut self, mut other: Self) -> Self {
        for (name, here) in self.same_targets(&other) {
            other.rename(&name, here.as_ref());
        }
        other.services.retain(|service| self.services.iter().all(|s| s.name != service.name));
        other.upstreams.retain(|upstream| self.upstreams.iter().all(|u| u.name != upstream.name));
        self.services.append(&mut other.services);
        self.routes.append(&mut other.routes);
        self.upstreams.append(&mut other.upstreams);
        self.servers.append(&mut other.servers);
        self.datastore = self.datastore.or(other.datastore);
        self.admin_ports.append(&mut other.admin_ports);
        self
    }

    /// Where a service's requests may go.
    fn targets<'a>(&'a self, service: &'a Service) -> Vec<&'a Endpoint> {
        let upstream = match &service.endpoint {
            Endpoint::Tcp { host, .. } => self.upstreams.iter().find(|upstream| upstream.name == *host),
            Endpoint::Unix(_) => None,
        };
        upstream.map_or_else(|| vec![&service.endpoint], |upstream| upstream.targets.iter().collect())
    }

    /// Names of nginx's services in `other` that are services here, each with its name here if it is one.
    fn same_targets(&self, other: &Self) -> Vec<(Arc<str>, Option<Arc<str>>)> {
        if other.servers.is_empty() {
            return Vec::new();
        }
        let own: Vec<(&Service, Vec<&Endpoint>)> = self.services.iter().map(|s| (s, self.targets(s))).collect();
        let renamed = |service: &Service| {
            let targets = other.targets(service);
            let has_all = |own: &[&Endpoint]| !targets.is_empty() && targets.iter().all(|target| own.contains(target));
            let mut here = own.iter().filter(|(_, own)| has_all(own)).map(|(service, _)| service.name.clone());
            let first = here.next()?;
            Some((service.name.clone(), here.next().is_none().then_some(first)))
        };
        other.services.iter().filter_map(renamed).collect()
    }

    fn rename(&mut self, from: &str, to: Option<&Arc<str>>) {
        let mut levels: Vec<&mut Vec<Location>> = self.servers.iter_mut().map(|s| &mut s.locations).collect();
        while let Some(locations) = levels.pop() {
            for location in locations {
                if location.service.as_deref() == Some(from) {
                    location.service = to.cloned();
                }
                levels.push(&mut location.locations);
            }
        }
        self.services.retain(|service| *service.name != *from);
    }
}
