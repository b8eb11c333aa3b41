//! Host names of the configuration, resolved by the host's resolver in the background.

use std::net::{IpAddr, ToSocketAddrs};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::capture::now_ns;
use crate::event::{Event, Resolved};

/// Names are asked again this often.
const PERIOD: Duration = Duration::from_secs(30);

/// Asks for the names until it is dropped. What is found is sent to `found`; a name that does not resolve keeps what it
/// had. The first round is over when the returned receiver gets its message.
pub fn start(names: Vec<String>, found: Sender<Event<'static>>) -> (Resolver, Receiver<()>) {
    let (stop, stopped) = channel();
    let (first, first_round) = channel();
    thread::spawn(move || {
        loop {
            for name in &names {
                resolve(name, &found);
            }
            // Nobody may be waiting any more.
            let _ = first.send(());
            if names.is_empty() || stopped.recv_timeout(PERIOD) != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    (Resolver { _stop: stop }, first_round)
}

/// Ends the thread when dropped.
pub struct Resolver {
    _stop: Sender<()>,
}

fn resolve(name: &str, found: &Sender<Event<'static>>) {
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => {
            let mut addresses: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            // The pipeline may be gone already.
            let _ = found.send(Event::Resolved(Resolved { time_ns: now_ns(), name: name.into(), addresses }));
        }
        Err(error) => log::warn!("{name} does not resolve: {error}; its services are told by other evidence"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_with_its_addresses() {
        let (sender, events) = channel();
        let (_resolver, first_round) = start(vec!["localhost".into()], sender);
        first_round.recv().unwrap();
        let Event::Resolved(resolved) = events.recv().unwrap() else { panic!("another event") };
        assert_eq!(&*resolved.name, "localhost");
        assert!(resolved.addresses.iter().all(IpAddr::is_loopback) && !resolved.addresses.is_empty());
    }
}
