//! What the kernel part keeps at a socket, and what it reads from `struct sock`.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get, bpf_skc_to_tcp_sock, bpf_skc_to_unix_sock},
    programs::BtfTracePointContext,
};
use aya_log_ebpf::warn;
use observer_ebpf::{
    limits::PROCESSES_PER_ENTRY,
    record::{Opened, role},
    tables::{Loss, port},
};

use crate::maps::{self, PORTS, SOCKETS, offset};

/// A pointer to the kernel's `struct sock`, as a tracepoint hands it over.
pub type Sock = *const c_void;

pub const AF_UNIX: u16 = 1;
pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
const SOCK_STREAM: u16 = 1;

/// State kept at a socket (`BPF_MAP_TYPE_SK_STORAGE`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Socket {
    /// The bytes that the socket itself moves.
    pub stream: Stream,
    /// The socket's own: see [`cookie`].
    pub cookie: u64,
    /// The TLS library's connection whose ciphertext it carries (`SSL *`).
    pub ssl: u64,
    /// The process that has it.
    pub ssl_process: u32,
    /// `tcp_sock.copied_seq` after the last receive.
    pub copied: u32,
    /// Not a stream that could carry HTTP: one of [`ignored`], 0 for streams.
    pub ignored: u8,
    /// The record that announces the socket went out.
    pub announced: u8,
    /// `copied` is set.
    pub copied_known: u8,
    /// One of [`crate::tls::ciphertext::carried`].
    pub carried: u8,
    /// The peer reset the connection, and the process has not closed it yet.
    pub was_reset: u8,
    /// Calls that were taken for ciphertext, so far without plaintext.
    pub suspected: u8,
    /// Bytes that are still to be received of the TLS record under way, as far as its beginning was seen: of what may be
    /// ciphertext.
    pub missing: u16,
}

/// Bytes both ways, in one layer of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stream {
    /// Bytes received since the connection was met.
    pub received: u64,
    /// Bytes sent since then.
    pub sent: u64,
    /// Records tried so far.
    pub sequence: u32,
    /// Bytes that may still be sampled in this turn.
    pub budget: u32,
    /// [`role`]; of the socket's first sight.
    pub role: u8,
    /// Direction of the current turn.
    pub turn: u8,
    /// After a 101: bytes are counted, none sampled.
    pub counted_only: u8,
    pub reserved: [u8; 5],
}

impl Stream {
    /// One that moved nothing yet.
    #[inline(always)]
    pub fn new(role: u8) -> Self {
        Stream { received: 0, sent: 0, sequence: 0, budget: 0, role, turn: 0, counted_only: 0, reserved: [0; 5] }
    }
}

/// Why a socket is no stream that could carry HTTP.
pub mod ignored {
    pub const OTHER: u8 = 1;
    /// UDP: name servers' answers come over it.
    pub const DATAGRAMS: u8 = 2;
}

/// The state kept at `sk`, if it was met.
#[inline(always)]
pub fn known(sk: Sock) -> Option<&'static mut Socket> {
    storage(sk, core::ptr::null_mut(), 0)
}

/// Starts keeping state at `sk`. Counts a loss if the kernel has no memory.
#[inline(always)]
pub fn meet(ctx: &BtfTracePointContext, sk: Sock, role: u8) -> Option<&'static mut Socket> {
    let mut first = Socket {
        stream: Stream::new(role),
        cookie: cookie(sk),
        ssl: 0,
        ssl_process: 0,
        copied: 0,
        ignored: ignored_for(sk),
        announced: 0,
        copied_known: 0,
        carried: 0,
        was_reset: 0,
        suspected: 0,
        missing: 0,
    };
    let socket = storage(sk, &mut first, BPF_SK_STORAGE_GET_F_CREATE as u64);
    if socket.is_none() && maps::lost(Loss::SocketStateFull) == 1 {
        warn!(ctx, "no memory for the state of a socket: its exchanges are not observed");
    }
    socket
}

#[inline(always)]
fn storage(sk: Sock, first: *mut Socket, flags: u64) -> Option<&'static mut Socket> {
    let map = (&raw const SOCKETS).cast_mut().cast::<c_void>();
    // SAFETY: the verifier knows `sk` as a `struct sock` and the result as a `Socket` or null.
    unsafe { bpf_sk_storage_get(map, sk.cast_mut(), first.cast(), flags).cast::<Socket>().as_mut() }
}

/// Reads a field of a kernel structure.
#[inline(always)]
pub fn load<T: Copy>(base: *const c_void, offset: usize) -> T {
    // SAFETY: the verifier checks the load against the structure's BTF.
    unsafe { core::ptr::read_volatile(base.byte_add(offset) as *const T) }
}

#[inline(always)]
fn ignored_for(sk: Sock) -> u8 {
    match load::<u16>(sk, offset!(family)) {
        AF_INET | AF_INET6 if is_tcp(sk) => 0,
        AF_INET | AF_INET6 if load::<u16>(sk, offset!(protocol)) == IPPROTO_UDP => ignored::DATAGRAMS,
        AF_UNIX if load::<u16>(sk, offset!(kind)) == SOCK_STREAM => 0,
        _ => ignored::OTHER,
    }
}

/// Whether the socket speaks TCP.
#[inline(always)]
pub fn is_tcp(sk: Sock) -> bool {
    load::<u16>(sk, offset!(protocol)) == IPPROTO_TCP
}

/// The state (`include/net/tcp_states.h`).
#[inline(always)]
pub fn state(sk: Sock) -> u8 {
    load::<u8>(sk, offset!(state))
}

/// The local port, in host order.
#[inline(always)]
pub fn local_port(sk: Sock) -> u16 {
    load::<u16>(sk, offset!(local_port))
}

