//! Where each architecture keeps a system call's number and arguments, and what the numbers mean.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_task_pt_regs};

use observer_ebpf::tables::place;

#[cfg(bpf_target_arch = "x86_64")]
use crate::maps::offset;
use crate::{buffers, sockets, task::Current};

/// The user's registers at the system call under way.
pub struct Registers {
    words: *const u64,
    #[cfg_attr(bpf_target_arch = "aarch64", expect(dead_code, reason = "only x86-64 tells a 32-bit call there"))]
    task: Current,
}

impl Registers {
    /// Those of the current task.
    #[inline(always)]
    pub fn of(task: Current) -> Self {
        // SAFETY: takes any task.
        Registers { words: unsafe { bpf_task_pt_regs(task.as_ptr().cast_mut().cast()) } as *const u64, task }
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: the verifier checks the load against `struct pt_regs`.
        unsafe { core::ptr::read_volatile(self.words.add(index)) }
    }
}

/// The user's registers where a probe sits.
pub struct ProbeRegisters(*const u64);

impl ProbeRegisters {
    /// Those that the program was called with.
    #[inline(always)]
    pub fn of(ctx: &impl EbpfContext) -> Self {
        ProbeRegisters(ctx.as_ptr() as *const u64)
    }

    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        // SAFETY: the context of a probe is the registers (`struct pt_regs`).
        unsafe { core::ptr::read_volatile(self.0.add(index)) }
    }

    /// One of the first four arguments.
    #[inline(always)]
    pub fn argument<const N: usize>(&self) -> u64 {
        self.word(registers::ARGUMENTS[N])
    }

    /// The result.
    #[inline(always)]
    pub fn result(&self) -> u64 {
        self.word(registers::RESULT)
    }

    /// The stack pointer.
    #[inline(always)]
    pub fn stack(&self) -> u64 {
        self.word(registers::STACK)
    }

    /// The general registers: the verifier lets a program choose among its own stack's words, not among these.
    #[inline(always)]
    pub fn all(&self) -> [u64; GENERAL] {
        core::array::from_fn(|index| self.word(index))
    }

    /// What is in a register among `words`, or on the user's stack; `None` if that cannot be read.
    #[inline(always)]
    pub fn at(&self, words: &[u64; GENERAL], location: u16) -> Option<u64> {
        match place::word(location) {
            Some(word) => Some(words[usize::from(word) % GENERAL]),
            None => buffers::read::<u64>(self.stack() + place::distance(location)),
        }
    }
}

/// Words at the beginning of `struct pt_regs` that a location may name.
const GENERAL: usize = 16;

/// How a system call hands over its bytes.
pub enum Call {
    /// Arguments: descriptor, buffer, length.
    Buffer,
    /// Arguments: descriptor, vectors, count.
    Vectors,
    /// Arguments: descriptor, `struct msghdr`.
    Message,
    /// From a file or a pipe.
    Pages,
    /// io_uring.
    IoUring,
    /// Another one.
    Other,
}

#[cfg(bpf_target_arch = "x86_64")]
mod registers {
    // Indices of words in `struct pt_regs` (arch/x86/include/asm/ptrace.h).
    pub const NUMBER: usize = 15;
    pub const SECOND: usize = 13;
    pub const THIRD: usize = 12;
    pub const STACK: usize = 19;
    pub const RESULT: usize = 10;
    pub const ARGUMENTS: [usize; 4] = [14, 13, 12, 11];
}

#[cfg(bpf_target_arch = "x86_64")]
mod numbers {
    // arch/x86/entry/syscalls/syscall_64.tbl
    pub const BUFFER: [u64; 4] = [45, 44, 0, 1];
    pub const VECTORS: [u64; 4] = [20, 19, 327, 328];
    pub const MESSAGE: [u64; 2] = [46, 47];
    pub const PAGES: [u64; 3] = [40, 275, 278];
    pub const IO_URING_ENTER: u64 = 426;
}

