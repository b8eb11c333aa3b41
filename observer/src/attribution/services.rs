//! What the attribution knows of each service, by its number: its place in the configuration.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::host::{lower, split};
use crate::config::{Config, Endpoint, Service, Upstream};

/// All services.
pub struct Services {
    all: Vec<Known>,
    /// Services by the host names that requests to them carry, without port.
    by_host: FxHashMap<Box<str>, Vec<u32>>,
}

/// One service.
pub struct Known {
    pub name: Arc<str>,
    pub enabled: bool,
    /// What stands before the path of every request to it; empty where nothing does.
    pub path: Box<[u8]>,
    /// Hosts that requests to it may carry, with the port they then have.
    hosts: Vec<HostOf>,
}

/// A host and the port that goes with it; any port where it has none.
type HostOf = (Arc<str>, Option<u16>);

impl Services {
    pub fn new(config: &Config) -> Self {
        let all: Vec<Known> = config.services.iter().map(|s| known(s, config)).collect();
        let mut by_host: FxHashMap<Box<str>, Vec<u32>> = FxHashMap::default();
        for (service, id) in all.iter().zip(0..) {
            for (host, _) in &service.hosts {
                let ids = by_host.entry((**host).into()).or_default();
                if ids.last() != Some(&id) {
                    ids.push(id);
                }
            }
        }
        Self { all, by_host }
    }

    pub fn get(&self, id: u32) -> &Known {
        &self.all[id as usize]
    }

    /// Puts the services whose requests carry this `Host` into `found`.
    pub fn of_host(&self, host: Option<&str>, found: &mut Vec<u32>) {
        let Some(host) = host else { return };
        let name = lower(split(host).0);
        if let Some(ids) = self.by_host.get(&*name) {
            found.extend(ids.iter().filter(|&&id| self.get(id).has_host(host)));
        }
    }
}

impl Known {
    /// Whether requests to this service may carry this `Host`. Without a port it may be any.
    pub fn has_host(&self, host: &str) -> bool {
        let (name, port) = split(host);
        self.hosts.iter().any(|(own, own_port)| {
            own.eq_ignore_ascii_case(name)
                && (port.is_none() || own_port.is_none() || port == *own_port)
        })
    }
}

fn known(service: &Service, config: &Config) -> Known {
    let hosts = match upstream_of(service, config) {
        Some(upstream) => balanced_hosts(upstream),
        None => host_of(&service.endpoint).into_iter().collect(),
    };
    let path = service.path.as_deref().unwrap_or_default();
    Known {
        name: service.name.clone(),
        enabled: service.enabled,
        // `/api/` and `/api` both stand before `/api`.
        path: path.trim_end_matches('/').as_bytes().into(),
        hosts,
    }
}

/// The upstream that a service's host names, if it does.
pub fn upstream_of<'a>(service: &Service, config: &'a Config) -> Option<&'a Upstream> {
    match &service.endpoint {
        Endpoint::Tcp { host, .. } => config.upstreams.iter().find(|u| u.name == *host),
        Endpoint::Unix(_) => None,
    }
}

/// A balancer's name has no port of its own; its targets have.
fn balanced_hosts(upstream: &Upstream) -> Vec<HostOf> {
    let header = upstream.host_header.as_deref().map(|header| {
        let (name, port) = split(header);
        (name.into(), port)
    });
    let name = (upstream.name.clone(), None);
    let targets = upstream.targets.iter().filter_map(host_of);
    [name].into_iter().chain(header).chain(targets).collect()
}

fn host_of(endpoint: &Endpoint) -> Option<HostOf> {
    match endpoint {
        Endpoint::Tcp { host, port } => Some((host.clone(), Some(*port))),
        // Such requests carry whatever the gateway is told to send, `localhost` by default: no evidence.
        Endpoint::Unix(_) => None,
    }
}
