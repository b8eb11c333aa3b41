//! Which service an exchange belongs to.
//!
//! With an upstream, its address names the candidates: the services that have a target there. Several behind one
//! address are told apart by the upstream request's `Host`, by the service's path before the upstream request's path,
//! and by the client request's route; what none of that decides goes to the first in the configuration's order. An
//! address no service has is looked up by `Host`, then by route, and at last gives its own name: the `Host` as it was
//! sent. Without an upstream the gateway answered itself, and the route alone tells.
//!
//! Routes of Kong and of the observer's own file are asked first, by Kong's order of priority; where none of them takes
//! the request, nginx's servers and locations are, by nginx's.

mod entry;
mod fallback;
mod host;
mod locations;
mod names;
mod path_index;
mod prefixes;
mod routes;
mod servers;
mod services;
mod targets;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::config::{Config, normalize};
use crate::dns::Answer;
use crate::event::Nanoseconds;
use crate::http::short;
use fallback::Fallback;
use routes::Router;
use servers::Servers;
use services::Services;
use targets::Targets;

pub use fallback::{FALLBACK_SERVICES_MAX, OTHER_SERVICE};

/// The client's request, as far as routes ask for it.
#[derive(Clone, Copy)]
pub struct RequestFacts<'a> {
    /// `GET`.
    pub method: &'a str,
    /// Where the client connected to; none for a UNIX socket.
    pub local: Option<SocketAddr>,
    /// How the client spoke to the gateway.
    pub scheme: Scheme,
    /// The `Host` header or the authority of an absolute-form target; a port may follow.
    pub host: Option<&'a str>,
    /// The request's target, with or without its query.
    pub path: &'a str,
    /// The server name of the client's TLS handshake.
    pub sni: Option<&'a str>,
    /// The value of a header by its lower-case name; asked only for [`Attribution::header_names`].
    pub headers: &'a dyn Fn(&str) -> Option<&'a str>,
}

/// The scheme of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS.
    Https,
}

/// The upstream's side of an exchange. A connect that failed has a peer and nothing more.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamFacts<'a> {
    /// Inode of the gateway's network namespace: an address or name means something else in another.
    pub network: u32,
    /// When the gateway connected, or asked on a kept connection: names have their addresses for a time.
    pub time_ns: Nanoseconds,
    /// Where the gateway connected to.
    pub peer: Peer<'a>,
    /// The upstream request's `Host`.
    pub host: Option<&'a str>,
    /// The upstream request's target, with or without its query.
    pub path: Option<&'a str>,
}

/// The far end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer<'a> {
    /// IPv4 in IPv6 counts as IPv4.
    Ip(SocketAddr),
    /// The socket's path; an abstract name with `@` before it.
    Unix(&'a [u8]),
}

/// What an exchange belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attributed {
    /// A service, and the route that leads to it where it has a name and could be told.
    Service {
        /// Its label.
        service: Arc<str>,
        /// Its route's name.
        route: Option<Arc<str>>,
    },
    /// No service: nothing was proxied, and no route matched or it leads to none.
    Unattributed,
}

/// Names services by a [`Config`] and by what its host names resolve to.
pub struct Attribution {
    services: Services,
    targets: Targets,
    router: Router,
    servers: Servers,
    fallback: Fallback,
    /// Candidates of the exchange at hand, kept for its memory.
    candidates: Vec<u32>,
}

impl Attribution {
    /// Indexes a configuration. Host names have no addresses until [`Self::resolved`] gives them.
    pub fn new(config: &Config) -> Self {
        Self {
            services: Services::new(config),
            targets: Targets::new(config),
            router: Router::new(config),
            servers: Servers::new(config),
            fallback: Fallback::default(),
            candidates: Vec::new(),
        }
    }

