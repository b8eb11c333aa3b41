//! Where nginx passes requests to.

use super::directive::Directive;
use crate::config::endpoint::{Endpoint, is_host, split_port};
use crate::config::error::{ConfigError, Problem};

/// Variables that begin with the slash that ends the host before them.
const PATH_VARIABLES: [&str; 4] = ["$request_uri", "${request_uri}", "$uri", "${uri}"];

/// The target of a pass directive.
#[derive(Debug, PartialEq, Eq)]
pub enum Target {
    /// As it is written.
    Static {
        /// As nginx calls it (`$proxy_host`), in lower case.
        name: String,
        endpoint: Endpoint,
    },
    /// Told by a variable, request by request.
    Variable,
}

/// The target of `proxy_pass` or `grpc_pass`. `scheme` is what it has where it names none; an empty one must be named.
pub fn read(pass: &Directive, scheme: &str) -> Result<Target, ConfigError> {
    let text = pass.first()?;
    if text.starts_with('$') {
        return Ok(Target::Variable);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or((scheme, text));
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        _ if scheme.contains('$') => return Ok(Target::Variable),
        "http" | "grpc" => 80,
        "https" | "grpcs" => 443,
        _ => return Err(bad(pass, text)),
    };
    let address = address_of(rest);
    if address.contains('$') {
        return Ok(Target::Variable);
    }
    endpoint(address, default_port)
        .map_or_else(|| Err(bad(pass, text)), |(name, endpoint)| Ok(Target::Static { name, endpoint }))
}

/// The address of an upstream's `server`; none where it is looked up as an SRV record.
pub fn upstream_server(server: &Directive) -> Result<Option<Endpoint>, ConfigError> {
    let text = server.first()?;
    if server.args.iter().any(|arg| arg.starts_with("service=")) {
        return Ok(None);
    }
    match endpoint(text, 80) {
        Some((_, endpoint)) => Ok(Some(endpoint)),
        None => {
            let next = "write HOST:PORT, [IPV6]:PORT or unix:/PATH";
            Err(server.fail(Problem::value(text, "an address", next)))
        }
    }
}

/// What is before the path.
fn address_of(rest: &str) -> &str {
    if let Some(path) = rest.strip_prefix("unix:") {
        let length = path.find(':').unwrap_or(path.len());
        return &rest[..rest.len() - path.len() + length];
    }
    let ends = PATH_VARIABLES.iter().filter_map(|variable| rest.find(variable));
    let end = ends.chain(rest.find(['/', '?'])).min().unwrap_or(rest.len());
    &rest[..end]
}

fn endpoint(address: &str, default_port: u16) -> Option<(String, Endpoint)> {
    if address.starts_with("unix:") {
        return Some((address.to_owned(), address.parse().ok()?));
    }
    let (host, port) = split_port(address);
    let port = port.unwrap_or(default_port);
    if !is_host(host) || port == 0 {
        return None;
    }
    let endpoint = Endpoint::tcp(host, port);
    let full = endpoint.to_string();
    let name = match full.strip_suffix(&format!(":{default_port}")) {
        Some(host) => host.to_owned(),
        None => full,
    };
    Some((name, endpoint))
}

fn bad(pass: &Directive, text: &str) -> ConfigError {
    let next = "write http://HOST:PORT/PATH, http://UPSTREAM or http://unix:/SOCKET:/PATH";
    pass.fail(Problem::value(text, "an address to pass to", next))
}
