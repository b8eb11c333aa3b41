//! Readers of single values that both files share.

use std::collections::HashMap;
use std::sync::Arc;

use super::document::{Fields, Value};
use super::endpoint::{Endpoint, Url, is_host, split_port};
use super::error::{ConfigError, Problem};
use super::path::normalize;
use super::pattern::{PathRule, PatternError};

const PROTOCOLS: [&str; 10] = ["http", "https", "grpc", "grpcs", "ws", "wss", "tcp", "tls", "tls_passthrough", "udp"];

/// The names of one kind of thing, each with its line, so that a second one is found.
pub struct Names {
    kind: &'static str,
    lines: HashMap<String, u64>,
}

impl Names {
    pub fn new(kind: &'static str) -> Self {
        let lines = HashMap::new();
        Self { kind, lines }
    }

    pub fn add(&mut self, name: &Value<'_>) -> Result<(), ConfigError> {
        let text = name.text()?;
        match self.lines.insert(text.to_owned(), name.line()) {
            None => Ok(()),
            Some(first) => Err(name.fail(Problem::Duplicate { kind: self.kind, name: text.to_owned(), first })),
        }
    }
}

pub fn host<'a>(value: &Value<'a>) -> Result<&'a str, ConfigError> {
    let text = value.text()?;
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if is_host(bare) {
        return Ok(bare);
    }
    let next = "give a host name or an IP address, without port";
    Err(value.fail(Problem::value(text, "a host", next)))
}

/// One of Kong's protocols.
pub fn protocol<'a>(value: &Value<'a>) -> Result<&'a str, ConfigError> {
    let text = value.text()?;
    if PROTOCOLS.contains(&text) {
        return Ok(text);
    }
    let next = "give one of http, https, grpc, grpcs, ws, wss, tcp, tls, tls_passthrough, udp";
    Err(value.fail(Problem::value(text, "a protocol", next)))
}

/// A path rule by the rules of one format.
pub type PathReader = fn(&str) -> Result<PathRule, PatternError>;

/// Where a service listens, and what comes before the request's path there.
pub struct Address {
    pub endpoint: Endpoint,
    pub path: Option<Arc<str>>,
}

/// Where a service listens: `url` is short for `protocol`, `host`, `port` and `path`, and they win over it. Kong takes
/// port 80 for `protocol: https` too, and 443 only from a url: `https_port` says what this file does.
pub fn address(fields: &Fields<'_>, https_port: u16) -> Result<Address, ConfigError> {
    let scheme = fields.read("protocol", protocol)?;
    let default_port = if scheme == Some("https") { https_port } else { 80 };
    let short = fields.read("url", url)?;
    let name = fields.read("host", host)?;
    let port = fields.read("port", Value::port)?;
    let path = fields.read("path", service_path)?;
    let endpoint = match (name, short.as_ref().map(|address| &address.endpoint)) {
        (None, None) => return Err(fields.missing("address", "add url: or host:")),
        (None, Some(Endpoint::Tcp { host, port: p })) => Endpoint::tcp(host, port.unwrap_or(*p)),
        (None, Some(unix)) => unix.clone(),
        (Some(name), Some(Endpoint::Tcp { port: p, .. })) => Endpoint::tcp(name, port.unwrap_or(*p)),
        (Some(name), _) => Endpoint::tcp(name, port.unwrap_or(default_port)),
    };
    let path = path.or(short.and_then(|address| address.path));
    Ok(Address { endpoint, path })
}

fn url(value: &Value<'_>) -> Result<Address, ConfigError> {
    let text = value.text()?;
    let next = "write http://HOST:PORT/PATH";
    let bad = || value.fail(Problem::value(text, "a service's URL", next));
    let url: Url = text.parse().map_err(|_| bad())?;
    if !PROTOCOLS.contains(&url.protocol.as_str()) {
        return Err(bad());
    }
    Ok(Address { endpoint: url.endpoint, path: url.path.as_deref().map(normal_path) })
}

pub fn endpoint(value: &Value<'_>) -> Result<Endpoint, ConfigError> {
    let text = value.text()?;
    let next = "write HOST:PORT, [IPV6]:PORT or unix:/PATH";
    text.parse().map_err(|_| value.fail(Problem::value(text, "an address", next)))
}

fn service_path(value: &Value<'_>) -> Result<Arc<str>, ConfigError> {
    let text = value.text()?;
    if text.starts_with('/') {
        return Ok(normal_path(text));
    }
    Err(value.fail(Problem::value(text, "a path", "start it with /")))
}

pub fn path_rule(value: &Value<'_>, parse: PathReader) -> Result<PathRule, ConfigError> {
    let text = value.text()?;
    if !text.starts_with('/') && !text.starts_with("~/") {
        let next = "start it with / (a prefix) or ~/ (a regular expression)";
        return Err(value.fail(Problem::value(text, "a path", next)));
    }
    parse(text).map_err(|error| bad_pattern(value, text, &error))
}

pub fn bad_pattern(value: &Value<'_>, text: &str, error: &PatternError) -> ConfigError {
    value.fail(Problem::Pattern { pattern: text.to_owned(), reason: error.to_string() })
}

pub fn route_hosts(fields: &Fields<'_>) -> Result<Vec<Arc<str>>, ConfigError> {
    fields.each("hosts", |value| wildcard_host(value, true))
}

/// `example.com`, `*.example.com` or `example.*`, with a port where `port` allows it; lower-cased.
pub fn wildcard_host(value: &Value<'_>, port: bool) -> Result<Arc<str>, ConfigError> {
    let text = value.text()?;
    let (name, given_port) = split_port(text);
    let plain = name.strip_prefix("*.").or_else(|| name.strip_suffix(".*")).unwrap_or(name);
    if is_host(plain) && (port || given_port.is_none()) {
        return Ok(text.to_ascii_lowercase().into());
    }
    let next = "give a host name; a wildcard is its whole first or last label, like *.example.com";
    Err(value.fail(Problem::value(text, "a host", next)))
}

fn normal_path(text: &str) -> Arc<str> {
    // What a percent-encoded byte decodes to need not be text: such a path stays as it is written.
    match std::str::from_utf8(&normalize(text.as_bytes())) {
        Ok(normal) => normal.into(),
        Err(_) => text.into(),
    }
}
