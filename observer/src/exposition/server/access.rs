//! Who asks, and what a listener's rules let them.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use warp::http::HeaderMap;
use warp::http::header::{FORWARDED, HOST, ORIGIN, VIA};

use crate::exposition::listen::Listen;
use crate::exposition::ui;

/// What holds for every connection of a listener.
#[derive(Debug, Default)]
pub(super) struct Rules {
    allow: Vec<IpNet>,
    trusted: Vec<IpNet>,
    paths: Vec<String>,
    /// Lower-cased.
    names: Vec<String>,
    reads_openly: bool,
    has_tls: bool,
    is_local: bool,
    is_private: bool,
}

/// Where a connection ends. Without addresses it is one to a UNIX socket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) remote: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

/// The other end of a connection, and the rules for it.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) ends: Ends,
    pub(super) rules: Arc<Rules>,
}

/// Why a change is refused before anybody looks at a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Foreign {
    /// `Host` is missing, stands twice, or is none of the listener's names.
    Host,
    /// A page of another origin has sent it.
    Origin,
}

impl Rules {
    /// The listener's own list of networks takes the place of `allow`; `trusted` are proxies whose `X-Forwarded-For`
    /// is believed.
    pub(super) fn new(listen: &Listen, allow: &[IpNet], trusted: &[IpNet]) -> Rules {
        let allow = if listen.allow.is_empty() { allow } else { &listen.allow };
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let host = host.map(|name| name.to_ascii_lowercase());
        Rules {
            allow: allow.to_vec(),
            trusted: trusted.to_vec(),
            paths: listen.paths.clone(),
            names: listen.names.iter().cloned().chain(host).collect(),
            reads_openly: listen.reads_openly,
            has_tls: listen.tls.is_some(),
            is_local: listen.is_local(),
            is_private: listen.is_private(),
        }
    }

    /// Whether `path` is served here. `/nginx_status` is nginx's own `internal` page, and the page for people is for a
    /// browser on this host: off the loopback there are both only on request.
    pub(super) fn serves(&self, path: &str) -> bool {
        if self.paths.is_empty() {
            return self.is_local || (path != "/nginx_status" && self.ui(path).is_none());
        }
        self.paths.iter().any(|listed| path == listed || (listed != "/" && below(listed, path).is_some()))
    }

    /// Where the page for people lies if `path` belongs to it, and the rest of the path: at `/ui`, or at a listed path
    /// that ends so, as a gateway may leave its own prefix before it.
    pub(super) fn ui<'a>(&self, path: &'a str) -> Option<(&'a str, &'a str)> {
        let places = self.paths.iter().map(String::as_str).filter(|listed| listed.ends_with(ui::PLACE));
        let rest = places.chain([ui::PLACE]).find_map(|place| below(place, path))?;
        Some((&path[..path.len() - rest.len()], rest))
    }

    /// Whether reading takes no token.
    pub(super) fn reads_openly(&self) -> bool {
        self.reads_openly
    }

    /// Whether `path` stands in the listener's own list.
    pub(super) fn lists(&self, path: &str) -> bool {
        self.paths.iter().any(|listed| listed == path)
    }
}

impl Peer {
    /// The address of the client: the peer's own, or the one that a trusted proxy tells. None for a UNIX socket, and
    /// where a trusted proxy's header cannot be read.
    pub(super) fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = self.ends.remote?.ip().to_canonical();
        let told = headers.get_all("x-forwarded-for").iter().map(|value| value.to_str().unwrap_or("?"));
        let hops: Vec<&str> = told.flat_map(|value| value.split(',')).map(str::trim).collect();
        for hop in hops.iter().rev() {
            if !contains(&self.rules.trusted, client) {
                break;
            }
            client = address(hop)?;
        }
        Some(client)
    }

    /// Whether the allow-list lets this client in. A UNIX socket's clients were let in by its mode.
    pub(super) fn is_allowed(&self, headers: &HeaderMap) -> bool {
        if self.rules.allow.is_empty() || self.ends.remote.is_none() {
            return true;
        }
        self.client(headers).is_some_and(|client| contains(&self.rules.allow, client))
    }

    /// Whether the request comes from this host itself, not through a proxy on it.
    pub(super) fn is_local(&self, headers: &HeaderMap) -> bool {
        let is_near = self.ends.remote.is_none_or(|remote| remote.ip().to_canonical().is_loopback());
        is_near && !is_forwarded(headers)
    }

    /// Whether it may change things without a token: it could open a socket that only the observer's user can.
    pub(super) fn is_private(&self, headers: &HeaderMap) -> bool {
        self.rules.is_private && self.is_local(headers)
    }

    /// Refuses what a page in somebody's browser could send: other origins, and names that point here from elsewhere.
    pub(super) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Foreign> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = match (hosts.next().and_then(|host| host.to_str().ok()), hosts.next()) {
            (Some(host), None) if self.is_own_name(host) => host.to_ascii_lowercase(),
            _ => return Err(Foreign::Host),
        };
        let scheme = if self.rules.has_tls { "https" } else { "http" };
        let own = format!("{scheme}://{host}");
        let is_own = |origin: &warp::http::HeaderValue| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes());
        if headers.get_all(ORIGIN).iter().all(is_own) { Ok(()) } else { Err(Foreign::Origin) }
    }

    fn is_own_name(&self, host: &str) -> bool {
        let (name, port) = split_port(host);
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !port.is_none_or(is_port) {
            return false;
        }
        let name = name.to_ascii_lowercase();
        if let Ok(literal) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
            return self.ends.local.is_some_and(|local| local.ip().to_canonical() == literal.to_canonical());
        }
        self.rules.names.contains(&name) || (self.rules.is_local && name == "localhost")
    }
}

/// Whether a proxy has passed the request on, or somebody says so.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    headers.contains_key(FORWARDED)
        || headers.contains_key(VIA)
        || headers.keys().any(|name| name.as_str() == "x-real-ip" || name.as_str().starts_with("x-forwarded-"))
}

/// What follows `place` in a path at or below it.
fn below<'a>(place: &str, path: &'a str) -> Option<&'a str> {
    path.strip_prefix(place).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// An address as proxies write it: bare, or with a port.
fn address(hop: &str) -> Option<IpAddr> {
    let bare = |text: &str| text.parse::<IpAddr>().ok();
    let with_port = |text: &str| text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let bracketed = || bare(hop.strip_prefix('[')?.strip_suffix(']')?);
    let address = bare(hop).or_else(|| with_port(hop)).or_else(bracketed)?;
    Some(address.to_canonical())
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    let after_literal = host.rfind(']').map_or(0, |at| at + 1);
    match host[after_literal..].find(':') {
        Some(at) => (&host[..after_literal + at], Some(&host[after_literal + at + 1..])),
        None => (host, None),
    }
}
