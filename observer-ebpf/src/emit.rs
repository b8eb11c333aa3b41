//! The one place that puts records into the ring.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
};
use observer_ebpf::{
    record::{Header, Opened, kind},
    tables::Loss,
};

use crate::{
    maps::{self, RECORDS},
    sockets::{self, Sock, Socket, Stream},
};

/// The agent polls: a wake-up would cost the gateway more than all the rest.
pub const QUIETLY: u64 = BPF_RB_NO_WAKEUP as u64;

/// For what the agent should look at before it happens again.
pub const AT_ONCE: u64 = BPF_RB_FORCE_WAKEUP as u64;

/// The current task: process id above, thread id below.
#[derive(Clone, Copy)]
pub struct Task(u64);

impl Task {
    /// The one that runs.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: a helper without requirements.
        Task(unsafe { bpf_get_current_pid_tgid() })
    }

    /// For records that the current task says nothing about.
    pub const NONE: Task = Task(0);

    #[inline(always)]
    pub fn process(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub fn thread(self) -> u32 {
        self.0 as u32
    }
}

/// A header for the next record of `socket`.
#[inline(always)]
pub fn header(kind: u8, process: u8, task: Task, sk: Sock, socket: &mut Socket) -> Header {
    header_of(kind, process, task, sockets::cookie(sk), &mut socket.stream)
}

/// A header for the next record of one layer of the socket with this cookie.
#[inline(always)]
pub fn header_of(kind: u8, process: u8, task: Task, socket: u64, stream: &mut Stream) -> Header {
    let sequence = stream.sequence;
    stream.sequence = sequence.wrapping_add(1);
    Header {
        kind,
        process,
        reserved: 0,
        sequence,
        socket,
        time_ns: now_ns(),
        process_id: task.process(),
        thread_id: task.thread(),
    }
}

/// `CLOCK_MONOTONIC`.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: a helper without requirements.
    unsafe { bpf_ktime_get_ns() }
}

/// Announces a socket. Its state is the one it is about to have: the tracepoint comes before the change.
#[inline(always)]
pub fn opened(sk: Sock, socket: &mut Socket, process: u8, task: Task, state: u8) {
    let header = header(kind::OPENED, process, task, sk, socket);
    let Some(mut entry) = RECORDS.reserve::<Opened>(0) else {
        maps::lost(Loss::RingFull);
        return;
    };
    // SAFETY: all bytes are zero first, and any bytes are a valid record.
    let record = unsafe {
        entry.as_mut_ptr().write_bytes(0, 1);
        entry.assume_init_mut()
    };
    record.header = header;
    record.role = socket.stream.role;
    record.state = state;
    sockets::describe(sk, record);
    entry.submit(QUIETLY);
    socket.announced = 1;
}
