//! Kong's declarative file. The rules are those of Kong's own schema (`kong/db/schema/`), as far as the observer reads
//! it; what Kong alone checks is passed over.

pub mod admin;
mod keys;
mod values;

use std::collections::HashMap;
use std::sync::Arc;

use super::document::{Document, Fields, Value};
use super::error::Problem;
use super::pattern::PathRule;
use super::read::{Names, PathReader, address, host, path_rule, protocol, route_hosts};
use super::{Config, ConfigError, Endpoint, Route, Service, Upstream};
use keys as known;
use values::{headers, method, network, path_handling, sni, target};

const SERVICE: &[&str] = &["name", "url", "protocol", "host", "port", "path", "enabled", "routes"];
const ROUTE: &[&str] = &[
    "name",
    "hosts",
    "paths",
    "methods",
    "headers",
    "snis",
    "protocols",
    "sources",
    "destinations",
    "regex_priority",
    "strip_path",
    "preserve_host",
    "path_handling",
    "service",
];
const STREAM_PROTOCOLS: [&str; 4] = ["tcp", "tls", "tls_passthrough", "udp"];

type Result<T> = std::result::Result<T, ConfigError>;

pub fn parse(document: &Document) -> Result<Config> {
    let top = document.root().fields(
        &["_format_version", "services", "routes", "upstreams", "targets"],
        &[known::DOCUMENT, known::ENTITIES, known::PLUGIN_ENTITIES],
    )?;
    let mut reader = Reader::new(format_version(&top)?);
    for service in top.list("services")? {
        reader.service(&service)?;
    }
    for route in top.list("routes")? {
        reader.top_level_route(&route)?;
    }
    for upstream in top.list("upstreams")? {
        reader.upstream(&upstream)?;
    }
    for target in top.list("targets")? {
        reader.top_level_target(&target)?;
    }
    Ok(reader.config)
}

/// How the file's version has a route's path read.
fn format_version(top: &Fields<'_>) -> Result<PathReader> {
    let next = "add _format_version: \"3.0\" (or \"1.1\" or \"2.1\")";
    let Some(value) = top.get("_format_version") else {
        return Err(top.missing("_format_version", next));
    };
    match value.scalar()?.as_str() {
        "1.1" | "2.1" => Ok(PathRule::parse_before_3),
        "3.0" => Ok(PathRule::parse),
        other => {
            let next = "give \"1.1\", \"2.1\" or \"3.0\"";
            Err(value.fail(Problem::value(other, "a format version", next)))
        }
    }
}

struct Reader {
    path_rule: PathReader,
    service_names: Names,
    route_names: Names,
    upstream_names: Names,
    /// Place in `config.services` by name and by id.
    services: HashMap<String, usize>,
    /// Place in `config.upstreams` by name and by id.
    upstreams: HashMap<String, usize>,
    config: Config,
}

impl Reader {
    fn new(path_rule: PathReader) -> Self {
        Self {
            path_rule,
            service_names: Names::new("service"),
            route_names: Names::new("route"),
            upstream_names: Names::new("upstream"),
            services: HashMap::new(),
            upstreams: HashMap::new(),
            config: Config::default(),
        }
    }

    fn service(&mut self, value: &Value<'_>) -> Result<()> {
        let fields = value.fields(SERVICE, &[known::ENTITY, known::SERVICE])?;
        let place = self.config.services.len();
        fields.read("name", |name| self.service_names.add(name))?;
        let keys = names_of(&fields, "name")?;
        let address = address(&fields, 80)?;
        let label = match fields.get("name") {
            Some(name) => name.text()?.into(),
            None => host_of(&address.endpoint),
        };
        let mut service = Service {
            id: fields.read("id", |id| Ok(id.text()?.into()))?,
            name: label,
            enabled: fields.read("enabled", Value::flag)?.unwrap_or(true),
            endpoint: address.endpoint,
            path: address.path,
            routes: Vec::new(),
        };
        for route in fields.list("routes")? {
            service.routes.extend(self.route(&route)?.0);
        }
        self.services.extend(keys.into_iter().map(|key| (key, place)));
        self.config.services.push(service);
        Ok(())
    }

