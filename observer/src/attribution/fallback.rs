//! Names for upstreams that no configuration knows.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::{Peer, UpstreamFacts};

/// How many services may get their name from a `Host`. Clients can send any, and each is a set of series.
pub const FALLBACK_SERVICES_MAX: usize = 1000;

/// The service of all that come after them.
pub const OTHER_SERVICE: &str = "__other__";

/// A longer `Host` is cut: the longest host name DNS allows.
const NAME_BYTES_MAX: usize = 255;

/// Addresses whose names are remembered, for connects that fail there.
const ADDRESSES_MAX: usize = 4096;

/// Names that are remembered of one address: behind an ingress there may be many.
const NAMES_PER_ADDRESS_MAX: usize = 32;

/// The names given so far. A keyed hash, since clients may choose the names.
pub struct Fallback {
    names: HashSet<Arc<str>>,
    other: Arc<str>,
    /// By network namespace and address, the last one given last.
    given: FxHashMap<(u32, Address), Vec<Arc<str>>>,
}

/// A [`Peer`] to be kept.
#[derive(PartialEq, Eq, Hash)]
enum Address {
    Ip(SocketAddr),
    Unix(Box<[u8]>),
}

impl Default for Fallback {
    fn default() -> Self {
        Self { names: HashSet::new(), other: OTHER_SERVICE.into(), given: FxHashMap::default() }
    }
}

impl Fallback {
    /// The `Host` in lower case, without what is not printable ASCII; the address where nothing is left. A connect that
    /// failed has the name that requests to this address had before: the client's `Host` if it is one, else the last.
    pub fn name(&mut self, upstream: &UpstreamFacts<'_>, client_host: Option<&str>) -> Arc<str> {
        let host = upstream.host.map(printable).unwrap_or_default();
        if host.is_empty() {
            let has_failed = upstream.host.is_none() && upstream.path.is_none();
            let names = self.given.get(&key(upstream)).filter(|_| has_failed);
            let before = names.and_then(|names| before(names, client_host));
            return before.unwrap_or_else(|| self.interned(&address(upstream.peer)));
        }
        let name = self.interned(&host);
        self.remember(upstream, &name);
        name
    }

    fn remember(&mut self, upstream: &UpstreamFacts<'_>, name: &Arc<str>) {
        let key = key(upstream);
        if self.given.len() >= ADDRESSES_MAX && !self.given.contains_key(&key) {
            return;
        }
        let names = self.given.entry(key).or_default();
        if names.last() == Some(name) {
            return;
        }
        names.retain(|other| other != name);
        if names.len() >= NAMES_PER_ADDRESS_MAX {
            names.remove(0);
        }
        names.push(name.clone());
    }

    fn interned(&mut self, name: &str) -> Arc<str> {
        if let Some(name) = self.names.get(name) {
            return name.clone();
        }
        if self.names.len() >= FALLBACK_SERVICES_MAX {
            return self.other.clone();
        }
        let name: Arc<str> = name.into();
        self.names.insert(name.clone());
        name
    }
}

fn before(names: &[Arc<str>], client_host: Option<&str>) -> Option<Arc<str>> {
    let passed_on = client_host.map(printable);
    let is_it = |name: &&Arc<str>| passed_on.as_deref() == Some(&***name);
    names.iter().find(is_it).or(names.last()).cloned()
}

fn key(upstream: &UpstreamFacts<'_>) -> (u32, Address) {
    let address = match upstream.peer {
        Peer::Ip(address) => Address::Ip(SocketAddr::new(address.ip().to_canonical(), address.port())),
        Peer::Unix(path) => Address::Unix(path.into()),
    };
    (upstream.network, address)
}

fn printable(host: &str) -> Cow<'_, str> {
    let is_kept = |b: &u8| b.is_ascii_graphic() && !b.is_ascii_uppercase();
    if host.len() <= NAME_BYTES_MAX && host.as_bytes().iter().all(is_kept) {
        return Cow::Borrowed(host);
    }
    let kept = host.chars().filter(char::is_ascii_graphic);
    let cut = kept.take(NAME_BYTES_MAX);
    Cow::Owned(cut.map(|c| c.to_ascii_lowercase()).collect())
}

fn address(peer: Peer<'_>) -> String {
    match peer {
        Peer::Ip(address) => {
            let ip = address.ip().to_canonical();
            SocketAddr::new(ip, address.port()).to_string()
        }
        Peer::Unix(path) => {
            let path = String::from_utf8_lossy(path);
            format!("unix:{}", printable(&path))
        }
    }
}