    /// Host names whose addresses are wanted, lower-cased, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.targets.names.iter()
    }

    /// Names of the headers that routes ask for, lower-cased, in byte order.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.router.header_names()
    }

    /// Takes the addresses that a look-up of a name gave in a network namespace (its inode; 0 for the host's resolver), in
    /// place of those it gave before. Names that were not asked for are passed over.
    pub fn resolved(&mut self, network: u32, name: &str, addresses: &[IpAddr]) {
        self.targets.names.resolved(network, name, addresses);
    }

    /// Takes what a name server told a gateway of this network namespace. It wins over look-ups while its time to live
    /// lasts.
    pub fn answered(&mut self, network: u32, answer: &Answer, time_ns: Nanoseconds) {
        self.targets.names.answered(network, answer, time_ns);
    }

    /// Takes over what `before` learned: the addresses of names that both have, and the names that it gave.
    pub fn take_over(&mut self, before: &mut Self) {
        self.targets.names.take_over(&before.targets.names);
        self.fallback = std::mem::take(&mut before.fallback);
    }

    /// The service of an exchange.
    pub fn attribute(&mut self, request: &RequestFacts<'_>, upstream: Option<&UpstreamFacts<'_>>) -> Attributed {
        match upstream {
            None => self.routed(request).unwrap_or(Attributed::Unattributed),
            Some(upstream) => {
                let mut candidates = std::mem::take(&mut self.candidates);
                let attributed = self.proxied(request, upstream, &mut candidates);
                self.candidates = candidates;
                attributed
            }
        }
    }

    fn proxied(
        &mut self,
        request: &RequestFacts<'_>,
        upstream: &UpstreamFacts<'_>,
        candidates: &mut Vec<u32>,
    ) -> Attributed {
        if let Some(attributed) = self.told_at_once(request, upstream, candidates) {
            return attributed;
        }
        self.targets.at(upstream, candidates);
        if candidates.is_empty() {
            self.services.of_host(upstream.host, candidates);
        }
        match candidates[..] {
            [] => self.routed(request).unwrap_or_else(|| Attributed::Service {
                service: self.fallback.name(upstream, request.host),
                route: None,
            }),
            [service] => self.of_service(service, request),
            _ => {
                self.narrow(upstream, candidates);
                self.best_of(candidates, request)
            }
        }
    }

    /// Behind one address there may be a thousand services: those of the upstream's `Host` are few, and the route that
    /// the request takes is one. Where neither leads there all at the address are looked at.
    fn told_at_once(
        &self,
        request: &RequestFacts<'_>,
        upstream: &UpstreamFacts<'_>,
        candidates: &mut Vec<u32>,
    ) -> Option<Attributed> {
        candidates.clear();
        self.services.of_host(upstream.host, candidates);
        candidates.retain(|&id| self.targets.has(id, upstream));
        if !candidates.is_empty() {
            self.narrow(upstream, candidates);
            return Some(self.best_of(candidates, request));
        }
        let (Some(id), route) = self.router.find(request, |_| true)? else { return None };
        let path = &self.services.get(id).path;
        let is_its_path = path.is_empty() || upstream.path.is_none_or(|own| normalize(path_of(own)).starts_with(path));
        (is_its_path && self.targets.has(id, upstream)).then(|| self.named(id, route))
    }

    /// Leaves those candidates that agree with the upstream's request, where any do.
    fn narrow(&self, upstream: &UpstreamFacts<'_>, candidates: &mut Vec<u32>) {
        retain_if_any(candidates, |id| self.services.get(id).enabled);
        if let Some(host) = upstream.host {
            retain_if_any(candidates, |id| self.services.get(id).has_host(host));
        }
        if let Some(path) = upstream.path {
            let path = normalize(path_of(path));
            retain_if_any(candidates, |id| path.starts_with(&self.services.get(id).path));
        }
    }

    /// The candidate whose route the request takes, else the first of those with the longest path.
    fn best_of(&self, candidates: &[u32], request: &RequestFacts<'_>) -> Attributed {
        if let [service] = candidates {
            return self.of_service(*service, request);
        }
        let is_candidate = |service: Option<u32>| service.is_some_and(|id| candidates.contains(&id));
        if let Some((Some(id), route)) = self.router.find(request, is_candidate) {
            return self.named(id, route);
        }
        if let Some((Some(id), route)) = self.servers.find(request).filter(|(service, _)| is_candidate(*service)) {
            return self.named(id, route);
        }
        let longest = |id: &&u32| std::cmp::Reverse(self.services.get(**id).path.len());
        match candidates.iter().min_by_key(longest) {
            Some(id) => self.named(*id, None),
            None => Attributed::Unattributed,
        }
    }

    /// The service, with the one route that leads to it or else the one that this request takes.
    fn of_service(&self, id: u32, request: &RequestFacts<'_>) -> Attributed {
        let route = match self.router.routes_of(id) {
            [] => {
                let found = self.servers.find(request).filter(|(service, _)| *service == Some(id));
                found.and_then(|(_, route)| route)
            }
            [only] => only.clone(),
            _ => {
                let found = self.router.find(request, |service| service == Some(id));
                found.and_then(|(_, route)| route)
            }
        };
        self.named(id, route)
    }

    fn routed(&self, request: &RequestFacts<'_>) -> Option<Attributed> {
        let found = self.router.find(request, |_| true);
        let (service, route) = found.or_else(|| self.servers.find(request))?;
        Some(self.named(service?, route))
    }

    fn named(&self, id: u32, route: Option<Arc<str>>) -> Attributed {
        let service = self.services.get(id).name.clone();
        Attributed::Service { service, route }
    }
}

/// The path of a request's target: no scheme and authority before it, no query after it.
fn path_of(target: &str) -> &[u8] {
    let end = short::find::<b'?'>(target.as_bytes()).unwrap_or(target.len());
    let target = &target[..end];
    if target.starts_with('/') {
        return target.as_bytes();
    }
    match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or(b"/", |at| &rest.as_bytes()[at..]),
        None => target.as_bytes(),
    }
}

fn retain_if_any(candidates: &mut Vec<u32>, agrees: impl Fn(u32) -> bool) {
    if candidates.iter().any(|&id| agrees(id)) {
        candidates.retain(|&id| agrees(id));
    }
}