    fn top_level_route(&mut self, value: &Value<'_>) -> Result<()> {
        let (route, service) = self.route(value)?;
        let place = service.map(|value| referred("service", &value, &self.services)).transpose()?;
        let routes = match place {
            Some(place) => &mut self.config.services[place].routes,
            None => &mut self.config.routes,
        };
        routes.extend(route);
        Ok(())
    }

    /// The route, unless it is for streams, and what it says of its service.
    fn route<'a>(&mut self, value: &Value<'a>) -> Result<(Option<Route>, Option<Value<'a>>)> {
        let fields = value.fields(ROUTE, &[known::ENTITY, known::ROUTE])?;
        fields.read("name", |name| self.route_names.add(name))?;
        let protocols = fields.each("protocols", protocol)?;
        for key in ["sources", "destinations"] {
            fields.each(key, network)?;
        }
        for key in ["strip_path", "preserve_host"] {
            fields.read(key, Value::flag)?;
        }
        fields.read("path_handling", path_handling)?;
        let route = Route {
            name: fields.read("name", |name| Ok(name.text()?.into()))?,
            hosts: route_hosts(&fields)?,
            paths: fields.each("paths", |path| path_rule(path, self.path_rule))?,
            methods: fields.each("methods", method)?,
            headers: fields.read("headers", headers)?.unwrap_or_default(),
            snis: fields.each("snis", sni)?,
            regex_priority: fields.read("regex_priority", Value::integer)?.unwrap_or(0),
            created_at: fields.read("created_at", Value::integer)?,
        };
        let is_stream = protocols.iter().any(|p| STREAM_PROTOCOLS.contains(p));
        Ok(((!is_stream).then_some(route), fields.get("service")))
    }

    fn upstream(&mut self, value: &Value<'_>) -> Result<()> {
        let read = ["name", "targets", "host_header"];
        let fields = value.fields(&read, &[known::ENTITY, known::UPSTREAM])?;
        let Some(name) = fields.get("name") else {
            return Err(fields.missing("name", "add name: and what services call it as their host"));
        };
        self.upstream_names.add(&name)?;
        let place = self.config.upstreams.len();
        let keys = names_of(&fields, "name")?;
        self.upstreams.extend(keys.into_iter().map(|key| (key, place)));
        self.config.upstreams.push(Upstream {
            name: host(&name)?.to_ascii_lowercase().into(),
            host_header: fields.read("host_header", |v| Ok(v.text()?.to_ascii_lowercase().into()))?,
            targets: fields.each("targets", |value| Ok(target(value)?.0))?,
        });
        Ok(())
    }

    fn top_level_target(&mut self, value: &Value<'_>) -> Result<()> {
        let (endpoint, upstream) = target(value)?;
        let Some(upstream) = upstream else {
            let next = "add upstream: and the name of one";
            return Err(value.fail(Problem::Missing { what: "upstream", next }));
        };
        let place = referred("upstream", &upstream, &self.upstreams)?;
        self.config.upstreams[place].targets.push(endpoint);
        Ok(())
    }
}

/// What others may call this entity by: its name and its id.
fn names_of(fields: &Fields<'_>, name: &str) -> Result<Vec<String>> {
    [name, "id"].into_iter().filter_map(|key| fields.get(key)).map(|value| value.text().map(str::to_owned)).collect()
}

/// Follows `name`, `{name: name}` or `{id: id}`.
fn referred(kind: &'static str, value: &Value<'_>, places: &HashMap<String, usize>) -> Result<usize> {
    let value = if value.is_map() {
        let fields = value.fields(&["name", "id"], &[])?;
        match fields.get("name").or_else(|| fields.get("id")) {
            Some(value) => value,
            None => return Err(fields.missing("name", "add name: or id:")),
        }
    } else {
        value.clone()
    };
    let name = value.text()?;
    places.get(name).copied().ok_or_else(|| {
        let name = name.to_owned();
        value.fail(Problem::UnknownReference { kind, name })
    })
}

fn host_of(endpoint: &Endpoint) -> Arc<str> {
    match endpoint {
        Endpoint::Tcp { host, .. } => host.clone(),
        Endpoint::Unix(_) => endpoint.to_string().into(),
    }
}
