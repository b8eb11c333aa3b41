//! Threads that call a TLS library.

use observer_ebpf::limits::{PROCESSES_PER_ENTRY, TLS_CALLER_IDS};

use crate::maps::TLS_CALLERS;

/// Whether the thread has ever been in a function of a TLS library, or another one with the same low bits of its id.
#[inline(always)]
pub fn is_marked(thread: u32) -> bool {
    let (entry, at) = place(thread);
    TLS_CALLERS.get(entry).is_some_and(|entry| entry[at] != 0)
}

/// The thread is in such a function.
#[inline(always)]
pub fn mark(thread: u32) {
    let (entry, at) = place(thread);
    if let Some(entry) = TLS_CALLERS.get_ptr_mut(entry) {
        // SAFETY: the index is below the entry's length.
        unsafe { (*entry)[at] = 1 };
    }
}

#[inline(always)]
fn place(thread: u32) -> (u32, usize) {
    let id = thread % TLS_CALLER_IDS;
    (id / PROCESSES_PER_ENTRY, (id % PROCESSES_PER_ENTRY) as usize)
}
