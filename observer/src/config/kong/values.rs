//! Single values of Kong's file.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::keys as known;
use crate::config::document::Value;
use crate::config::error::Problem;
use crate::config::read::{bad_pattern, wildcard_host};
use crate::config::{ConfigError, Endpoint, HeaderRule, Pattern, split_port};

/// What Kong takes for a target without a port (`kong/db/dao/targets.lua`).
const DEFAULT_TARGET_PORT: u16 = 8000;

type Result<T> = std::result::Result<T, ConfigError>;

/// A target and what it says of its upstream.
pub fn target<'a>(value: &Value<'a>) -> Result<(Endpoint, Option<Value<'a>>)> {
    let fields = value.fields(
        &["target", "weight", "upstream"],
        &[known::ENTITY, known::TARGET],
    )?;
    fields.read("weight", Value::integer)?;
    let Some(target) = fields.get("target") else {
        return Err(fields.missing("target", "add target: HOST:PORT"));
    };
    let text = target.text()?;
    let (name, port) = split_port(text);
    let endpoint = Endpoint::tcp(name, port.unwrap_or(DEFAULT_TARGET_PORT));
    match endpoint.to_string().parse() {
        Ok(endpoint) => Ok((endpoint, fields.get("upstream"))),
        Err(_) => {
            let next = "write HOST:PORT or [IPV6]:PORT";
            Err(target.fail(Problem::value(text, "a target", next)))
        }
    }
}

pub fn method(value: &Value<'_>) -> Result<Arc<str>> {
    let text = value.text()?;
    if text.bytes().all(|b| b.is_ascii_uppercase()) {
        return Ok(text.into());
    }
    let next = "write it in upper-case letters, like GET";
    Err(value.fail(Problem::value(text, "a method", next)))
}

pub fn sni(value: &Value<'_>) -> Result<Arc<str>> {
    let name = wildcard_host(value, false)?;
    // The dot that ends a full name takes no part in routing.
    Ok(name.strip_suffix('.').map_or(name.clone(), Arc::from))
}

pub fn headers(value: &Value<'_>) -> Result<Vec<HeaderRule>> {
    let entries = value.entries()?;
    entries
        .into_iter()
        .map(|(name, values)| header(name, &values))
        .collect()
}

fn header(name: &str, values: &Value<'_>) -> Result<HeaderRule> {
    let mut rule = HeaderRule {
        name: name.to_ascii_lowercase().into(),
        ..HeaderRule::default()
    };
    for value in values.items()? {
        let text = value.scalar()?;
        match text.strip_prefix("~*") {
            Some(pattern) => {
                let pattern = Pattern::header(pattern);
                let pattern = pattern.map_err(|error| bad_pattern(&value, &text, &error))?;
                rule.patterns.push(pattern);
            }
            None => rule.values.push(text.to_ascii_lowercase().into()),
        }
    }
    Ok(rule)
}

pub fn path_handling(value: &Value<'_>) -> Result<()> {
    match value.text()? {
        "v0" | "v1" => Ok(()),
        other => Err(value.fail(Problem::value(other, "a path handling", "give v0 or v1"))),
    }
}

/// Checks an entry of `sources` or `destinations`; only routes of streams use them.
pub fn network(value: &Value<'_>) -> Result<()> {
    let fields = value.fields(&["ip", "port"], &[])?;
    fields.read("port", Value::port)?;
    let Some(ip) = fields.get("ip") else {
        return Ok(());
    };
    let text = ip.text()?;
    if text.parse::<IpNet>().is_ok() || text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let next = "write an address like 10.0.0.1 or a range like 10.0.0.0/8";
    Err(ip.fail(Problem::value(text, "an IP address or range", next)))
}
