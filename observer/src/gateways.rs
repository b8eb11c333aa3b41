//! Which processes belong to which gateway, and where gateways listen.

use std::net::SocketAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::event::{Cookie, Endpoint, Opened, Process, ProcessChange, Role};
use crate::snapshot::Gateway as Watched;

/// Index of a gateway among those seen so far.
pub type GatewayId = usize;

/// Places where a gateway listens that are remembered, to know it again when it was restarted.
const PLACES_MAX: usize = 256;

/// All gateways seen since the start.
#[derive(Debug, Default)]
pub struct Gateways {
    processes: FxHashMap<u32, GatewayId>,
    gateways: Vec<Gateway>,
    listeners: FxHashMap<Cookie, Listener>,
    /// TCP listeners' cookies by network namespace and port.
    ports: FxHashMap<(u32, u16), Vec<Cookie>>,
    is_changed: bool,
}

/// One gateway: a process tree that listens.
#[derive(Debug)]
struct Gateway {
    root: u32,
    /// Its program's name.
    name: Arc<str>,
    label: Arc<str>,
    processes: usize,
    /// Where it listens, or did: network namespace and address.
    places: Vec<(u32, Endpoint)>,
}

impl Gateway {
    fn is_alive(&self) -> bool {
        self.processes > 0 && !self.places.is_empty()
    }
}

#[derive(Debug)]
struct Listener {
    local: Endpoint,
    gateway: GatewayId,
    network: u32,
}

impl Gateways {
    /// Takes a process's change.
    pub fn process(&mut self, event: &Process) {
        self.is_changed = true;
        match &event.change {
            ProcessChange::Found { root, name } => {
                let gateway = self.with_root(*root, name);
                self.add(event.process, gateway);
            }
            ProcessChange::Forked { parent } => {
                if let Some(&gateway) = self.processes.get(parent) {
                    self.add(event.process, gateway);
                }
            }
            ProcessChange::Executed { name, watched: true } => {
                if !self.processes.contains_key(&event.process) {
                    let gateway = self.with_root(event.process, name);
                    self.add(event.process, gateway);
                }
            }
            ProcessChange::Executed { watched: false, .. } | ProcessChange::Exited => self.remove(event.process),
        }
    }

    /// Takes a listening socket; a process that nobody told of becomes a gateway by it.
    pub fn listening(&mut self, opened: &Opened) {
        self.is_changed = true;
        let gateway = match self.processes.get(&opened.process) {
            Some(&gateway) => gateway,
            None => {
                let gateway = self.with_root(opened.process, "gateway");
                self.add(opened.process, gateway);
                gateway
            }
        };
        let gateway = self.started_again(gateway, opened);
        let place = (opened.network, opened.local.clone());
        let places = &mut self.gateways[gateway].places;
        if !places.contains(&place) && places.len() < PLACES_MAX {
            places.push(place);
        }
        if let Endpoint::Ip(local) = opened.local {
            let cookies = self.ports.entry((opened.network, local.port())).or_default();
            if !cookies.contains(&opened.socket) {
                cookies.push(opened.socket);
            }
        }
        let listener = Listener { local: opened.local.clone(), gateway, network: opened.network };
        self.listeners.insert(opened.socket, listener);
    }

    /// Takes a listening socket's end.
    pub fn stopped_listening(&mut self, socket: Cookie) {
        let Some(listener) = self.listeners.remove(&socket) else { return };
        if let Endpoint::Ip(local) = listener.local
            && let Some(cookies) = self.ports.get_mut(&(listener.network, local.port()))
        {
            cookies.retain(|&cookie| cookie != socket);
        }
    }

    /// The gateway that a process belongs to.
    pub fn of_process(&self, process: u32) -> Option<GatewayId> {
        self.processes.get(&process).copied()
    }

    /// The gateway that listens at this end of a connection.
    pub fn listening_at(&self, network: u32, local: SocketAddr) -> Option<GatewayId> {
        let cookies = self.ports.get(&(network, local.port()))?;
        let listeners = || cookies.iter().filter_map(|cookie| self.listeners.get(cookie));
        let listeners = || listeners().filter(|listener| self.is_running(listener.gateway));
        let exact = listeners().find(|listener| listener.local.ip() == Some(local));
        let any = || listeners().find(|listener| listener.local.ip().is_some_and(|ip| ip.ip().is_unspecified()));
        exact.or_else(any).map(|listener| listener.gateway)
    }

