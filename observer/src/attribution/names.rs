//! Services by the addresses of their targets' names.
//!
//! A name's addresses come from two sides. Those that the gateway itself was told by a name server hold in its network
//! namespace until their time to live is over; there they take the place of those that were looked up. Looked up are
//! names in the gateway's network namespace where that is another than the host's, else by the host's resolver.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::dns::{Answer, Question};
use crate::event::Nanoseconds;

/// The network namespace of what the host's resolver says.
const ANY_NETWORK: u32 = 0;

/// Addresses that name servers told, kept of one name; then those go that are over first.
pub const ANSWERS_MAX: usize = 256;

/// Servers of names (SRV) whose addresses are waited for.
const SERVERS_MAX: usize = 4096;

/// A gateway that asks for a name connects right after the answer, whatever its time to live.
const ANSWER_NS_MIN: Nanoseconds = SECOND_NS;

const SECOND_NS: Nanoseconds = 1_000_000_000;

/// Index of a name.
type NameId = usize;

/// All names of targets.
#[derive(Default)]
pub struct Names {
    ids: BTreeMap<Arc<str>, NameId>,
    all: Vec<Name>,
    looked_up: FxHashMap<Place, Vec<NameId>>,
    answered: FxHashMap<Place, Vec<NameId>>,
    /// The names of each service's targets.
    of_service: FxHashMap<u32, Vec<NameId>>,
    /// Names, and the ports they are served at, by their servers' names.
    servers: FxHashMap<Box<str>, Vec<(NameId, u16)>>,
}

/// An address in a network namespace.
type Place = (u32, IpAddr);

/// A host name, and who uses it with which port.
#[derive(Default)]
struct Name {
    users: Vec<(u32, u16)>,
    /// By network namespace, sorted.
    looked_up: FxHashMap<u32, Vec<IpAddr>>,
    answers: Vec<Held>,
}

/// An address that a name server told.
#[derive(Clone, Copy)]
struct Held {
    place: Place,
    /// The port that goes with it; else the users'.
    port: Option<u16>,
    until_ns: Nanoseconds,
}

impl Names {
    /// A service has a target of this name, in lower case.
    pub fn add(&mut self, name: &Arc<str>, service: u32, port: u16) {
        let id = *self.ids.entry(name.clone()).or_insert(self.all.len());
        if id == self.all.len() {
            self.all.push(Name::default());
        }
        self.all[id].users.push((service, port));
        self.of_service.entry(service).or_default().push(id);
    }

