//! Connections between two observed gateways: the upstream connection of one is the client connection of the other.

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Endpoint;
use crate::pipeline::fact::Ends;

/// Upstream connections as their far ends see them.
#[derive(Debug, Default)]
pub struct Internal {
    /// Server's end, client's end; with the network namespace where the address means nothing outside it.
    pairs: FxHashSet<(u32, SocketAddr, SocketAddr)>,
    /// Connections to UNIX sockets by path.
    paths: FxHashMap<Arc<[u8]>, usize>,
}

impl Internal {
    /// An upstream connection whose own port may be known by now.
    pub fn upstream_opened(&mut self, ends: &Ends) {
        match (&ends.local, &ends.remote) {
            (Endpoint::Ip(local), Endpoint::Ip(remote)) if local.port() != 0 => {
                self.pairs.insert(key(ends.network, *remote, *local));
            }
            (_, Endpoint::Unix(path)) => *self.paths.entry(path.clone()).or_default() += 1,
            _ => {}
        }
    }

    /// An upstream connection is gone.
    pub fn upstream_closed(&mut self, ends: &Ends) {
        match (&ends.local, &ends.remote) {
            (Endpoint::Ip(local), Endpoint::Ip(remote)) => {
                self.pairs.remove(&key(ends.network, *remote, *local));
            }
            (_, Endpoint::Unix(path)) => {
                if let Some(count) = self.paths.get_mut(path) {
                    *count -= 1;
                    if *count == 0 {
                        self.paths.remove(path);
                    }
                }
            }
            (Endpoint::Unix(_), Endpoint::Ip(_)) => {}
        }
    }

    /// Whether a client's connection comes from an observed gateway.
    pub fn is_internal(&self, ends: &Ends) -> bool {
        match (&ends.local, &ends.remote) {
            (Endpoint::Ip(local), Endpoint::Ip(remote)) => self.pairs.contains(&key(ends.network, *local, *remote)),
            (Endpoint::Unix(path), _) => self.paths.contains_key(path),
            (Endpoint::Ip(_), Endpoint::Unix(_)) => false,
        }
    }
}

fn key(network: u32, server: SocketAddr, client: SocketAddr) -> (u32, SocketAddr, SocketAddr) {
    (if server.ip().is_loopback() { network } else { 0 }, server, client)
}
