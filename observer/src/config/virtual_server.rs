//! nginx's virtual servers and their locations: its way to say which request goes where.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::pattern::NginxPattern;

/// One `server` block of nginx's `http`.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualServer {
    /// Where it listens; at least one.
    pub listens: Vec<Listen>,
    /// Its names.
    pub names: Vec<ServerName>,
    /// In the file's order, without named ones (`@name`).
    pub locations: Vec<Location>,
}

/// A `listen` directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On TCP.
    Tcp {
        /// Any address where it has none, or a name.
        address: Option<IpAddr>,
        /// One port, or several.
        ports: RangeInclusive<u16>,
        /// Takes requests for names that no server has.
        is_default: bool,
    },
    /// On a UNIX socket.
    Unix,
}

/// A name of a server.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerName {
    /// `example.com`; lower-cased. Empty for requests without a host.
    Exact(Arc<str>),
    /// `*.example.com`: what the host ends with, from its dot on; lower-cased.
    Suffix(Arc<str>),
    /// `example.*`: what the host begins with, its dot included; lower-cased.
    Prefix(Arc<str>),
    /// `~^www\d+\.example\.com$`
    Regex(NginxPattern),
}

/// One `location` block.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Which requests it takes.
    pub rule: LocationRule,
    /// The server's first name and the location as it is written: `shop.example.com /orders/`.
    pub name: Arc<str>,
    /// The service its requests are passed to; none where it passes them to none, or to one that a variable names.
    pub service: Option<Arc<str>>,
    /// A prefix that ends with a slash and is passed on also takes the request without the slash, to redirect it.
    pub redirects: bool,
    /// Locations within.
    pub locations: Vec<Location>,
}

/// What a location asks of a request's path.
#[derive(Clone, Debug, PartialEq)]
pub enum LocationRule {
    /// `= /path`
    Exact(Arc<[u8]>),
    /// `/path`, or `^~ /path`
    Prefix {
        /// What the request's path begins with.
        path: Arc<[u8]>,
        /// With `^~`: regular expressions are not asked.
        is_final: bool,
    },
    /// `~ regex`, or `~* regex`
    Regex(NginxPattern),
}