/// The cookie: unique since boot, the same that `sock_diag` shows.
#[inline(always)]
fn cookie(sk: Sock) -> u64 {
    // SAFETY: takes any socket.
    unsafe { bpf_get_socket_cookie(sk.cast_mut()) }
}

/// Who opened a connection that is met while it moves bytes: whoever listens on its local end did not.
#[inline(always)]
pub fn role_of(sk: Sock) -> u8 {
    let family = load::<u16>(sk, offset!(family));
    let accepted =
        if family == AF_UNIX { has_unix_address(sk) } else { port_bits(local_port(sk)) & port::LISTENING != 0 };
    if accepted { role::ACCEPTED } else { role::CONNECTED }
}

/// The bits of a port in the port table.
#[inline(always)]
pub fn port_bits(port: u16) -> u8 {
    match PORTS.get(u32::from(port) / PROCESSES_PER_ENTRY) {
        Some(entry) => entry[(u32::from(port) % PROCESSES_PER_ENTRY) as usize],
        None => 0,
    }
}

/// Marks a port as one that a watched process listens on.
#[inline(always)]
pub fn mark_listening(port: u16) {
    if let Some(entry) = PORTS.get_ptr_mut(u32::from(port) / PROCESSES_PER_ENTRY) {
        // SAFETY: the index is below the entry's length.
        unsafe { (*entry)[(u32::from(port) % PROCESSES_PER_ENTRY) as usize] |= port::LISTENING };
    }
}

/// Bytes that left the receive queue, modulo 2^32 (`tcp_sock.copied_seq`); `None` for other sockets.
#[inline(always)]
pub fn copied(sk: Sock) -> Option<u32> {
    // SAFETY: takes any socket.
    let tcp = unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()) } as *const c_void;
    if tcp.is_null() {
        return None;
    }
    Some(load::<u32>(tcp, offset!(copied)))
}

/// A connection is established: no byte has left its receive queue yet.
#[inline(always)]
pub fn begin_receiving(sk: Sock, socket: &mut Socket) {
    if let Some(copied) = copied(sk) {
        socket.copied = copied;
        socket.copied_known = 1;
    }
}

/// Fills in family, addresses, ports and network namespace.
#[inline(always)]
pub fn describe(sk: Sock, opened: &mut Opened) {
    opened.family = load::<u16>(sk, offset!(family));
    opened.network = network(sk);
    match opened.family {
        AF_INET => {
            put(&mut opened.local, 0, load(sk, offset!(local_v4)));
            put(&mut opened.remote, 0, load(sk, offset!(remote_v4)));
        }
        AF_INET6 => {
            copy_v6(sk, offset!(local_v6), &mut opened.local);
            copy_v6(sk, offset!(remote_v6), &mut opened.remote);
        }
        _ => return describe_unix(sk, opened),
    }
    opened.local_port = local_port(sk);
    opened.remote_port = remote_port(sk);
}

/// The inode of the socket's network namespace.
#[inline(always)]
pub fn network(sk: Sock) -> u32 {
    let net: *const c_void = load(sk, offset!(net));
    load::<u32>(net, offset!(net_inode))
}

/// The remote port, in host order; 0 where the socket is not connected.
#[inline(always)]
pub fn remote_port(sk: Sock) -> u16 {
    u16::from_be(load::<u16>(sk, offset!(remote_port)))
}

/// The local address of a TCP socket; IPv4 in the first four bytes.
#[inline(always)]
pub fn local_address(sk: Sock, local: &mut [u8; 16]) {
    if load::<u16>(sk, offset!(family)) == AF_INET {
        put(local, 0, load(sk, offset!(local_v4)));
    } else {
        copy_v6(sk, offset!(local_v6), local);
    }
}

#[inline(always)]
fn copy_v6(sk: Sock, offset: usize, address: &mut [u8; 16]) {
    put(address, 0, load(sk, offset));
    put(address, 1, load(sk, offset + 4));
    put(address, 2, load(sk, offset + 8));
    put(address, 3, load(sk, offset + 12));
}

#[inline(always)]
fn put(address: &mut [u8; 16], index: usize, word: u32) {
    // SAFETY: `index` is at most 3; the record's field is aligned to four bytes.
    unsafe { address.as_mut_ptr().cast::<u32>().add(index).write_unaligned(word) };
}

#[inline(always)]
fn unix(sk: Sock) -> *const c_void {
    // SAFETY: takes any socket.
    unsafe { bpf_skc_to_unix_sock(sk.cast_mut()) as *const c_void }
}

/// An accepted UNIX socket bears its listener's address; a connecting one has none unless it was bound.
#[inline(always)]
fn has_unix_address(sk: Sock) -> bool {
    let unix = unix(sk);
    !unix.is_null() && !load::<*const c_void>(unix, offset!(unix_address)).is_null()
}

/// The listening end's path: the socket's own if it has one, else its peer's.
#[inline(always)]
fn describe_unix(sk: Sock, opened: &mut Opened) {
    let own = unix(sk);
    if own.is_null() {
        return;
    }
    let mut address: *const c_void = load(own, offset!(unix_address));
    if address.is_null() {
        let peer: *const c_void = load(own, offset!(unix_peer));
        if peer.is_null() {
            return;
        }
        let peer = unix(peer);
        if peer.is_null() {
            return;
        }
        address = load(peer, offset!(unix_address));
        if address.is_null() {
            return;
        }
    }
    // The length counts `sun_family` too.
    let length = load::<u32>(address, offset!(unix_length)).saturating_sub(2);
    let mut index = 0;
    while index < opened.path.len() && (index as u32) < length {
        opened.path[index] = load(address, offset!(unix_name) + 2 + index);
        index += 1;
    }
    opened.path_bytes = index as u32;
}
