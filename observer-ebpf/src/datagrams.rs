//! Name servers' answers over UDP: what a gateway's own names mean to it.

use observer_ebpf::record::{Datagram, kind};

use crate::{
    buffers, emit,
    sockets::{self, Sock, Socket, ignored},
    task::Current,
};

/// Where name servers answer from (RFC 1035, section 4.2.1).
const NAME_SERVER_PORT: u16 = 53;

/// A receive on a socket that is no stream. The sender's address is not in the user's memory yet: on a socket that is not
/// connected the bytes alone tell.
#[inline(always)]
pub fn received(sk: Sock, socket: &mut Socket, bits: u8, current: Current, bytes: u32) {
    if socket.ignored != ignored::DATAGRAMS {
        return;
    }
    // A header of twelve bytes.
    if bytes < 12 {
        return;
    }
    let port = sockets::remote_port(sk);
    if port != NAME_SERVER_PORT && port != 0 {
        return;
    }
    let source = buffers::locate(current);
    if source.is_readable() && buffers::begins_a_name_answer(&source) {
        let header = emit::header(kind::DATAGRAM, bits, current.ids(), socket);
        let datagram = Datagram { header, network: sockets::network(sk), sample_bytes: 0 };
        buffers::emit_datagram(datagram, bytes, &source);
    }
}
