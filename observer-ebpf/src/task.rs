//! The task that runs.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task_btf};

use crate::{maps::offset, sockets::load};

/// Ids of a task: process id above, thread id below.
#[derive(Clone, Copy)]
pub struct Task(u64);

impl Task {
    /// For records that the current task says nothing about.
    pub const NONE: Task = Task(0);

    /// Those of the task that runs.
    #[inline(always)]
    pub fn current() -> Self {
        // SAFETY: a helper without requirements.
        Task(unsafe { bpf_get_current_pid_tgid() })
    }

    #[inline(always)]
    pub fn process(self) -> u32 {
        (self.0 >> 32) as u32
    }

    #[inline(always)]
    pub fn thread(self) -> u32 {
        self.0 as u32
    }
}

/// The kernel's `struct task_struct` of the task that runs: asked for once, since each helper costs a call.
#[derive(Clone, Copy)]
pub struct Current(*const c_void);

impl Current {
    #[inline(always)]
    pub fn get() -> Self {
        // SAFETY: a helper without requirements.
        Current(unsafe { bpf_get_current_task_btf() } as *const c_void)
    }

    /// Its ids.
    #[inline(always)]
    pub fn ids(self) -> Task {
        let (process, thread) = (load::<u32>(self.0, offset!(task_group)), load::<u32>(self.0, offset!(task_id)));
        Task(u64::from(process) << 32 | u64::from(thread))
    }

    /// A pointer that the verifier knows as one to a `struct task_struct`.
    #[inline(always)]
    pub fn as_ptr(self) -> *const c_void {
        self.0
    }
}