    /// Whose connection it is, and which side: who listens at its local end accepted it. A connection that belongs to no
    /// gateway is none of ours.
    pub fn side(&self, opened: &Opened) -> Option<(Role, GatewayId)> {
        let by_process = self.of_process(opened.process);
        let Some(local) = opened.local.ip() else {
            return Some((opened.role, by_process?));
        };
        match self.listening_at(opened.network, local) {
            Some(gateway) => Some((Role::Client, gateway)),
            None if opened.role == Role::Upstream => Some((Role::Upstream, by_process?)),
            None => None,
        }
    }

    /// The gateway's name as a label: its program's name, with its first process's id if another has the same name.
    pub fn label(&self, gateway: GatewayId) -> Arc<str> {
        self.gateways.get(gateway).map_or_else(|| "unknown".into(), |gateway| gateway.label.clone())
    }

    /// Whether the gateway has a process.
    pub fn is_running(&self, gateway: GatewayId) -> bool {
        self.gateways.get(gateway).is_some_and(|gateway| gateway.processes > 0)
    }

    /// Gateways that have processes and have been seen to listen.
    pub fn alive(&self) -> usize {
        self.gateways.iter().filter(|gateway| gateway.is_alive()).count()
    }

    /// Those that have processes and have been seen to listen, if that changed since it was asked for last.
    pub fn changed(&mut self) -> Option<Vec<Watched>> {
        if !std::mem::take(&mut self.is_changed) {
            return None;
        }
        let alive = self.gateways.iter().filter(|gateway| gateway.is_alive());
        let watched = |gateway: &Gateway| Watched {
            name: gateway.label.to_string(),
            pid: gateway.root,
            workers: (gateway.processes - 1).max(1),
        };
        Some(alive.map(watched).collect())
    }

    /// Gateways seen so far.
    pub fn count(&self) -> usize {
        self.gateways.len()
    }

    fn with_root(&mut self, root: u32, name: &str) -> GatewayId {
        if let Some(found) = self.gateways.iter().position(|gateway| gateway.root == root && gateway.processes > 0) {
            return found;
        }
        let is_taken = self.gateways.iter().any(|gateway| &*gateway.label == name);
        let label = if is_taken { format!("{name}-{root}").into() } else { name.into() };
        self.gateways.push(Gateway { root, name: name.into(), label, processes: 0, places: Vec::new() });
        self.gateways.len() - 1
    }

    /// A gateway that listens for the first time where one of the same program did that is gone is that one, started
    /// again: it goes on under the same label.
    fn started_again(&mut self, new: GatewayId, opened: &Opened) -> GatewayId {
        let name = &self.gateways[new].name;
        let is_it = |gateway: &Gateway| {
            let is_there = |(network, local): &(u32, Endpoint)| *network == opened.network && *local == opened.local;
            gateway.processes == 0 && gateway.name == *name && gateway.places.iter().any(is_there)
        };
        if !self.gateways[new].places.is_empty() {
            return new;
        }
        let Some(old) = self.gateways.iter().position(is_it) else { return new };
        for gateway in self.processes.values_mut().filter(|gateway| **gateway == new) {
            *gateway = old;
        }
        let moved = std::mem::take(&mut self.gateways[new].processes);
        self.gateways[old].processes = moved;
        self.gateways[old].root = self.gateways[new].root;
        if new + 1 == self.gateways.len() {
            self.gateways.pop();
        }
        old
    }

    fn add(&mut self, process: u32, gateway: GatewayId) {
        self.remove(process);
        self.processes.insert(process, gateway);
        self.gateways[gateway].processes += 1;
    }

