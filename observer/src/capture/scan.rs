//! A look at the host: the gateways that run already, and their sockets.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use observer_ebpf::tables::process;

use super::clock::now_ns;
use super::tables::Tables;
use crate::event::{Cookie, Endpoint, Event, Nanoseconds, Opened, Origin, Process, ProcessChange, Remaining, Role};
use crate::host::diag::Diag;
use crate::host::processes::{Comm, Gateway, find_gateways};
use crate::host::selector::Selection;
use crate::host::sockets::{self, SocketFacts, TcpState};

/// Looks at the processes until no new one comes up; forks of watched ones come through the ring.
const ROUNDS_MAX: usize = 10;

/// Sockets that one event tells of.
const SOCKETS_PER_EVENT: usize = 4096;

/// See [`super::Capture::scan`].
pub fn scan(
    selection: &Selection,
    tables: &mut Tables,
    namespaces: &mut Vec<Diag>,
    probe: &mut impl FnMut(u32, &mut Tables),
    tell: &mut impl FnMut(&Event<'_>),
) -> Result<()> {
    let names = selection.names();
    let mut watched = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let gateways = find_gateways(selection).context("cannot read /proc")?;
        let found: Vec<(u32, &Gateway)> = gateways
            .iter()
            .flat_map(|gateway| gateway.processes.iter().map(move |&process| (process, gateway)))
            .filter(|(process, _)| !watched.contains(process))
            .collect();
        if found.is_empty() {
            break;
        }
        let processes: Vec<u32> = found.iter().map(|(process, _)| *process).collect();
        processes.iter().for_each(|&process| probe(process, tables));
        sockets::open_namespaces(&processes, namespaces);
        let sockets = look_at(&found, &names, tables)?;
        for &(process, gateway) in &found {
            watched.insert(process);
            let change = ProcessChange::Found { root: gateway.root, name: gateway.name.as_str().into() };
            tell(&Event::Process(Process { time_ns: now_ns(), process, change }));
        }
        tell_sockets(&sockets, tell);
    }
    Ok(())
}

/// The sockets that these network namespaces have now, for the pipeline to find out which connections are gone. What is in
/// the ring by then must be told first.
pub fn remaining(namespaces: &mut [Diag]) -> Vec<Remaining> {
    let time_ns = now_ns();
    let listed = namespaces.iter_mut().filter_map(|diag| match sockets::cookies(diag) {
        Ok(cookies) => Some(in_ranges(time_ns, diag.netns(), &cookies)),
        Err(error) => {
            log::debug!("the sockets of network namespace {} cannot be listed: {error}", diag.netns());
            None
        }
    });
    listed.flatten().collect()
}

/// Each event fits a recording's longest; together their ranges are all cookies.
fn in_ranges(time_ns: Nanoseconds, network: u32, cookies: &[Cookie]) -> Vec<Remaining> {
    let mut first = 0;
    let count = cookies.len().div_ceil(SOCKETS_PER_EVENT).max(1);
    let range_of = |index: usize| {
        let sockets = &cookies[index * SOCKETS_PER_EVENT..cookies.len().min((index + 1) * SOCKETS_PER_EVENT)];
        let last = if index + 1 == count { Cookie::MAX } else { sockets.last().copied().unwrap_or(Cookie::MAX) };
        let range = (std::mem::replace(&mut first, last.saturating_add(1)), last);
        Remaining { time_ns, network, range, sockets: sockets.to_vec() }
    };
    (0..count).map(range_of).collect()
}

