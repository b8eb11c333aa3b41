//! Entries of the tables that the agent fills and the kernel part reads, and the counters it reads back.

use crate::limits::{NAME_BYTES, PROCESSES_PER_ENTRY};

/// One byte a process: [`process::WATCHED`] and the like; 0 is "not watched".
pub type ProcessEntry = [u8; PROCESSES_PER_ENTRY as usize];

/// Bits of a process's byte.
pub mod process {
    /// The process's sockets are watched.
    pub const WATCHED: u8 = 1;
    /// The process stays watched when it executes another program.
    pub const KEEP_ON_EXEC: u8 = 2;
    /// Probes sit in the process's TLS library, or in that of the process that forked it.
    pub const TLS: u8 = 4;
}

/// Functions of a TLS library; the cookie that its probes bear.
pub mod function {
    /// `int SSL_read(SSL *, void *, int)`
    pub const READ: u64 = 1;
    /// `int SSL_write(SSL *, const void *, int)`
    pub const WRITE: u64 = 2;
    /// `int SSL_read_ex(SSL *, void *, size_t, size_t *)`
    pub const READ_EX: u64 = 3;
    /// `int SSL_write_ex(SSL *, const void *, size_t, size_t *)`
    pub const WRITE_EX: u64 = 4;
    /// `int SSL_read_early_data(SSL *, void *, size_t, size_t *)`
    pub const READ_EARLY: u64 = 5;
    /// `int SSL_write_early_data(SSL *, const void *, size_t, size_t *)`
    pub const WRITE_EARLY: u64 = 6;
    /// `ossl_ssize_t SSL_sendfile(SSL *, int, off_t, size_t, int)`
    pub const SENDFILE: u64 = 7;
    /// `int SSL_do_handshake(SSL *)`
    pub const HANDSHAKE: u64 = 8;
    /// `int SSL_shutdown(SSL *)`
    pub const SHUTDOWN: u64 = 9;
    /// `int SSL_peek(SSL *, void *, int)`, and its other form: they move nothing.
    pub const PEEK: u64 = 10;
    /// `void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned *)`
    pub const ALPN: u64 = 11;
    /// [`READ_EARLY`] where the record layer tells what it moves: it makes the handshake.
    pub const EARLY_HANDSHAKE: u64 = 12;
    /// `void SSL_free(SSL *)`
    pub const FREE: u64 = 13;
}

/// Where a probe in the record layer finds what it needs; four such locations are the probe's cookie.
pub mod place {
    /// Nowhere.
    pub const UNKNOWN: u16 = 0;
    const REGISTER: u16 = 0x8000;

    /// In the register that is this word of `struct pt_regs`.
    pub const fn register(word: u16) -> u16 {
        REGISTER | word
    }

    /// So many bytes above the stack pointer; `None` if those are too many.
    pub const fn stack(bytes: u32) -> Option<u16> {
        if bytes < REGISTER as u32 - 1 { Some(bytes as u16 + 1) } else { None }
    }

    /// The word of the register, if it is one.
    pub const fn word(location: u16) -> Option<u16> {
        if location & REGISTER != 0 { Some(location & !REGISTER) } else { None }
    }

    /// The distance from the stack pointer, where it is no register.
    pub const fn distance(location: u16) -> u64 {
        (location as u64).wrapping_sub(1)
    }

    /// Four locations in one number.
    pub const fn cookie(locations: [u16; 4]) -> u64 {
        let [first, second, third, fourth] = locations;
        first as u64 | (second as u64) << 16 | (third as u64) << 32 | (fourth as u64) << 48
    }

    /// One of the four.
    pub const fn location(cookie: u64, index: u32) -> u16 {
        (cookie >> (16 * index)) as u16
    }
}

/// Bits of a port's byte in the port table.
pub mod port {
    /// A watched process listens on this port.
    pub const LISTENING: u8 = 1;
    /// Whoever listens on this port is to be watched.
    pub const SELECTED: u8 = 2;
}

/// A program's name as the kernel keeps it: cut to 15 bytes, closed and filled with zeros.
pub type Name = [u8; NAME_BYTES];

