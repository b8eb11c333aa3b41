//! Services by the addresses of their targets.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Peer;
use super::services::upstream_of;
use crate::config::{Config, Endpoint};

/// The services at each address. A service is listed once for every target that puts it there, so that taking one
/// name's address away leaves what another name gave.
pub struct Targets {
    by_address: FxHashMap<SocketAddr, Vec<u32>>,
    by_socket: FxHashMap<Box<[u8]>, Vec<u32>>,
    names: BTreeMap<Arc<str>, Name>,
}

/// A host name, who uses it with which port, and its addresses, sorted.
#[derive(Default)]
struct Name {
    users: Vec<(u32, u16)>,
    addresses: Vec<IpAddr>,
}

impl Targets {
    pub fn new(config: &Config) -> Self {
        let mut targets =
            Self { by_address: FxHashMap::default(), by_socket: FxHashMap::default(), names: BTreeMap::new() };
        for (service, id) in config.services.iter().zip(0..) {
            match upstream_of(service, config) {
                Some(upstream) => upstream.targets.iter().for_each(|t| targets.add(id, t)),
                None => targets.add(id, &service.endpoint),
            }
        }
        targets
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(|name| &**name)
    }

    /// The names that have addresses, with them.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &[IpAddr])> {
        let names = self.names.iter().filter(|(_, name)| !name.addresses.is_empty());
        names.map(|(name, entry)| (&**name, &*entry.addresses))
    }

    pub fn resolved(&mut self, name: &str, addresses: &[IpAddr]) {
        let name = name.to_ascii_lowercase();
        let Some(entry) = self.names.get_mut(&*name) else {
            return;
        };
        let mut addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        addresses.sort_unstable();
        addresses.dedup();
        // A resolver turns its answers round from one to the next: most bring nothing new.
        if entry.addresses == addresses {
            return;
        }
        for &(id, port) in &entry.users {
            for &ip in &entry.addresses {
                remove(&mut self.by_address, SocketAddr::new(ip, port), id);
            }
            for &ip in &addresses {
                insert(&mut self.by_address, SocketAddr::new(ip, port), id);
            }
        }
        entry.addresses = addresses;
    }

    /// Puts the services at `peer` into `found`, each once, in the configuration's order, in place of what was there.
    pub fn at(&self, peer: Peer<'_>, found: &mut Vec<u32>) {
        let ids = match peer {
            Peer::Ip(address) => {
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                self.by_address.get(&address)
            }
            Peer::Unix(path) => self.by_socket.get(path),
        };
        found.clear();
        found.extend(ids.into_iter().flatten());
        found.dedup();
    }

    fn add(&mut self, id: u32, target: &Endpoint) {
        match target {
            Endpoint::Unix(path) => {
                let ids = self.by_socket.entry(path.as_bytes().into()).or_default();
                insert_sorted(ids, id);
            }
            Endpoint::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => {
                    let address = SocketAddr::new(ip.to_canonical(), *port);
                    insert(&mut self.by_address, address, id);
                }
                Err(_) => {
                    let name = self.names.entry(host.clone()).or_default();
                    name.users.push((id, *port));
                }
            },
        }
    }
}

fn insert(map: &mut FxHashMap<SocketAddr, Vec<u32>>, address: SocketAddr, id: u32) {
    insert_sorted(map.entry(address).or_default(), id);
}

fn insert_sorted(ids: &mut Vec<u32>, id: u32) {
    ids.insert(ids.partition_point(|&other| other < id), id);
}

fn remove(map: &mut FxHashMap<SocketAddr, Vec<u32>>, address: SocketAddr, id: u32) {
    let Some(ids) = map.get_mut(&address) else {
        return;
    };
    if let Ok(at) = ids.binary_search(&id) {
        ids.remove(at);
    }
    if ids.is_empty() {
        map.remove(&address);
    }
}
