//! Host names of the configuration, resolved in the background: by the host's resolver, and in each network that gateways
//! have of their own as a program there would.

mod ask;
mod conf;
mod place;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::agent::Notice;
use crate::capture::now_ns;
use crate::event::{Event, Resolved};

pub use place::Place;

use place::Told;

/// Names are asked again this often.
const PERIOD: Duration = Duration::from_secs(30);

/// Networks that names are looked up in.
const PLACES_MAX: usize = 256;

/// Asks for the names until it is dropped. What is found is sent to `found`; a name that does not resolve keeps what it
/// had. The host's first round is over when the returned receiver gets its message.
pub fn start(names: Vec<String>, found: Sender<Notice>) -> (Resolver, Receiver<()>) {
    let (host, names_for_host) = channel();
    let (first, first_round) = channel();
    let places = Places { names: names.clone(), threads: HashMap::new(), found: found.clone() };
    thread::spawn(move || at_host(names, &names_for_host, &found, &first));
    (Resolver { host, places: Arc::new(Mutex::new(places)) }, first_round)
}

/// Ends its threads when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Resolver {
    host: Sender<Vec<String>>,
    places: Arc<Mutex<Places>>,
}

/// The networks that are not the host's.
#[derive(Debug)]
struct Places {
    names: Vec<String>,
    /// By network, what its thread is told.
    threads: HashMap<u32, Sender<Told>>,
    found: Sender<Notice>,
}

impl Resolver {
    /// Asks for these names from now on, the first time at once.
    pub fn ask(&self, names: Vec<String>) {
        let mut places = self.places();
        places.threads.retain(|_, thread| thread.send(Told::Names(names.clone())).is_ok());
        places.names = names.clone();
        // The thread ends only after this.
        let _ = self.host.send(names);
    }

    /// A gateway listens there: names are looked up there, too, where that is not the host itself. To enter its network
    /// takes what the calling thread may do.
    pub fn look_at(&self, place: Place) {
        self.places().came_up(place);
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Places {
    fn came_up(&mut self, place: Place) {
        if let Some(thread) = self.threads.get(&place.network)
            && thread.send(Told::Process(place.process)).is_ok()
        {
            return;
        }
        // One that has ended already is nowhere.
        if self.threads.len() >= PLACES_MAX || !place.is_elsewhere().unwrap_or(false) {
            return;
        }
        let (thread, told) = channel();
        let (names, found) = (self.names.clone(), self.found.clone());
        let spawned = thread::Builder::new()
            .name("names".to_owned())
            .spawn(move || place::look_up_there(place, names, &told, &found));
        match spawned {
            Ok(_) => drop(self.threads.insert(place.network, thread)),
            Err(error) => log::warn!("names cannot be looked up where process {} runs: {error}", place.process),
        }
    }
}

fn at_host(mut names: Vec<String>, new_names: &Receiver<Vec<String>>, found: &Sender<Notice>, first: &Sender<()>) {
    let mut told = HashSet::new();
    loop {
        for name in &names {
            match (name.as_str(), 0).to_socket_addrs() {
                Ok(addresses) => {
                    told.remove(name);
                    tell(found, 0, name, addresses.map(|address| address.ip()).collect());
                }
                Err(error) if told.insert(name.clone()) => {
                    log::warn!("{name} does not resolve: {error}; its services are told by other evidence");
                }
                Err(_) => {}
            }
        }
        // Nobody may be waiting any more.
        let _ = first.send(());
        match new_names.recv_timeout(PERIOD) {
            Ok(others) => names = others,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        told.retain(|name| names.contains(name));
    }
}

fn tell(found: &Sender<Notice>, network: u32, name: &str, mut addresses: Vec<IpAddr>) {
    addresses.sort_unstable();
    addresses.dedup();
    let resolved = Resolved { time_ns: now_ns(), name: name.into(), network, addresses };
    // The pipeline may be gone already.
    let _ = found.send(Notice::Event(Event::Resolved(resolved)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(notice: Notice) -> Resolved {
        match notice {
            Notice::Event(Event::Resolved(resolved)) => resolved,
            _ => panic!("another notice"),
        }
    }

    #[test]
    fn a_name_is_told_with_its_addresses() {
        let (sender, notices) = channel();
        let (_resolver, first_round) = start(vec!["localhost".into()], sender);
        first_round.recv().unwrap();
        let resolved = resolved(notices.recv().unwrap());
        assert_eq!((&*resolved.name, resolved.network), ("localhost", 0));
        assert!(resolved.addresses.iter().all(IpAddr::is_loopback) && !resolved.addresses.is_empty());
    }

    #[test]
    fn new_names_are_asked_for_at_once() {
        let (sender, notices) = channel();
        let (resolver, first_round) = start(Vec::new(), sender);
        first_round.recv().unwrap();
        resolver.ask(vec!["localhost".into()]);
        assert_eq!(&*resolved(notices.recv_timeout(Duration::from_secs(10)).unwrap()).name, "localhost");
    }
}
