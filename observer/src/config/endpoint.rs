//! Where a service, a target or the datastore listens.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use crate::http::short;

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A name or an IP address (no brackets), lower-cased, and a port.
    Tcp {
        /// `example.com`, `10.0.0.1`, `::1`.
        host: Arc<str>,
        /// 1 to 65535.
        port: u16,
    },
    /// The path of a UNIX socket.
    Unix(Arc<str>),
}

/// A text that is no [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address; write HOST:PORT, [IPV6]:PORT or unix:/PATH")]
pub struct NotAnEndpoint;

/// The parts of a service's `url`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http`, `https`, `grpc`, ...; lower-cased.
    pub protocol: String,
    /// Host and port; the protocol's default where the URL has none.
    pub endpoint: Endpoint,
    /// From its `/` on, without query; none where the URL ends with the address.
    pub path: Option<String>,
}

impl Endpoint {
    /// A host and a port.
    pub fn tcp(host: &str, port: u16) -> Self {
        let host = host.to_ascii_lowercase().into();
        Self::Tcp { host, port }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        match split_port(text) {
            (host, Some(port)) if port > 0 && is_host(host) => Ok(Self::tcp(host, port)),
            _ => Err(NotAnEndpoint),
        }
    }
}

impl FromStr for Url {
    type Err = NotAnEndpoint;

    /// Reads `http://host:port/path`, and `http://unix:/run/app.sock:/path` as nginx writes it.
    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let (protocol, rest) = text.split_once("://").ok_or(NotAnEndpoint)?;
        let protocol = protocol.to_ascii_lowercase();
        if let Some(rest) = rest.strip_prefix("unix:") {
            let (socket, path) = rest.split_once(':').unwrap_or((rest, ""));
            let endpoint = unix(socket)?;
            return Ok(Self { protocol, endpoint, path: path_of(path) });
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let address = authority.rsplit_once('@').map_or(authority, |(_, a)| a);
        let (host, port) = split_port(address);
        let port = port.unwrap_or(if protocol == "https" { 443 } else { 80 });
        if !is_host(host) || port == 0 {
            return Err(NotAnEndpoint);
        }
        Ok(Self { protocol, endpoint: Endpoint::tcp(host, port), path: path_of(path) })
    }
}

/// Splits `host`, `host:80`, `[::1]`, `[::1]:80` or `::1`; brackets are taken off. A port that is no number below
/// 65536 stays in the host.
pub fn split_port(text: &str) -> (&str, Option<u16>) {
    if let Some(rest) = text.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, after)) => match after.strip_prefix(':').map(digits) {
                Some(Some(port)) => (host, Some(port)),
                _ => (text, None),
            },
            None => (text, None),
        };
    }
    let Some(colon) = short::find::<b':'>(text.as_bytes()) else { return (text, None) };
    digits(&text[colon + 1..]).map_or((text, None), |port| (&text[..colon], Some(port)))
}

/// Whether `text` is an IP address or may be the name of a host.
pub fn is_host(text: &str) -> bool {
    let is_name_byte = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b) || !b.is_ascii();
    let is_name = !text.is_empty() && text.len() <= 255 && text.bytes().all(is_name_byte);
    is_name || text.parse::<IpAddr>().is_ok()
}

fn digits(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn unix(path: &str) -> Result<Endpoint, NotAnEndpoint> {
    let is_path = path.starts_with('/') || path.starts_with('@');
    if is_path && path.len() > 1 { Ok(Endpoint::Unix(path.into())) } else { Err(NotAnEndpoint) }
}

fn path_of(text: &str) -> Option<String> {
    let end = text.find(['?', '#']).unwrap_or(text.len());
    text[..end].starts_with('/').then(|| text[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_with_port_or_a_socket_path() {
        for text in ["a:1", "10.0.0.1:65535", "[::1]:80", "unix:/run/a.sock", "unix:@name", "a_b-c.d:8"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "a",
            "a:",
            ":1",
            "a:0",
            "a:65536",
            "a:-1",
            "a:+1",
            "::1:80",
            "[::1]",
            "[::1]x:80",
            "a b:1",
            "unix:",
            "unix:run",
            "http://a:1",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(NotAnEndpoint), "{text}");
        }
    }

    #[test]
    fn a_url_gives_protocol_address_and_path() {
        for (text, protocol, endpoint, path) in [
            ("http://a", "http", "a:80", None),
            ("https://A.b/", "https", "a.b:443", Some("/")),
            ("http://a:8080/x/y?q=1#f", "http", "a:8080", Some("/x/y")),
            ("grpc://a", "grpc", "a:80", None),
            ("http://[::1]:81/x", "http", "[::1]:81", Some("/x")),
            ("http://u:p@a:82", "http", "a:82", None),
            ("http://a?x=/y", "http", "a:80", None),
            ("http://unix:/run/a.sock:/x", "http", "unix:/run/a.sock", Some("/x")),
        ] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.protocol, protocol, "{text}");
            assert_eq!(url.endpoint.to_string(), endpoint, "{text}");
            assert_eq!(url.path.as_deref(), path, "{text}");
        }
        for text in ["a:80", "http://", "http://:80", "http://a:99999", "http://a b"] {
            assert_eq!(text.parse::<Url>(), Err(NotAnEndpoint), "{text}");
        }
    }
}
