//! UNIX sockets: the kernel names a peer by its inode, so the names come from the whole list.

use std::collections::HashMap;

use netlink_packet_sock_diag::constants::SOCK_STREAM;
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags as UnixStates, UnixResponseHeader};

use super::holders::Holders;
use super::{Endpoint, Family, SocketFacts, TcpState};
use crate::host::diag::{Diag, DiagError, cookie_number, unix_name};

/// What is kept of a UNIX stream socket while the list is read.
struct UnixSocket {
    header: UnixResponseHeader,
    name: Option<Vec<u8>>,
    peer: Option<u32>,
    /// Of a listener: the inodes of those who wait to be accepted.
    pending: Vec<u32>,
}

/// The UNIX stream sockets that are held, each with the name its peer is bound to.
pub(super) fn unix_sockets(
    diag: &mut Diag,
    holders: &Holders,
) -> Result<Vec<SocketFacts>, DiagError> {
    let every_state = UnixStates::from_bits_retain(u32::MAX);
    let show = ShowFlags::NAME | ShowFlags::PEER | ShowFlags::ICONS;
    let listed = diag.unix(every_state, show, |socket| {
        let name = unix_name(&socket);
        let counts = name.is_some() || holders.contains_key(&socket.header.inode);
        (counts && socket.header.kind == SOCK_STREAM).then(|| UnixSocket {
            peer: socket.peer(),
            pending: socket.pending_connections().unwrap_or_default().to_vec(),
            header: socket.header,
            name,
        })
    })?;
    let names = names_by_peer(&listed);
    let held = listed.iter().filter_map(|socket| {
        let holders = holders.get(&socket.header.inode)?;
        Some(unix_facts(socket, &names, diag.netns(), holders))
    });
    Ok(held.collect())
}

/// The name that the peer of a socket sees, by what the peer knows: the inode of the named end, or,
/// before it is accepted, its own inode in the listener's queue.
struct PeerNames<'a> {
    accepted: HashMap<u32, &'a [u8]>,
    pending: HashMap<u32, &'a [u8]>,
}

fn names_by_peer(listed: &[UnixSocket]) -> PeerNames<'_> {
    let named = || {
        listed
            .iter()
            .filter_map(|socket| Some((socket, socket.name.as_deref()?)))
    };
    PeerNames {
        accepted: named()
            .map(|(socket, name)| (socket.header.inode, name))
            .collect(),
        pending: named()
            .flat_map(|(socket, name)| socket.pending.iter().map(move |client| (*client, name)))
            .collect(),
    }
}

fn unix_facts(socket: &UnixSocket, names: &PeerNames, netns: u32, holders: &[u32]) -> SocketFacts {
    let inode = socket.header.inode;
    let remote = match socket.peer {
        None => None,
        Some(0) => names.pending.get(&inode),
        Some(peer) => names.accepted.get(&peer),
    };
    SocketFacts {
        cookie: cookie_number(socket.header.cookie),
        inode,
        family: Family::Unix,
        state: TcpState(socket.header.state),
        local: socket.name.clone().map_or(Endpoint::None, Endpoint::Unix),
        remote: remote.map_or(Endpoint::None, |name| Endpoint::Unix(name.to_vec())),
        netns,
        holders: holders.to_vec(),
    }
}
