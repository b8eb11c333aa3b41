//! A look at the host: the gateways that run already, and their sockets.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use observer_ebpf::tables::process;

use super::clock::now_ns;
use super::tables::Tables;
use crate::event::{Endpoint, Event, Opened, Origin, Process, ProcessChange, Role};
use crate::host::processes::{Comm, Gateway, find_gateways};
use crate::host::selector::Selection;
use crate::host::sockets::{self, SocketFacts, TcpState};

/// Looks at the processes until no new one comes up; forks of watched ones come through the ring.
const ROUNDS_MAX: usize = 10;

/// See [`super::Capture::scan`].
pub fn scan(
    selection: &Selection,
    tables: &mut Tables,
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
        for &(process, _) in &found {
            probe(process, tables);
        }
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
