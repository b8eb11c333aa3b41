//! Host names of the configuration, resolved by the host's resolver in the background.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::agent::Notice;
use crate::capture::now_ns;
use crate::event::{Event, Resolved};

/// Names are asked again this often.
const PERIOD: Duration = Duration::from_secs(30);

/// Asks for the names until it is dropped. What is found is sent to `found`; a name that does not resolve keeps what it
/// had. The first round is over when the returned receiver gets its message.
pub fn start(mut names: Vec<String>, found: Sender<Notice>) -> (Resolver, Receiver<()>) {
    let (sender, new_names) = channel();
    let (first, first_round) = channel();
    thread::spawn(move || {
        loop {
            for name in &names {
                resolve(name, &found);
            }
            // Nobody may be waiting any more.
            let _ = first.send(());
            match new_names.recv_timeout(PERIOD) {
                Ok(others) => names = others,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    (Resolver { names: sender }, first_round)
}

/// Ends the thread when dropped.
#[derive(Debug)]
pub struct Resolver {
    names: Sender<Vec<String>>,
}

impl Resolver {
    /// Asks for these names from now on, the first time at once.
    pub fn ask(&self, names: Vec<String>) {
        // The thread ends only after this.
        let _ = self.names.send(names);
    }
}

fn resolve(name: &str, found: &Sender<Notice>) {
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => {
            let mut addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            let resolved = Resolved { time_ns: now_ns(), name: name.into(), addresses };
            // The pipeline may be gone already.
            let _ = found.send(Notice::Event(Event::Resolved(resolved)));
        }
        Err(error) => log::warn!("{name} does not resolve: {error}; its services are told by other evidence"),
    }
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
        assert_eq!(&*resolved.name, "localhost");
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
