//! Records in the ring buffer. Native byte order; times are nanoseconds of `CLOCK_MONOTONIC`.

use crate::limits::{NAME_BYTES, PROTOCOL_BYTES, TAIL_BYTES, UNIX_PATH_BYTES};
#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a record tells; the first byte of each.
pub mod kind {
    /// A socket was seen for the first time: [`super::Opened`].
    pub const OPENED: u8 = 1;
    /// A call moved bytes, met the end of the stream or failed: [`super::Data`], then the sample.
    pub const DATA: u8 = 2;
    /// A TCP socket changed its state: [`super::StateChange`].
    pub const STATE: u8 = 3;
    /// A process began, changed or ended: [`super::Process`].
    pub const PROCESS: u8 = 4;
    /// A TLS connection's handshake went on: [`super::Handshake`].
    pub const HANDSHAKE: u8 = 5;
    /// A datagram came that may be a name server's answer: [`super::Datagram`], then the sample.
    pub const DATAGRAM: u8 = 6;
}

/// Whose bytes a [`Data`] record tells of; each layer of a socket has offsets and numbers of its own.
pub mod layer {
    /// The socket's.
    pub const SOCKET: u8 = 0;
    /// The plaintext that a TLS library took in or handed out.
    pub const TLS: u8 = 1;
}

/// What happened in a handshake; the field [`Handshake::what`].
pub mod handshake {
    /// The first call for it ended.
    pub const BEGUN: u8 = 1;
    /// It is done.
    pub const DONE: u8 = 2;
    /// A peer sent an alert in the clear (RFC 8446, section 6).
    pub const ALERT: u8 = 3;
    /// A protocol was agreed on (RFC 7301).
    pub const ALPN: u8 = 4;
}

/// Which way bytes moved, seen from the watched process.
pub mod direction {
    /// The process read.
    pub const RECEIVED: u8 = 1;
    /// The process wrote.
    pub const SENT: u8 = 2;
}

/// Who opened a connection, as far as the kernel part can tell.
pub mod role {
    /// Not known.
    pub const UNKNOWN: u8 = 0;
    /// Accepted by a watched process: a client's connection.
    pub const ACCEPTED: u8 = 1;
    /// Connected by a watched process: an upstream's connection.
    pub const CONNECTED: u8 = 2;
    /// A listening socket.
    pub const LISTENING: u8 = 3;
}

/// How a call handed over its bytes; why a sample may be missing.
pub mod call {
    /// One buffer or several vectors, sampled.
    pub const BUFFER: u8 = 0;
    /// `sendfile` or a splice into the socket: pages, no user buffer.
    pub const PAGES: u8 = 1;
    /// A call whose buffers are not known.
    pub const UNKNOWN: u8 = 2;
    /// io_uring.
    pub const IO_URING: u8 = 3;
    /// A system call of a 32-bit process.
    pub const COMPAT: u8 = 4;
}

/// What happened to a process; the field [`Process::what`].
pub mod process {
    /// A watched process forked; the record's process is the child.
    pub const FORKED: u8 = 1;
    /// A process executed a program of a watched name, or a watched one executed another program.
    pub const EXECUTED: u8 = 2;
    /// A watched process ended.
    pub const EXITED: u8 = 3;
}

/// What every record begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Header {
    /// One of [`kind`].
    pub kind: u8,
    /// Bits of the process's table entry; 0 where the current task says nothing.
    pub process: u8,
    /// Keeps the layout free of hidden padding.
    pub reserved: u16,
    /// Number of the record among those of its socket; a jump tells of lost ones.
    pub sequence: u32,
    /// The socket's cookie (`bpf_get_socket_cookie`); 0 in a process record.
    pub socket: u64,
    /// When, in ns of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Process id, in the initial PID namespace; 0 where the current task says nothing.
    pub process_id: u32,
    /// Thread id, likewise.
    pub thread_id: u32,
}

