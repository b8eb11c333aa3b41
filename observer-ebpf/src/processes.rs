//! Which processes are watched: children of watched ones, programs of a watched name, until they end.

use core::ffi::c_void;

use aya_ebpf::{helpers::bpf_get_current_comm, programs::BtfTracePointContext};
use observer_ebpf::{
    limits::{NAME_BYTES, PROCESSES_PER_ENTRY, WATCHED_NAMES},
    record::{Header, Process, kind, process as what},
    tables::{Loss, Name, process},
};

use crate::{
    emit::{self, AT_ONCE},
    maps::{self, NAMES, PROCESSES, RECORDS, offset},
    sockets::load,
    task::Task,
};

/// The bits of a process in the process table; 0 if it is not watched.
#[inline(always)]
pub fn bits(process_id: u32) -> u8 {
    match PROCESSES.get(process_id / PROCESSES_PER_ENTRY) {
        Some(entry) => entry[(process_id % PROCESSES_PER_ENTRY) as usize],
        None => 0,
    }
}

/// Sets the bits of a process.
#[inline(always)]
pub fn watch(process_id: u32, bits: u8) {
    if let Some(entry) = PROCESSES.get_ptr_mut(process_id / PROCESSES_PER_ENTRY) {
        // SAFETY: the index is below the entry's length.
        unsafe { (*entry)[(process_id % PROCESSES_PER_ENTRY) as usize] = bits };
    }
}

/// A child of a watched process is watched before it runs; a child of another is not, whoever had its id before.
#[inline(always)]
pub fn forked(ctx: &BtfTracePointContext) -> i32 {
    let parent = Task::current().process();
    let child = ctx.arg::<*const c_void>(1);
    let (id, group) = (load::<u32>(child, offset!(task_id)), load::<u32>(child, offset!(task_group)));
    let inherited = bits(parent);
    if id != group || inherited == bits(group) {
        return 0;
    }
    watch(group, inherited);
    if inherited & process::WATCHED != 0 {
        emit_change(what::FORKED, inherited, group, id, parent, &[0; NAME_BYTES]);
    }
    0
}

/// A watched process that executes another program stays watched if it was selected by itself, or if the new name is a
/// watched one; a process of a watched name begins to be watched.
#[inline(always)]
pub fn executed() -> i32 {
    let task = Task::current();
    let before = bits(task.process());
    let Ok(name) = bpf_get_current_comm() else {
        return 0;
    };
    let kept = before & process::KEEP_ON_EXEC != 0;
    if !kept && before == 0 && !is_watched(&name) {
        return 0;
    }
    let after = if kept {
        before
    } else if is_watched(&name) {
        process::WATCHED
    } else {
        0
    };
    watch(task.process(), after);
    emit_change(what::EXECUTED, after, task.process(), task.thread(), 0, &name);
    0
}

/// The leader's end is the process's: the id may be given to another from here on.
#[inline(always)]
pub fn exited() -> i32 {
    let task = Task::current();
    let bits = bits(task.process());
    if bits != 0 && task.process() == task.thread() {
        watch(task.process(), 0);
        emit_change(what::EXITED, bits, task.process(), task.thread(), 0, &[0; NAME_BYTES]);
    }
    0
}

#[inline(always)]
fn is_watched(name: &Name) -> bool {
    let mut index = 0;
    while index < WATCHED_NAMES {
        match NAMES.get(index) {
            Some(watched) if watched[0] != 0 => {
                if halves(watched) == halves(name) {
                    return true;
                }
            }
            _ => return false,
        }
        index += 1;
    }
    false
}

#[inline(always)]
fn halves(name: &Name) -> (u64, u64) {
    let pointer = name.as_ptr().cast::<u64>();
    // SAFETY: a name has 16 bytes.
    unsafe { (pointer.read_unaligned(), pointer.add(1).read_unaligned()) }
}

#[inline(always)]
fn emit_change(what: u8, bits: u8, process_id: u32, thread_id: u32, parent_id: u32, name: &Name) {
    let Some(mut entry) = RECORDS.reserve::<Process>(0) else {
        maps::lost(Loss::RingFull);
        return;
    };
    entry.write(Process {
        header: Header {
            kind: kind::PROCESS,
            process: bits,
            reserved: 0,
            sequence: 0,
            socket: 0,
            time_ns: emit::now_ns(),
            process_id,
            thread_id,
        },
        what,
        reserved: [0; 3],
        parent_id,
        name: *name,
    });
    // A new process gets its probes before it serves.
    entry.submit(AT_ONCE);
}
