//! Whether the gateway reaches its datastore.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

use crate::config::Endpoint as Address;
use crate::event::Endpoint;

/// 1 while the gateway's last attempt to connect or talk to it succeeded; before any attempt 1 if a connection is open.
#[derive(Debug)]
pub struct Datastore {
    address: Option<Address>,
    /// What the host says itself, and what look-ups said by network namespace.
    addresses: FxHashMap<u32, Vec<IpAddr>>,
    last_attempt: Option<bool>,
    open: usize,
}

impl Datastore {
    pub fn new(address: Option<Address>) -> Self {
        let addresses = match &address {
            Some(Address::Tcp { host, .. }) => host.parse().into_iter().map(|ip| (0, vec![ip])).collect(),
            Some(Address::Unix(_)) | None => FxHashMap::default(),
        };
        Datastore { address, addresses, last_attempt: None, open: 0 }
    }

    /// `None` when no datastore is configured.
    pub fn is_reachable(&self) -> Option<bool> {
        self.address.as_ref()?;
        Some(self.last_attempt.unwrap_or(self.open > 0))
    }

    /// Its host name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.address.as_ref().and_then(name_of)
    }

    /// Its host name's addresses, as a look-up in a network namespace gave them.
    pub fn resolved(&mut self, network: u32, name: &str, addresses: &[IpAddr]) {
        if self.name() == Some(name) {
            self.addresses.insert(network, addresses.to_vec());
        }
    }

    /// A connection to somewhere was found open, or its connect succeeded.
    pub fn connected(&mut self, remote: &Endpoint) {
        if self.is_it(remote) {
            self.open += 1;
            self.last_attempt = Some(true);
        }
    }

    /// A connection that was open before anything was attempted.
    pub fn found(&mut self, remote: &Endpoint) {
        if self.is_it(remote) {
            self.open += 1;
        }
    }

    /// A connection was closed, or its connect failed.
    pub fn closed(&mut self, remote: &Endpoint, has_failed: bool) {
        if self.is_it(remote) {
            if has_failed {
                self.last_attempt = Some(false);
            } else {
                self.open = self.open.saturating_sub(1);
            }
        }
    }

    /// The gateway read or wrote: a byte count, 0 at the end of the stream, or a negative errno.
    pub fn talked(&mut self, remote: &Endpoint, result: i32) {
        if result != 0 && self.address.is_some() && self.is_it(remote) {
            self.last_attempt = Some(result > 0);
        }
    }

    fn is_it(&self, remote: &Endpoint) -> bool {
        match (&self.address, remote) {
            (Some(Address::Tcp { port, .. }), Endpoint::Ip(SocketAddr::V4(_) | SocketAddr::V6(_))) => remote
                .ip()
                .is_some_and(|at| at.port() == *port && self.addresses.values().flatten().any(|ip| *ip == at.ip())),
            (Some(Address::Unix(path)), Endpoint::Unix(remote)) => **remote == *path.as_bytes(),
            _ => false,
        }
    }
}

/// An address's host name, if it has one.
pub fn name_of(address: &Address) -> Option<&str> {
    match address {
        Address::Tcp { host, .. } => host.parse::<IpAddr>().is_err().then_some(&**host),
        Address::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(remote: &str) -> Endpoint {
        Endpoint::Ip(remote.parse().unwrap())
    }

    fn datastore() -> Datastore {
        Datastore::new(Some("10.0.0.5:5432".parse().unwrap()))
    }

    #[test]
    fn without_configuration_nothing_is_told() {
        assert_eq!(Datastore::new(None).is_reachable(), None);
    }

    #[test]
    fn the_last_attempt_decides() {
        let mut datastore = datastore();
        assert_eq!(datastore.is_reachable(), Some(false));
        datastore.connected(&to("10.0.0.5:5432"));
        assert_eq!(datastore.is_reachable(), Some(true));
        datastore.closed(&to("10.0.0.5:5432"), false);
        assert_eq!(datastore.is_reachable(), Some(true), "a close is no failed attempt");
        datastore.closed(&to("10.0.0.5:5432"), true);
        assert_eq!(datastore.is_reachable(), Some(false));
        datastore.talked(&to("10.0.0.5:5432"), 12);
        assert_eq!(datastore.is_reachable(), Some(true));
        datastore.talked(&to("10.0.0.5:5432"), -104);
        assert_eq!(datastore.is_reachable(), Some(false));
    }

    #[test]
    fn before_any_attempt_an_open_connection_tells() {
        let mut datastore = datastore();
        datastore.found(&to("10.0.0.5:5432"));
        assert_eq!(datastore.is_reachable(), Some(true));
    }

    #[test]
    fn other_addresses_and_ports_say_nothing() {
        let mut datastore = datastore();
        datastore.connected(&to("10.0.0.5:80"));
        datastore.connected(&to("10.0.0.6:5432"));
        assert_eq!(datastore.is_reachable(), Some(false));
    }

    #[test]
    fn a_name_is_known_by_what_it_resolves_to() {
        let mut datastore = Datastore::new(Some("db.test:5432".parse().unwrap()));
        assert_eq!(datastore.name(), Some("db.test"));
        datastore.resolved(0, "db.test", &["10.0.0.5".parse().unwrap()]);
        datastore.connected(&to("10.0.0.5:5432"));
        assert_eq!(datastore.is_reachable(), Some(true));
    }
}