/// Ports first, then processes: what a process does once it is watched finds its ports known. Then the sockets: one that
/// is opened meanwhile comes through the ring as well, and only the first to come counts.
fn look_at(found: &[(u32, &Gateway)], names: &[Comm], tables: &mut Tables) -> Result<Vec<SocketFacts>> {
    let processes: Vec<u32> = found.iter().map(|(process, _)| *process).collect();
    for port in sockets::listening_ports(&processes).into_values().flatten() {
        tables.set_listening(port)?;
    }
    for (process, gateway) in found {
        // What was selected by its name is judged anew when it executes another program.
        let is_named = names.contains(&Comm::new(gateway.name.as_bytes()));
        let bits = if is_named { process::WATCHED } else { process::WATCHED | process::KEEP_ON_EXEC };
        tables.watch(*process, bits)?;
    }
    let scan = sockets::scan(&processes);
    for failure in &scan.failures {
        log::warn!("{failure}");
    }
    Ok(scan.sockets)
}

/// Listeners first, then connections to upstreams, then the clients': each needs to know of those before.
fn tell_sockets(sockets: &[SocketFacts], tell: &mut impl FnMut(&Event<'_>)) {
    let listeners: Vec<&SocketFacts> = sockets.iter().filter(|socket| socket.state == TcpState::LISTEN).collect();
    let is_client = |socket: &SocketFacts| listeners.iter().any(|listener| is_accepted(socket, listener));
    let connections = || {
        sockets
            .iter()
            .filter(|socket| matches!(socket.state, TcpState::ESTABLISHED | TcpState::CLOSE_WAIT | TcpState::SYN_SENT))
    };
    for listener in &listeners {
        tell(&Event::Opened(opened(listener, Role::Listener)));
    }
    for socket in connections().filter(|socket| !is_client(socket)) {
        tell(&Event::Opened(opened(socket, Role::Upstream)));
    }
    for socket in connections().filter(|socket| is_client(socket)) {
        tell(&Event::Opened(opened(socket, Role::Client)));
    }
}

fn is_accepted(socket: &SocketFacts, listener: &SocketFacts) -> bool {
    if socket.netns != listener.netns {
        return false;
    }
    match (&socket.local, &listener.local) {
        (sockets::Endpoint::Ip(own), sockets::Endpoint::Ip(listening)) => {
            own.port() == listening.port() && (listening.ip().is_unspecified() || own.ip() == listening.ip())
        }
        (sockets::Endpoint::Unix(own), sockets::Endpoint::Unix(listening)) => own == listening,
        _ => false,
    }
}

fn opened(socket: &SocketFacts, role: Role) -> Opened {
    let process = socket.holders.first().copied().unwrap_or(0);
    let is_unix = socket.family == sockets::Family::Unix;
    Opened {
        time_ns: now_ns(),
        socket: socket.cookie,
        sequence: 0,
        process,
        thread: process,
        network: socket.netns,
        role,
        origin: Origin::Scan,
        state: socket.state.0,
        local: endpoint(&socket.local, is_unix),
        remote: endpoint(&socket.remote, is_unix),
    }
}

fn endpoint(end: &sockets::Endpoint, is_unix: bool) -> Endpoint {
    match end {
        sockets::Endpoint::Ip(address) => Endpoint::Ip(*address),
        sockets::Endpoint::Unix(path) => Endpoint::Unix(path.as_slice().into()),
        sockets::Endpoint::None if is_unix => Endpoint::Unix([].into()),
        sockets::Endpoint::None => Endpoint::Ip(([0, 0, 0, 0], 0).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cookie_lies_in_one_of_the_ranges() {
        let cookies: Vec<Cookie> = (1..=2 * SOCKETS_PER_EVENT as u64 + 1).map(|index| index * 3).collect();
        let ranges = in_ranges(1, 2, &cookies);
        assert_eq!(ranges.iter().map(|part| part.sockets.len()).sum::<usize>(), cookies.len());
        assert_eq!((ranges.len(), ranges[0].range.0, ranges[2].range.1), (3, 0, Cookie::MAX));
        for pair in ranges.windows(2) {
            assert_eq!(pair[0].range.1 + 1, pair[1].range.0);
        }
        let none = in_ranges(1, 2, &[]);
        assert_eq!((none.len(), none[0].range), (1, (0, Cookie::MAX)));
    }
}
