//! Which of nginx's servers a request takes, and in it which location.

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::host::{lower, split};
use super::locations::Level;
use super::routes::Found;
use super::{RequestFacts, path_of};
use crate::config::{Config, Listen, NginxPattern, ServerName, VirtualServer, normalize_for_nginx};

/// All servers, ready for look-ups.
pub struct Servers {
    all: Vec<Level>,
    by_address: FxHashMap<(Option<IpAddr>, u16), Names>,
    /// Servers that listen on UNIX sockets, or else all: for requests whose place is not known.
    elsewhere: Names,
}

/// The servers of one address by their names.
#[derive(Default)]
struct Names {
    exact: FxHashMap<Arc<str>, usize>,
    /// The longest first.
    suffixes: Vec<(Arc<str>, usize)>,
    /// The longest first.
    prefixes: Vec<(Arc<str>, usize)>,
    regexes: Vec<(NginxPattern, usize)>,
    first: Option<usize>,
    default: Option<usize>,
}

impl Servers {
    pub fn new(config: &Config) -> Self {
        let mut ids: FxHashMap<&str, u32> = FxHashMap::default();
        for (service, id) in config.services.iter().zip(0..) {
            ids.entry(&service.name).or_insert(id);
        }
        let service = |name: &str| ids.get(name).copied();
        let mut servers = Self { all: Vec::new(), by_address: FxHashMap::default(), elsewhere: Names::default() };
        let is_unix = |server: &VirtualServer| server.listens.contains(&Listen::Unix);
        let has_unix = config.servers.iter().any(is_unix);
        for (server, at) in config.servers.iter().zip(0..) {
            servers.all.push(Level::new(&server.locations, &service));
            if is_unix(server) || !has_unix {
                servers.elsewhere.add(server, at, false);
            }
            for listen in &server.listens {
                let Listen::Tcp { address, ports, is_default } = listen else { continue };
                for port in ports.clone() {
                    servers.by_address.entry((*address, port)).or_default().add(server, at, *is_default);
                }
            }
        }
        servers.by_address.values_mut().chain([&mut servers.elsewhere]).for_each(Names::sort);
        servers
    }

    /// The location that the request takes.
    pub fn find(&self, request: &RequestFacts<'_>) -> Option<Found> {
        if self.all.is_empty() {
            return None;
        }
        let name = lower(split(request.host.unwrap_or_default()).0);
        let server = self.names_at(request.local)?.find(name.strip_suffix('.').unwrap_or(&name))?;
        self.all[server].find(&normalize_for_nginx(path_of(request.path))).found()
    }

    fn names_at(&self, local: Option<SocketAddr>) -> Option<&Names> {
        let Some(local) = local else { return Some(&self.elsewhere) };
        let at = |address| self.by_address.get(&(address, local.port()));
        at(Some(local.ip().to_canonical())).or_else(|| at(None))
    }
}

impl Names {
    fn add(&mut self, server: &VirtualServer, at: usize, is_default: bool) {
        self.first.get_or_insert(at);
        if is_default {
            self.default.get_or_insert(at);
        }
        for name in &server.names {
            match name {
                ServerName::Exact(name) => {
                    self.exact.entry(name.clone()).or_insert(at);
                }
                ServerName::Suffix(end) => self.suffixes.push((end.clone(), at)),
                ServerName::Prefix(start) => self.prefixes.push((start.clone(), at)),
                ServerName::Regex(pattern) => self.regexes.push((pattern.clone(), at)),
            }
        }
    }

    fn sort(&mut self) {
        self.suffixes.sort_by_key(|(name, _)| Reverse(name.len()));
        self.prefixes.sort_by_key(|(name, _)| Reverse(name.len()));
    }

    /// None too where an expression cannot be told.
    fn find(&self, host: &str) -> Option<usize> {
        if let Some(&at) = self.exact.get(host) {
            return Some(at);
        }
        let suffix = self.suffixes.iter().find(|(end, _)| host.len() > end.len() && host.ends_with(&**end));
        let prefix = || self.prefixes.iter().find(|(start, _)| host.len() > start.len() && host.starts_with(&**start));
        if let Some((_, at)) = suffix.or_else(prefix) {
            return Some(*at);
        }
        for (pattern, at) in &self.regexes {
            if pattern.is_match(host.as_bytes())? {
                return Some(*at);
            }
        }
        self.default.or(self.first)
    }
}