/// Offsets in the running kernel's structures, in bytes, read by the agent from the kernel's BTF.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "bpf"), derive(zerocopy::IntoBytes, zerocopy::Immutable))]
pub struct Offsets {
    /// `struct sock_common.skc_family`
    pub family: u32,
    /// `struct sock_common.skc_state`
    pub state: u32,
    /// `struct sock_common.skc_daddr`
    pub remote_v4: u32,
    /// `struct sock_common.skc_rcv_saddr`
    pub local_v4: u32,
    /// `struct sock_common.skc_dport`, in network order
    pub remote_port: u32,
    /// `struct sock_common.skc_num`, in host order
    pub local_port: u32,
    /// `struct sock_common.skc_v6_daddr`
    pub remote_v6: u32,
    /// `struct sock_common.skc_v6_rcv_saddr`
    pub local_v6: u32,
    /// `struct sock_common.skc_net.net`
    pub net: u32,
    /// `struct net.ns.inum`
    pub net_inode: u32,
    /// `struct sock.sk_protocol`
    pub protocol: u32,
    /// `struct sock.sk_type`
    pub kind: u32,
    /// `struct sock.sk_err`
    pub error: u32,
    /// `struct tcp_sock.copied_seq`
    pub copied: u32,
    /// `struct unix_sock.addr`
    pub unix_address: u32,
    /// `struct unix_sock.peer`
    pub unix_peer: u32,
    /// `struct unix_address.len`
    pub unix_length: u32,
    /// `struct unix_address.name`
    pub unix_name: u32,
    /// `struct task_struct.pid`
    pub task_id: u32,
    /// `struct task_struct.tgid`
    pub task_group: u32,
    /// `struct task_struct.thread_info.status` (x86: bit 1 is a 32-bit system call, `TS_COMPAT`)
    pub task_status: u32,
    /// `struct sock.sk_shutdown`
    pub shutdown: u32,
}

/// What a processor keeps of the runs of the programs on changes of sockets' states; indexes.
pub mod runs {
    /// The first program is in the midst of a run: what comes now, it is left out of.
    pub const IS_RUNNING: u32 = 0;
    /// How many changes the second program has followed in its place.
    pub const TAKEN_OVER: u32 = 1;
    /// How many there are.
    pub const ALL: u32 = 2;
}

/// Reasons for which the kernel part counts a loss; the index into its counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The ring buffer had no room for a record.
    RingFull = 0,
    /// The kernel gave no memory for a socket's state.
    SocketStateFull = 1,
    /// The user's memory could not be read.
    CopyFailed = 2,
    /// A system call whose buffers this program does not know moved bytes.
    UnsampledCall = 3,
    /// io_uring moved bytes.
    IoUring = 4,
    /// A 32-bit process moved bytes.
    CompatCall = 5,
    /// A TLS library moved plaintext of a connection whose socket was never seen inside its calls.
    TlsSocketUnknown = 6,
    /// A program was not run, as one is not within itself, and none in its place; counted by the kernel, not here.
    ProgramMissed = 7,
}

impl Loss {
    /// Every reason, in the order of its index.
    pub const ALL: [Loss; 8] = [
        Loss::RingFull,
        Loss::SocketStateFull,
        Loss::CopyFailed,
        Loss::UnsampledCall,
        Loss::IoUring,
        Loss::CompatCall,
        Loss::TlsSocketUnknown,
        Loss::ProgramMissed,
    ];

    /// The reason's name as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Loss::RingFull => "ring_full",
            Loss::SocketStateFull => "socket_state_full",
            Loss::CopyFailed => "copy_failed",
            Loss::UnsampledCall => "unsampled_call",
            Loss::IoUring => "io_uring",
            Loss::CompatCall => "compat_call",
            Loss::TlsSocketUnknown => "tls_socket_unknown",
            Loss::ProgramMissed => "program_missed",
        }
    }
}

/// [`Offsets`] as words.
pub const OFFSET_WORDS: usize = 22;

const _: () = assert!(size_of::<Offsets>() == OFFSET_WORDS * 4);