#[cfg(bpf_target_arch = "aarch64")]
mod registers {
    // `struct pt_regs` (arch/arm64/include/asm/ptrace.h): regs[0..31], sp, pc, pstate, orig_x0, syscallno.
    pub const NUMBER: usize = 35;
    pub const SECOND: usize = 1;
    pub const THIRD: usize = 2;
    pub const PSTATE: usize = 33;
    /// `orig_x0`
    pub const FIRST: usize = 34;
    pub const STACK: usize = 31;
    pub const RESULT: usize = 0;
    pub const ARGUMENTS: [usize; 4] = [0, 1, 2, 3];
}

#[cfg(bpf_target_arch = "aarch64")]
mod numbers {
    // include/uapi/asm-generic/unistd.h
    pub const BUFFER: [u64; 4] = [207, 206, 63, 64];
    pub const VECTORS: [u64; 4] = [66, 65, 286, 287];
    pub const MESSAGE: [u64; 2] = [211, 212];
    pub const PAGES: [u64; 3] = [71, 76, 75];
    pub const IO_URING_ENTER: u64 = 426;
}

impl Registers {
    /// Which call it is.
    #[inline(always)]
    pub fn call(&self) -> Call {
        let number = self.number();
        if is_one_of(number, &numbers::BUFFER) {
            Call::Buffer
        } else if is_one_of(number, &numbers::VECTORS) {
            Call::Vectors
        } else if is_one_of(number, &numbers::MESSAGE) {
            Call::Message
        } else if is_one_of(number, &numbers::PAGES) {
            Call::Pages
        } else if number == numbers::IO_URING_ENTER {
            Call::IoUring
        } else {
            Call::Other
        }
    }

    /// The second argument: a user's address.
    #[inline(always)]
    pub fn second(&self) -> u64 {
        self.word(registers::SECOND)
    }

    /// The third argument: a length or count.
    #[inline(always)]
    pub fn third(&self) -> u64 {
        self.word(registers::THIRD)
    }

    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    fn number(&self) -> u64 {
        self.word(registers::NUMBER)
    }

    #[cfg(bpf_target_arch = "aarch64")]
    #[inline(always)]
    fn number(&self) -> u64 {
        // Half a word: the verifier lets no load reach into the next field.
        u64::from(sockets::load::<u32>(self.words.cast(), registers::NUMBER * size_of::<u64>()))
    }

    /// The stack pointer.
    #[inline(always)]
    pub fn stack(&self) -> u64 {
        self.word(registers::STACK)
    }

    /// Whether the task is within the call that its registers tell of. What io_uring does later it does when a call is over
    /// (`task_work_run`), which may have been any, or on a thread of the kernel's.
    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    pub fn is_in_call(&self) -> bool {
        // The entry code sets it, the call's end overwrites it (arch/x86/entry/entry_64.S, `do_syscall_x64`).
        const ENOSYS: i64 = 38;
        self.word(registers::RESULT) as i64 == -ENOSYS
    }

    /// Whether the task is within the call that its registers tell of: its first argument is overwritten by the result.
    #[cfg(bpf_target_arch = "aarch64")]
    #[inline(always)]
    pub fn is_in_call(&self) -> bool {
        self.word(registers::RESULT) == self.word(registers::FIRST)
    }

    /// Whether a 32-bit program makes the call: its numbers and structures are others.
    #[cfg(bpf_target_arch = "x86_64")]
    #[inline(always)]
    pub fn is_compat(&self) -> bool {
        const TS_COMPAT: u32 = 2;
        sockets::load::<u32>(self.task.as_ptr(), offset!(task_status)) & TS_COMPAT != 0
    }

    /// Whether a 32-bit program makes the call: its numbers and structures are others.
    #[cfg(bpf_target_arch = "aarch64")]
    #[inline(always)]
    pub fn is_compat(&self) -> bool {
        const PSR_MODE32_BIT: u64 = 0x10;
        self.word(registers::PSTATE) & PSR_MODE32_BIT != 0
    }
}

#[inline(always)]
fn is_one_of<const N: usize>(number: u64, numbers: &[u64; N]) -> bool {
    numbers.contains(&number)
}
