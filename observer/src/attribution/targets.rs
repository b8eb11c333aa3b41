//! Services by the addresses of their targets.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use super::names::Names;
use super::services::upstream_of;
use super::{Peer, UpstreamFacts};
use crate::config::{Config, Endpoint};

/// The services at each address: those whose configuration has it, and those whose targets' names lead there.
pub struct Targets {
    by_address: FxHashMap<SocketAddr, Vec<u32>>,
    by_socket: FxHashMap<Box<[u8]>, Vec<u32>>,
    pub names: Names,
}

impl Targets {
    pub fn new(config: &Config) -> Self {
        let mut targets =
            Self { by_address: FxHashMap::default(), by_socket: FxHashMap::default(), names: Names::default() };
        for (service, id) in config.services.iter().zip(0..) {
            match upstream_of(service, config) {
                Some(upstream) => upstream.targets.iter().for_each(|t| targets.add(id, t)),
                None => targets.add(id, &service.endpoint),
            }
        }
        targets
    }

    /// Puts the services that the upstream may be into `found`, each once, in the configuration's order, in place of what
    /// was there.
    pub fn at(&self, upstream: &UpstreamFacts<'_>, found: &mut Vec<u32>) {
        found.clear();
        match upstream.peer {
            Peer::Ip(address) => {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                found.extend(self.by_address.get(&address).into_iter().flatten());
                self.names.at(upstream.network, address, upstream.time_ns, found);
            }
            Peer::Unix(path) => found.extend(self.by_socket.get(path).into_iter().flatten()),
        }
        found.sort_unstable();
        found.dedup();
    }

    /// Whether the upstream may be this service.
    pub fn has(&self, id: u32, upstream: &UpstreamFacts<'_>) -> bool {
        let is_in = |ids: Option<&Vec<u32>>| ids.is_some_and(|ids| ids.binary_search(&id).is_ok());
        match upstream.peer {
            Peer::Ip(address) => {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                is_in(self.by_address.get(&address)) || self.names.has(id, upstream.network, address, upstream.time_ns)
            }
            Peer::Unix(path) => is_in(self.by_socket.get(path)),
        }
    }

    /// Services are added in the configuration's order: each list is sorted.
    fn add(&mut self, id: u32, target: &Endpoint) {
        match target {
            Endpoint::Unix(path) => self.by_socket.entry(path.as_bytes().into()).or_default().push(id),
            Endpoint::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => self.by_address.entry(SocketAddr::new(ip.to_canonical(), *port)).or_default().push(id),
                Err(_) => self.names.add(host, id, *port),
            },
        }
    }
}