    fn remove(&mut self, process: u32) {
        if let Some(gateway) = self.processes.remove(&process) {
            self.gateways[gateway].processes -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Origin;

    fn process(process: u32, change: ProcessChange) -> Process {
        Process { time_ns: 0, process, change }
    }

    fn listener(socket: Cookie, process: u32, network: u32, local: &str) -> Opened {
        Opened {
            time_ns: 0,
            socket,
            sequence: 0,
            process,
            thread: process,
            network,
            role: Role::Listener,
            origin: Origin::Scan,
            state: 10,
            local: Endpoint::Ip(local.parse().unwrap()),
            remote: Endpoint::Ip("0.0.0.0:0".parse().unwrap()),
        }
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn children_belong_to_their_parents_gateway_until_they_end() {
        let mut gateways = Gateways::default();
        gateways.process(&process(10, ProcessChange::Found { root: 10, name: "nginx".into() }));
        gateways.process(&process(11, ProcessChange::Forked { parent: 10 }));
        assert_eq!(gateways.of_process(11), gateways.of_process(10));
        gateways.process(&process(11, ProcessChange::Exited));
        assert_eq!((gateways.of_process(11), gateways.is_running(0)), (None, true));
        gateways.process(&process(10, ProcessChange::Exited));
        assert!(!gateways.is_running(0));
    }

    #[test]
    fn a_new_master_executed_by_the_old_one_stays_the_same_gateway() {
        let mut gateways = Gateways::default();
        gateways.process(&process(10, ProcessChange::Found { root: 10, name: "nginx".into() }));
        gateways.process(&process(20, ProcessChange::Forked { parent: 10 }));
        gateways.process(&process(20, ProcessChange::Executed { name: "nginx".into(), watched: true }));
        assert_eq!((gateways.of_process(20), gateways.count()), (Some(0), 1));
    }

    #[test]
    fn an_address_is_looked_up_in_its_own_network_namespace() {
        let mut gateways = Gateways::default();
        gateways.process(&process(10, ProcessChange::Found { root: 10, name: "nginx".into() }));
        gateways.process(&process(20, ProcessChange::Found { root: 20, name: "nginx".into() }));
        gateways.listening(&listener(1, 10, 100, "0.0.0.0:80"));
        gateways.listening(&listener(2, 20, 200, "10.0.0.1:80"));
        assert_eq!(gateways.listening_at(100, address("10.0.0.9:80")), Some(0));
        assert_eq!(gateways.listening_at(200, address("10.0.0.1:80")), Some(1));
        assert_eq!(gateways.listening_at(200, address("10.0.0.2:80")), None);
        assert_eq!(gateways.listening_at(300, address("10.0.0.1:80")), None);
        gateways.stopped_listening(1);
        assert_eq!(gateways.listening_at(100, address("10.0.0.9:80")), None);
    }

    #[test]
    fn a_gateway_that_is_started_again_is_the_same_gateway() {
        let mut gateways = Gateways::default();
        for id in [10, 20] {
            gateways.process(&process(id, ProcessChange::Found { root: id, name: "nginx".into() }));
            gateways.listening(&listener(u64::from(id), id, 1, &format!("127.0.0.1:{id}")));
        }
        for (old, new) in [(20, 30), (10, 40)] {
            gateways.process(&process(old, ProcessChange::Exited));
            gateways.process(&process(new, ProcessChange::Executed { name: "nginx".into(), watched: true }));
            gateways.listening(&listener(u64::from(new), new, 1, &format!("127.0.0.1:{new}")));
        }
        let label = |id| gateways.label(gateways.of_process(id).unwrap());
        assert_eq!((&*label(30), &*label(40), gateways.count()), ("nginx-30", "nginx-40", 4), "other places");

        let mut gateways = Gateways::default();
        for id in [10, 20] {
            gateways.process(&process(id, ProcessChange::Found { root: id, name: "nginx".into() }));
            gateways.listening(&listener(u64::from(id), id, 1, &format!("127.0.0.1:{id}")));
        }
        for (old, new, place) in [(20, 30, 20), (10, 40, 10), (30, 50, 20)] {
            gateways.process(&process(old, ProcessChange::Exited));
            gateways.process(&process(new, ProcessChange::Executed { name: "nginx".into(), watched: true }));
            gateways.listening(&listener(u64::from(new), new, 1, &format!("127.0.0.1:{place}")));
            let expected = if place == 10 { "nginx" } else { "nginx-20" };
            assert_eq!(&*gateways.label(gateways.of_process(new).unwrap()), expected);
            assert_eq!(gateways.listening_at(1, address(&format!("127.0.0.1:{place}"))), gateways.of_process(new));
        }
        assert_eq!((gateways.count(), gateways.alive()), (2, 2));
    }

    #[test]
    fn a_second_gateway_of_one_name_is_told_apart_by_its_first_process() {
        let mut gateways = Gateways::default();
        for id in [10, 20] {
            gateways.process(&process(id, ProcessChange::Found { root: id, name: "nginx".into() }));
            gateways.listening(&listener(u64::from(id), id, 1, &format!("127.0.0.1:{id}")));
        }
        assert_eq!((&*gateways.label(0), &*gateways.label(1)), ("nginx", "nginx-20"));
        assert_eq!(gateways.alive(), 2);
    }
}
