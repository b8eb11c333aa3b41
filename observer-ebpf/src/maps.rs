//! The tables between agent and kernel.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, PerCpuArray, RingBuf},
};
use observer_ebpf::{
    limits::{PROCESS_ENTRIES, PROCESSES_PER_ENTRY, RING_BYTES, TLS_CALLER_IDS, TLS_CONNECTIONS, WATCHED_NAMES},
    tables::{Loss, Name, Offsets, ProcessEntry, runs},
};

use crate::{
    sockets::Socket,
    task_storage::TaskStorage,
    tls::{
        Thread,
        sessions::{Key, Session},
    },
};

/// Records for the agent, which polls: nothing here wakes it, but for what it asks to be woken by.
#[map]
pub static RECORDS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Whether the agent sleeps until a call moves bytes.
#[map]
pub static ASLEEP: Array<u32> = Array::with_max_entries(1, 0);

/// Which processes are watched, by process id: an array, since its look-up is inlined into the program.
#[map]
pub static PROCESSES: Array<ProcessEntry> = Array::with_max_entries(PROCESS_ENTRIES, 0);

/// Which TCP ports gateways listen on, by port.
#[map]
pub static PORTS: Array<ProcessEntry> = Array::with_max_entries(65536 / PROCESSES_PER_ENTRY, 0);

/// Names of programs to watch from their exec on; an empty one ends the list.
#[map]
pub static NAMES: Array<Name> = Array::with_max_entries(WATCHED_NAMES, 0);

/// Losses by reason.
#[map]
pub static LOSSES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Loss::ALL.len() as u32, 0);

/// Runs of the programs on changes of sockets' states, by [`runs`].
#[map]
pub static STATE_RUNS: PerCpuArray<u64> = PerCpuArray::with_max_entries(runs::ALL, 0);

/// What is known of each socket, kept by the kernel at the socket and freed with it.
#[btf_map]
pub static SOCKETS: SkStorage<Socket> = SkStorage::new();

/// What is known of each thread that calls a TLS library.
#[btf_map]
pub static THREADS: TaskStorage<Thread> = TaskStorage::new();

/// Which threads have ever been in a function of a TLS library, by the low bits of their ids: asking an array costs less
/// than asking the thread. Who is marked by another's id is only looked at more closely.
#[map]
pub static TLS_CALLERS: Array<ProcessEntry> = Array::with_max_entries(TLS_CALLER_IDS / PROCESSES_PER_ENTRY, 0);

/// TLS connections by process and `SSL *`. Room is taken as they come.
#[map]
pub static SESSIONS: HashMap<Key, Session> = HashMap::with_max_entries(TLS_CONNECTIONS, BPF_F_NO_PREALLOC);

#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets {
    family: 0,
    state: 0,
    remote_v4: 0,
    local_v4: 0,
    remote_port: 0,
    local_port: 0,
    remote_v6: 0,
    local_v6: 0,
    net: 0,
    net_inode: 0,
    protocol: 0,
    kind: 0,
    error: 0,
    copied: 0,
    unix_address: 0,
    unix_peer: 0,
    unix_length: 0,
    unix_name: 0,
    task_id: 0,
    task_group: 0,
    task_status: 0,
    shutdown: 0,
};

/// One of the running kernel's offsets: the agent sets them before the programs are loaded, and the table is frozen,
/// so that the verifier knows each as a constant.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static of this program; volatile, or the compiler would take the zeros above.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) as usize }
    };
}
pub(crate) use offset;

/// Counts a loss. Returns how many of its kind this processor has seen, for one message at the first.
#[inline(always)]
pub fn lost(reason: Loss) -> u64 {
    let Some(count) = LOSSES.get_ptr_mut(reason as u32) else {
        return 0;
    };
    // SAFETY: this processor's own counter.
    unsafe {
        *count += 1;
        *count
    }
}
