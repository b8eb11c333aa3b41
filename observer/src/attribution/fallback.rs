//! Names for upstreams that no configuration knows.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::{Peer, UpstreamFacts};

/// How many services may get their name from a `Host`. Clients can send any, and each is a set of series.
pub const FALLBACK_SERVICES_MAX: usize = 1000;

/// The service of all that come after them.
pub const OTHER_SERVICE: &str = "__other__";

/// A longer `Host` is cut: the longest host name DNS allows.
const NAME_BYTES_MAX: usize = 255;

/// The names given so far. A keyed hash, since clients may choose the names.
pub struct Fallback {
    names: HashSet<Arc<str>>,
    other: Arc<str>,
}

impl Default for Fallback {
    fn default() -> Self {
        Self {
            names: HashSet::new(),
            other: OTHER_SERVICE.into(),
        }
    }
}

impl Fallback {
    /// The `Host` in lower case, without what is not printable ASCII; the address where nothing is left.
    pub fn name(&mut self, upstream: &UpstreamFacts<'_>) -> Arc<str> {
        let host = upstream.host.map(printable).unwrap_or_default();
        if host.is_empty() {
            return self.interned(&address(upstream.peer));
        }
        self.interned(&host)
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
            std::net::SocketAddr::new(ip, address.port()).to_string()
        }
        Peer::Unix(path) => {
            let path = String::from_utf8_lossy(path);
            format!("unix:{}", printable(&path))
        }
    }
}
