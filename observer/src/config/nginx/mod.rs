//! nginx's own configuration, as far as it says which request goes where.
//!
//! Read by a small tokenizer of the observer's own: what is needed is nginx's quoting, includes and the place of each
//! directive, not a grammar of its thousand directives. Of the crates for it, one has a closed grammar and has not moved
//! for years, the others keep a linter's tree; none follows includes.
//!
//! Every `upstream` block of `http` and every other target of `proxy_pass` and `grpc_pass` is a service: an upstream by
//! its name, another target by what nginx calls it (`$proxy_host`: the host, and the port where it is not the scheme's
//! own), a UNIX socket by `unix:` and its path. Every `location` is a route to the service that it passes to. Rewrites,
//! `try_files` and `error_page` are not followed, and a target that a variable names gives no service: those requests
//! are told by where they went.

mod directive;
pub mod glob;
pub mod lexer;
mod server;
mod target;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use super::endpoint::Endpoint;
use super::files::Files;
use super::{Config, ConfigError, Listen, Service, Upstream};
use directive::Directive;
use target::{Target, upstream_server};

/// Directives that pass a request on by HTTP, and the scheme that their targets have without one.
const HTTP_PASSES: [(&str, &str); 2] = [("proxy_pass", ""), ("grpc_pass", "grpc")];

/// Directives that pass a request on by another protocol.
const OTHER_PASSES: [&str; 4] = ["fastcgi_pass", "uwsgi_pass", "scgi_pass", "memcached_pass"];

type Result<T> = std::result::Result<T, ConfigError>;

/// Reads the main file and what it includes.
pub fn load(path: &Path, files: &mut Files) -> Result<Config> {
    let directives = directive::read(path, files)?;
    let mut reader = Reader::default();
    for http in directives.iter().filter(|directive| directive.name == "http") {
        reader.http(http)?;
    }
    Ok(reader.config())
}

#[derive(Default)]
struct Reader {
    config: Config,
    /// Names of upstreams, lower-cased, that requests are passed to by HTTP.
    http: HashSet<String>,
    /// The same for other protocols.
    other: HashSet<String>,
    /// Ports that servers with nothing but nginx's status listen on.
    status_ports: BTreeSet<u16>,
    /// Ports that other servers listen on.
    proxy_ports: BTreeSet<u16>,
}

impl Reader {
    fn http(&mut self, http: &Directive) -> Result<()> {
        for upstream in http.inner().iter().filter(|directive| directive.name == "upstream") {
            self.upstream(upstream)?;
        }
        for server in http.inner().iter().filter(|directive| directive.name == "server") {
            let is_status = is_status(server);
            let server = self.server(server)?;
            for listen in &server.listens {
                if let Listen::Tcp { ports, .. } = listen {
                    let kind = if is_status { &mut self.status_ports } else { &mut self.proxy_ports };
                    kind.extend(ports.clone());
                }
            }
            self.config.servers.push(server);
        }
        Ok(())
    }

    fn upstream(&mut self, block: &Directive) -> Result<()> {
        let name = block.first()?;
        let mut targets = Vec::new();
        for server in block.inner().iter().filter(|directive| directive.name == "server") {
            targets.extend(upstream_server(server)?);
        }
        let upstream = Upstream { name: name.to_ascii_lowercase().into(), host_header: None, targets };
        self.config.services.push(Service::new(name, Endpoint::tcp(name, 80)));
        self.config.upstreams.push(upstream);
        Ok(())
    }

    /// The service that a pass directive names, made where it is new.
    fn service(&mut self, pass: &Directive, scheme: &str) -> Result<Option<Arc<str>>> {
        let Target::Static { name, endpoint } = target::read(pass, scheme)? else { return Ok(None) };
        if let Endpoint::Tcp { host, .. } = &endpoint
            && let Some(at) = self.config.upstreams.iter().position(|upstream| upstream.name == *host)
        {
            self.http.insert(host.to_string());
            // Services of upstreams come first, in the same order.
            return Ok(Some(self.config.services[at].name.clone()));
        }
        if let Some(service) = self.config.services.iter().find(|service| *service.name == *name) {
            return Ok(Some(service.name.clone()));
        }
        let service = Service::new(&name, endpoint);
        let name = service.name.clone();
        self.config.services.push(service);
        Ok(Some(name))
    }

    /// Everything, without upstreams that are no services since they only speak another protocol than HTTP.
    fn config(self) -> Config {
        let Self { mut config, http, other, status_ports, proxy_ports } = self;
        config.admin_ports = status_ports.difference(&proxy_ports).copied().collect();
        let is_other = |name: &str| other.contains(name) && !http.contains(name);
        config.services.retain(|service| !is_other(&service.name.to_ascii_lowercase()));
        config.upstreams.retain(|upstream| !is_other(&upstream.name));
        config
    }
}

/// Whether a server has nothing but locations that show nginx's status.
fn is_status(server: &Directive) -> bool {
    let mut locations = server.inner().iter().filter(|directive| directive.name == "location").peekable();
    let shows_status = |location: &Directive| location.inner().iter().any(|own| own.name == "stub_status");
    locations.peek().is_some() && locations.all(shows_status)
}
