//! `server` and `location` blocks.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::directive::Directive;
use super::{HTTP_PASSES, OTHER_PASSES, Reader};
use crate::config::endpoint::split_port;
use crate::config::error::{ConfigError, Problem};
use crate::config::pattern::NginxPattern;
use crate::config::virtual_server::{Listen, Location, LocationRule, ServerName, VirtualServer};

/// Blocks within a location whose directives take their turn for some of its requests.
const CONDITIONS: [&str; 2] = ["if", "limit_except"];

type Result<T> = std::result::Result<T, ConfigError>;

/// What a location's own directives say of where its requests go.
#[derive(Default)]
struct Passes {
    service: Option<Arc<str>>,
    /// By whatever protocol.
    is_any: bool,
}

impl Reader {
    pub fn server(&mut self, block: &Directive) -> Result<VirtualServer> {
        let mut listens = Vec::new();
        let mut names = Vec::new();
        for directive in block.inner() {
            match directive.name.as_str() {
                "listen" => listens.push(listen(directive)?),
                "server_name" => names.extend(directive.args.iter().flat_map(|arg| server_names(directive, arg))),
                _ => {}
            }
        }
        if listens.is_empty() {
            listens.push(Listen::Tcp { address: None, ports: 80..=80, is_default: false });
        }
        let first_name = block.inner().iter().find(|directive| directive.name == "server_name");
        let label = first_name.and_then(|directive| directive.args.first()).map_or("", String::as_str);
        Ok(VirtualServer { listens, names, locations: self.locations(block, label)? })
    }

    fn locations(&mut self, block: &Directive, label: &str) -> Result<Vec<Location>> {
        let mut locations = Vec::new();
        for directive in block.inner() {
            match directive.name.as_str() {
                "location" => locations.extend(self.location(directive, label)?),
                // nginx allows no location in them, but passes.
                name if CONDITIONS.contains(&name) => {
                    self.passes(directive)?;
                }
                _ => {}
            }
        }
        Ok(locations)
    }

    /// The location, unless it is a named one, which requests reach through others only.
    fn location(&mut self, block: &Directive, label: &str) -> Result<Option<Location>> {
        let passes = self.passes(block)?;
        let locations = self.locations(block, label)?;
        let Some(rule) = rule(block)? else { return Ok(None) };
        let ends_with_slash = matches!(&rule, LocationRule::Exact(path) | LocationRule::Prefix { path, .. }
            if path.ends_with(b"/"));
        let text = block.args.join(" ");
        let name = if label.is_empty() { text } else { format!("{label} {text}") };
        Ok(Some(Location {
            rule,
            name: name.into(),
            service: passes.service,
            redirects: passes.is_any && ends_with_slash,
            locations,
        }))
    }

    fn passes(&mut self, block: &Directive) -> Result<Passes> {
        let mut passes = Passes::default();
        for directive in block.inner() {
            let name = directive.name.as_str();
            if let Some((_, scheme)) = HTTP_PASSES.iter().find(|(pass, _)| *pass == name) {
                passes = Passes { service: self.service(directive, scheme)?, is_any: true };
            } else if OTHER_PASSES.contains(&name) {
                let upstream = directive.first()?.to_ascii_lowercase();
                self.other.insert(upstream);
                passes.is_any = true;
            }
        }
        Ok(passes)
    }
}

/// None for a named location.
fn rule(block: &Directive) -> Result<Option<LocationRule>> {
    let (modifier, path) = match &block.args[..] {
        [modifier, path] => (modifier.as_str(), path.as_str()),
        // The modifier may be written without a blank after it.
        [text] => {
            let modifier = ["=", "^~", "~*", "~"].into_iter().find(|modifier| text.starts_with(modifier));
            text.split_at(modifier.map_or(0, str::len))
        }
        _ => return Err(bad_location(block)),
    };
    Ok(Some(match modifier {
        "" if path.starts_with('@') => return Ok(None),
        "" => LocationRule::Prefix { path: path.as_bytes().into(), is_final: false },
        "^~" => LocationRule::Prefix { path: path.as_bytes().into(), is_final: true },
        "=" => LocationRule::Exact(path.as_bytes().into()),
        "~" => LocationRule::Regex(pattern(block, path, false)),
        "~*" => LocationRule::Regex(pattern(block, path, true)),
        _ => return Err(bad_location(block)),
    }))
}

fn bad_location(block: &Directive) -> ConfigError {
    let text = block.args.join(" ");
    block.fail(Problem::value(text, "a location", "write a path, or =, ^~, ~ or ~* and what it asks for"))
}

fn pattern(directive: &Directive, text: &str, ignore_case: bool) -> NginxPattern {
    let pattern = NginxPattern::new(text, ignore_case);
    if !pattern.is_exact() {
        log::warn!(
            "{}:{}: {}: {text:?} looks around or refers back; requests that may match it and are answered by the \
             gateway itself are told no service",
            directive.file,
            directive.line,
            directive.name
        );
    }
    pattern
}

fn listen(directive: &Directive) -> Result<Listen> {
    let text = directive.first()?;
    if text.starts_with("unix:") {
        return Ok(Listen::Unix);
    }
    let (host, port) = match port_range(text) {
        Some(ports) => ("*", Some(ports)),
        // `[::1]:80` has colons before that of its port, `[::1]` no other.
        None => match text.rsplit_once(':').filter(|(host, _)| !host.starts_with('[') || host.ends_with(']')) {
            Some((host, ports)) => (host, port_range(ports)),
            None => (text, Some(80..=80)),
        },
    };
    let Some(ports) = port else {
        let next = "write ADDRESS:PORT, ADDRESS, PORT or unix:/PATH";
        return Err(directive.fail(Problem::value(text, "an address to listen on", next)));
    };
    let address = split_port(host).0.parse().ok().filter(|address: &std::net::IpAddr| !address.is_unspecified());
    let is_default = directive.args[1..].iter().any(|arg| arg == "default_server" || arg == "default");
    Ok(Listen::Tcp { address, ports, is_default })
}

/// `80`, or `8000-8010`.
fn port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

/// `.example.com` is two names.
fn server_names(directive: &Directive, text: &str) -> Vec<ServerName> {
    if let Some(regex) = text.strip_prefix('~') {
        // nginx compares hosts in lower case and ignores the case of an expression that has upper-case letters.
        let has_upper_case = regex.bytes().any(|byte| byte.is_ascii_uppercase());
        return vec![ServerName::Regex(pattern(directive, regex, has_upper_case))];
    }
    let name = text.to_ascii_lowercase();
    if let Some(bare) = name.strip_prefix('.') {
        return vec![ServerName::Exact(bare.into()), ServerName::Suffix(name.as_str().into())];
    }
    vec![match (name.strip_prefix('*'), name.strip_suffix('*')) {
        (Some(suffix), _) => ServerName::Suffix(suffix.into()),
        (None, Some(prefix)) => ServerName::Prefix(prefix.into()),
        (None, None) => ServerName::Exact(name.into()),
    }]
}
