//! The observer's own file; its form is in the module's documentation above.

use super::document::{Document, Value};
use super::pattern::PathRule;
use super::read::{Names, address, endpoint, host, path_rule, route_hosts};
use super::{Config, ConfigError, Route, Service, Upstream};

const SERVICE: &[&str] = &["name", "url", "protocol", "host", "port", "path", "routes"];

pub fn parse(document: &Document) -> Result<Config, ConfigError> {
    let top = document.root().fields(&["services", "upstreams", "datastore", "admin_ports"], &[])?;
    let (mut services, mut routes) = (Names::new("service"), Names::new("route"));
    let mut upstreams = Names::new("upstream");
    Ok(Config {
        services: top.each("services", |value| service(value, &mut services, &mut routes))?,
        upstreams: top.each("upstreams", |value| upstream(value, &mut upstreams))?,
        datastore: top.read("datastore", endpoint)?,
        admin_ports: top.each("admin_ports", Value::port)?,
        ..Config::default()
    })
}

fn service(value: &Value<'_>, names: &mut Names, route_names: &mut Names) -> Result<Service, ConfigError> {
    let fields = value.fields(SERVICE, &[])?;
    let Some(name) = fields.get("name") else {
        return Err(fields.missing("name", "add name: and the label it has in the metrics"));
    };
    names.add(&name)?;
    let address = address(&fields, 443)?;
    Ok(Service {
        id: None,
        name: name.text()?.into(),
        enabled: true,
        endpoint: address.endpoint,
        path: address.path,
        routes: fields.each("routes", |value| route(value, route_names))?,
    })
}

fn route(value: &Value<'_>, names: &mut Names) -> Result<Route, ConfigError> {
    let fields = value.fields(&["name", "hosts", "paths", "methods"], &[])?;
    fields.read("name", |name| names.add(name))?;
    let route = Route {
        name: fields.read("name", |name| Ok(name.text()?.into()))?,
        hosts: route_hosts(&fields)?,
        paths: fields.each("paths", |path| path_rule(path, PathRule::parse))?,
        methods: fields.each("methods", |m| Ok(m.text()?.to_ascii_uppercase().into()))?,
        ..Route::default()
    };
    if route.hosts.is_empty() && route.paths.is_empty() && route.methods.is_empty() {
        return Err(fields.missing("condition", "add hosts:, paths: or methods:"));
    }
    Ok(route)
}

fn upstream(value: &Value<'_>, names: &mut Names) -> Result<Upstream, ConfigError> {
    let fields = value.fields(&["name", "targets"], &[])?;
    let Some(name) = fields.get("name") else {
        return Err(fields.missing("name", "add name: and what services call it as their host"));
    };
    names.add(&name)?;
    Ok(Upstream {
        name: host(&name)?.to_ascii_lowercase().into(),
        host_header: None,
        targets: fields.each("targets", endpoint)?,
    })
}
