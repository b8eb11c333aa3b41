//! TCP listeners as `/proc/PID/net/tcp` lists them: for kernels without the modules of `sock_diag`.

use std::net::SocketAddr;

use procfs::net::{TcpNetEntry, TcpState as Listed};
use procfs::process::Process;

use super::holders::{Group, netns_of};
use super::{Endpoint, Family, SocketFacts, TcpState};

/// `/proc` tells no cookie. The kernel counts cookies up from 1, so none has this bit.
const STAND_IN_BIT: u64 = 1 << 63;

/// A listener, and the inode that its holders know it by.
pub struct Listener {
    pub inode: u32,
    pub local: SocketAddr,
}

/// The listeners of a group's network namespace that the group's processes hold. None when all of these are gone.
pub fn listeners(group: &Group) -> Vec<Listener> {
    let listed = |pid: &u32| {
        let process = Process::new(i32::try_from(*pid).ok()?).ok()?;
        let mut entries = process.tcp().ok()?;
        // Without IPv6 there is no second list.
        entries.extend(process.tcp6().unwrap_or_default());
        Some(entries)
    };
    let entries = group.members.iter().find_map(listed).unwrap_or_default();
    entries.iter().filter_map(listener).filter(|listener| group.holders.contains_key(&listener.inode)).collect()
}

/// The same as a scan gives them. A number made of the inode stands for the cookie.
pub fn facts(group: &Group) -> Vec<SocketFacts> {
    let Some(netns) = group.members.iter().find_map(|&pid| netns_of(pid).ok()) else { return Vec::new() };
    let facts = |Listener { inode, local }| SocketFacts {
        cookie: u64::from(inode) | STAND_IN_BIT,
        inode,
        family: if local.is_ipv4() { Family::Inet } else { Family::Inet6 },
        state: TcpState::LISTEN,
        local: Endpoint::Ip(SocketAddr::new(local.ip().to_canonical(), local.port())),
        remote: Endpoint::None,
        netns,
        holders: group.holders.get(&inode).cloned().unwrap_or_default(),
    };
    listeners(group).into_iter().map(facts).collect()
}

fn listener(entry: &TcpNetEntry) -> Option<Listener> {
    let inode = u32::try_from(entry.inode).ok()?;
    (entry.state == Listed::Listen).then_some(Listener { inode, local: entry.local_address })
}