/// A socket's addresses. For UNIX sockets the path lies in [`Opened::path`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Opened {
    /// Kind [`kind::OPENED`].
    pub header: Header,
    /// `AF_INET`, `AF_INET6` or `AF_UNIX`.
    pub family: u16,
    /// Host order.
    pub local_port: u16,
    /// Host order.
    pub remote_port: u16,
    /// One of [`role`].
    pub role: u8,
    /// TCP state (`include/net/tcp_states.h`).
    pub state: u8,
    /// Inode of the socket's network namespace.
    pub network: u32,
    /// Bytes of [`Opened::path`] in use.
    pub path_bytes: u32,
    /// IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// IPv4 in the first four bytes.
    pub remote: [u8; 16],
    /// `sun_path` of the listening end: an abstract name begins with a zero.
    pub path: [u8; UNIX_PATH_BYTES],
    /// Keeps the layout free of hidden padding.
    pub reserved: u32,
}

/// One call's bytes. The sample follows: the first [`Data::sample_bytes`] of them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Data {
    /// Kind [`kind::DATA`].
    pub header: Header,
    /// Bytes that moved in this direction on this socket before this call, since the socket was met.
    pub offset: u64,
    /// Bytes moved, 0 at the end of the stream, or a negative errno.
    pub result: i32,
    /// Length of the sample.
    pub sample_bytes: u32,
    /// One of [`direction`].
    pub direction: u8,
    /// One of [`call`].
    pub call: u8,
    /// Bytes of [`Data::tail`] in use; 0 where the sample holds the whole call, or the end is not known.
    pub tail_bytes: u8,
    /// One of [`layer`].
    pub layer: u8,
    /// Bytes that left the receive queue unseen just before this call (a `splice` out of the socket).
    pub unseen_bytes: u32,
    /// The call's last bytes.
    pub tail: [u8; TAIL_BYTES],
}

/// A TCP socket's new state, from `inet_sock_set_state`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct StateChange {
    /// Kind [`kind::STATE`].
    pub header: Header,
    /// State before.
    pub old: u8,
    /// State after.
    pub new: u8,
    /// Host order; set once the socket is bound.
    pub local_port: u16,
    /// `sk_err`, a positive errno, or 0.
    pub error: i32,
    /// The local address, set once the socket is bound; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// `sk_shutdown`: bit 0 no more is received, bit 1 no more is sent; both after a `close`.
    pub shutdown: u8,
    /// Keeps the layout free of hidden padding.
    pub reserved: [u8; 3],
    /// When the gateway closes: bytes that left the receive queue unseen since its last receive.
    pub unseen_bytes: u32,
}

/// A process's change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Process {
    /// Kind [`kind::PROCESS`]; the process id is the one the record speaks of.
    pub header: Header,
    /// One of [`process`].
    pub what: u8,
    /// Keeps the layout free of hidden padding.
    pub reserved: [u8; 3],
    /// Process id of the parent, for a fork.
    pub parent_id: u32,
    /// The name after an exec (`comm`).
    pub name: [u8; NAME_BYTES],
}

/// A step of a TLS handshake.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Handshake {
    /// Kind [`kind::HANDSHAKE`]; the number is one of the layer [`layer::TLS`].
    pub header: Header,
    /// When the first call for it began.
    pub began_ns: u64,
    /// One of [`handshake`].
    pub what: u8,
    /// One of [`direction`], of an alert.
    pub direction: u8,
    /// The alert's description.
    pub alert: u8,
    /// Bytes of [`Handshake::protocol`] in use; longer names are cut.
    pub protocol_bytes: u8,
    /// The protocol agreed on.
    pub protocol: [u8; PROTOCOL_BYTES],
    /// Keeps the layout free of hidden padding.
    pub reserved: u32,
}

/// A datagram that a watched process received from a name server. The sample follows: its first
/// [`Datagram::sample_bytes`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(FromBytes, IntoBytes, KnownLayout, Immutable))]
pub struct Datagram {
    /// Kind [`kind::DATAGRAM`].
    pub header: Header,
    /// Inode of the socket's network namespace.
    pub network: u32,
    /// Length of the sample.
    pub sample_bytes: u32,
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Handshake>() == 32 + 24);
    assert!(size_of::<Opened>() == 32 + 16 + 32 + 112);
    assert!(size_of::<Data>() == 32 + 32);
    assert!(size_of::<StateChange>() == 32 + 32);
    assert!(size_of::<Process>() == 32 + 24);
    assert!(size_of::<Datagram>() == 32 + 8);
};
