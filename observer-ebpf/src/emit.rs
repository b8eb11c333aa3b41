//! The one place that puts records into the ring.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ktime_get_ns,
};
use observer_ebpf::{
    record::{Header, Opened, kind},
    tables::Loss,
};

use crate::{
    maps::{self, ASLEEP, RECORDS},
    sockets::{self, Sock, Socket, Stream},
    task::Task,
};

/// The agent polls: a wake-up for each record would cost the gateway more than all the rest.
pub const QUIETLY: u64 = BPF_RB_NO_WAKEUP as u64;

/// For what the agent should look at before it happens again.
pub const AT_ONCE: u64 = BPF_RB_FORCE_WAKEUP as u64;

/// For a call that moved bytes: an agent that sleeps after a long time without any is woken, once.
#[inline(always)]
pub fn as_awaited() -> u64 {
    match ASLEEP.get_ptr_mut(0) {
        // SAFETY: a number of its own. Two processors may both wake the agent, which does no harm.
        Some(asleep) if unsafe { *asleep } != 0 => {
            // SAFETY: as above.
            unsafe { *asleep = 0 };
            AT_ONCE
        }
        _ => QUIETLY,
    }
}

/// A header for the next record of `socket`.
#[inline(always)]
pub fn header(kind: u8, process: u8, task: Task, socket: &mut Socket) -> Header {
    header_of(kind, process, task, socket.cookie, &mut socket.stream)
}

/// The same for one layer of the socket with this cookie.
#[inline(always)]
pub fn header_of(kind: u8, process: u8, task: Task, socket: u64, stream: &mut Stream) -> Header {
    Header { time_ns: now_ns(), ..timeless_header_of(kind, process, task, socket, stream) }
}

/// The same without the time.
#[inline(always)]
pub fn timeless_header_of(kind: u8, process: u8, task: Task, socket: u64, stream: &mut Stream) -> Header {
    let sequence = stream.sequence;
    stream.sequence = sequence.wrapping_add(1);
    Header {
        kind,
        process,
        reserved: 0,
        sequence,
        socket,
        time_ns: 0,
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
    let header = header(kind::OPENED, process, task, socket);
    let Some(mut entry) = RECORDS.reserve::<Opened>(0) else {
        maps::lost(Loss::RingFull);
        return;
    };
    clear(entry.as_mut_ptr());
    // SAFETY: all bytes are zero, and any bytes are a valid record.
    let record = unsafe { entry.assume_init_mut() };
    record.header = header;
    record.role = socket.stream.role;
    record.state = state;
    sockets::describe(sk, record);
    entry.submit(QUIETLY);
    socket.announced = 1;
}

/// By words: the verifier goes through the compiler's own loop byte by byte, and the agent's start waits for that.
#[inline(always)]
fn clear(record: *mut Opened) {
    const WORDS: usize = size_of::<Opened>() / size_of::<u64>();
    let mut index = 0;
    while index < WORDS {
        // SAFETY: within the record; volatile, or the compiler would take its own loop.
        unsafe { record.cast::<u64>().add(index).write_volatile(0) };
        index += 1;
    }
}