    /// All, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.ids.keys().map(|name| &**name)
    }

    /// Takes the addresses that a look-up in a network namespace gave, in place of those it gave before.
    pub fn resolved(&mut self, network: u32, name: &str, addresses: &[IpAddr]) {
        let Some(&id) = self.ids.get(&*name.to_ascii_lowercase()) else { return };
        let mut addresses: Vec<IpAddr> = addresses.iter().map(IpAddr::to_canonical).collect();
        addresses.sort_unstable();
        addresses.dedup();
        let held = self.all[id].looked_up.entry(network).or_default();
        // A resolver turns its answers round from one to the next: most bring nothing new.
        if *held == addresses {
            return;
        }
        for ip in std::mem::replace(held, addresses.clone()) {
            remove(&mut self.looked_up, (network, ip), id);
        }
        for ip in addresses {
            insert(&mut self.looked_up, (network, ip), id);
        }
    }

    /// Takes what a name server told a gateway of this network namespace.
    pub fn answered(&mut self, network: u32, answer: &Answer, time_ns: Nanoseconds) {
        let until_ns = |ttl_s: u32| time_ns + (u64::from(ttl_s) * SECOND_NS).max(ANSWER_NS_MIN);
        let held = |ip, port, ttl_s| Held { place: (network, ip), port, until_ns: until_ns(ttl_s) };
        if let Some(users) = self.servers.get(&*answer.name) {
            for (id, port) in users.clone() {
                for address in &answer.addresses {
                    self.hold(id, held(address.ip, Some(port), address.ttl_s));
                }
            }
        }
        let Some(&id) = self.ids.get(service_name(answer)) else { return };
        for address in &answer.addresses {
            self.hold(id, held(address.ip, address.port, address.ttl_s));
        }
        for target in &answer.targets {
            if self.servers.len() >= SERVERS_MAX {
                break;
            }
            let users = self.servers.entry(target.name.as_str().into()).or_default();
            if !users.contains(&(id, target.port)) {
                users.push((id, target.port));
            }
        }
    }

    /// Whether a service is at an address by a name that holds, as [`Self::at`] finds it.
    pub fn has(&self, service: u32, network: u32, address: SocketAddr, time_ns: Nanoseconds) -> bool {
        let place = (network, address.ip());
        let names = self.of_service.get(&service).into_iter().flatten().map(|&id| &self.all[id]);
        names.into_iter().any(|name| {
            let is_its = |told: Option<u16>| name.uses(service, address.port(), told);
            let is_looked_up = |asked: u32| {
                let addresses = name.looked_up.get(&asked);
                addresses.is_some_and(|addresses| addresses.contains(&place.1))
                    && name.holds_looked_up(asked, place, time_ns)
            };
            name.answers.iter().any(|held| held.place == place && held.until_ns >= time_ns && is_its(held.port))
                || is_its(None) && [network, ANY_NETWORK].into_iter().any(is_looked_up)
        })
    }

    /// Adds the services at an address, as a gateway in this network namespace knew it at this time. With none before
    /// and none by names that hold, names count that held once: a kept connection outlives its name's answer.
    pub fn at(&self, network: u32, address: SocketAddr, time_ns: Nanoseconds, found: &mut Vec<u32>) {
        let place = (network, address.ip());
        for network_asked in [network, ANY_NETWORK] {
            for name in self.names(&self.looked_up, (network_asked, address.ip())) {
                if name.holds_looked_up(network_asked, place, time_ns) {
                    name.users_at(address.port(), None, found);
                }
            }
            if network == ANY_NETWORK {
                break;
            }
        }
        let answers = || {
            let names = self.names(&self.answered, place);
            names.flat_map(|name| name.answers.iter().filter(|held| held.place == place).map(move |held| (name, held)))
        };
        for (name, held) in answers().filter(|(_, held)| held.until_ns >= time_ns) {
            name.users_at(address.port(), held.port, found);
        }
        if found.is_empty() {
            answers().for_each(|(name, held)| name.users_at(address.port(), held.port, found));
        }
    }

    /// Takes over what names that both have were resolved to.
    pub fn take_over(&mut self, before: &Self) {
        for (name, old) in before.ids.iter().map(|(name, &id)| (name, &before.all[id])) {
            for (&network, addresses) in &old.looked_up {
                self.resolved(network, name, addresses);
            }
            if let Some(&id) = self.ids.get(name) {
                old.answers.iter().for_each(|&held| self.hold(id, held));
            }
        }
    }

    fn names<'a>(&'a self, index: &'a FxHashMap<Place, Vec<NameId>>, place: Place) -> impl Iterator<Item = &'a Name> {
        index.get(&place).into_iter().flatten().map(|&id| &self.all[id])
    }

    fn hold(&mut self, id: NameId, new: Held) {
        let answers = &mut self.all[id].answers;
        if let Some(held) = answers.iter_mut().find(|held| (held.place, held.port) == (new.place, new.port)) {
            held.until_ns = new.until_ns;
            return;
        }
        if answers.len() >= ANSWERS_MAX
            && let Some(first) = (0..answers.len()).min_by_key(|&at| answers[at].until_ns)
        {
            let gone = answers.swap_remove(first);
            if answers.iter().all(|held| held.place != gone.place) {
                remove(&mut self.answered, gone.place, id);
            }
        }
        answers.push(new);
        insert(&mut self.answered, new.place, id);
    }
}

impl Name {
    /// Whether what was looked up there counts at a place: a name server's answers to the gateway win, by family, and
    /// what was looked up where the gateway is wins over what the host's resolver says.
    fn holds_looked_up(&self, network_asked: u32, place: Place, time_ns: Nanoseconds) -> bool {
        let (network, ip) = place;
        let is_overruled = self
            .answers
            .iter()
            .any(|held| held.place.0 == network && held.place.1.is_ipv4() == ip.is_ipv4() && held.until_ns >= time_ns);
        !is_overruled && (network_asked == network || !self.looked_up.contains_key(&network))
    }

    /// Adds the users at a port, or all of them where the name server told the port.
    fn users_at(&self, port: u16, told: Option<u16>, found: &mut Vec<u32>) {
        found.extend(self.users.iter().filter(|(_, own)| told.unwrap_or(*own) == port).map(|(service, _)| *service));
    }

    fn uses(&self, service: u32, port: u16, told: Option<u16>) -> bool {
        self.users.iter().any(|(user, own)| *user == service && told.unwrap_or(*own) == port)
    }
}

/// The name that servers were asked for, without `_service._protocol.` before it (RFC 2782).
fn service_name(answer: &Answer) -> &str {
    let name = answer.name.as_str();
    if answer.question != Question::Srv || !name.starts_with('_') {
        return name;
    }
    let mut labels = name.splitn(3, '.');
    match (labels.next(), labels.next(), labels.next()) {
        (Some(_), Some(protocol), Some(rest)) if protocol.starts_with('_') => rest,
        _ => name,
    }
}

fn insert(index: &mut FxHashMap<Place, Vec<NameId>>, place: Place, id: NameId) {
    let ids = index.entry(place).or_default();
    if !ids.contains(&id) {
        ids.push(id);
    }
}

fn remove(index: &mut FxHashMap<Place, Vec<NameId>>, place: Place, id: NameId) {
    if let Some(ids) = index.get_mut(&place) {
        ids.retain(|&other| other != id);
        if ids.is_empty() {
            index.remove(&place);
        }
    }
}
