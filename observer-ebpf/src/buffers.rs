//! The one place that reads user memory.

mod content;
mod gather;
mod samples;
mod tail;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use observer_ebpf::{record::call, tables::Loss};

use crate::{
    arch::{Call, Registers},
    maps,
    task::Current,
};

pub use content::{
    TLS_HANDSHAKE, TlsRecord, begins_a_name_answer, begins_a_request, begins_a_response, tls_alert, tls_record,
};
pub use samples::{emit, emit_datagram, emit_head};

/// Where a call's bytes lie in the user's memory.
pub struct Source {
    /// One of [`call`].
    pub call: u8,
    /// The first buffer, of at least as many bytes as the call moved into or out of it.
    first: Vector,
    /// The second, where there are several.
    second: Vector,
    /// Where the vectors lie, 0 for a plain buffer.
    vectors: u64,
    count: u64,
}

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Vector {
    base: u64,
    length: u64,
}

impl Vector {
    const NONE: Vector = Vector { base: 0, length: 0 };
}

impl Source {
    /// Nothing to read.
    #[inline(always)]
    pub fn none() -> Self {
        Source::unreadable(call::BUFFER)
    }

    #[inline(always)]
    fn unreadable(call: u8) -> Self {
        Source { call, first: Vector::NONE, second: Vector::NONE, vectors: 0, count: 0 }
    }

    /// So many bytes in a row.
    #[inline(always)]
    pub fn plain(base: u64, length: u64) -> Self {
        Source { first: Vector { base, length }, ..Source::none() }
    }

    /// Pages of a file.
    #[inline(always)]
    pub fn pages() -> Self {
        Source::unreadable(call::PAGES)
    }

    #[inline(always)]
    pub fn is_readable(&self) -> bool {
        self.first.base != 0
    }

    /// Each read of user memory costs by the call, not by the byte: two vectors come at once.
    #[inline(always)]
    fn from_vectors(vectors: u64, count: u64) -> Self {
        let two = if count > 1 {
            read::<[Vector; 2]>(vectors)
        } else {
            read::<Vector>(vectors).map(|first| [first, Vector::NONE])
        };
        let Some([first, second]) = two else {
            maps::lost(Loss::CopyFailed);
            return Source::unreadable(call::UNKNOWN);
        };
        Source { call: call::BUFFER, first, second, vectors, count }
    }
}

/// Finds the buffers of the system call under way.
#[inline(always)]
pub fn locate(current: Current) -> Source {
    let registers = Registers::of(current);
    if registers.is_compat() {
        return Source::unreadable(call::COMPAT);
    }
    if !registers.is_in_call() {
        return Source::unreadable(call::IO_URING);
    }
    match registers.call() {
        Call::Buffer => Source::plain(registers.second(), registers.third()),
        Call::Vectors => Source::from_vectors(registers.second(), registers.third()),
        Call::Message => {
            // `struct user_msghdr`: msg_iov and msg_iovlen are its third and fourth word.
            match read::<Vector>(registers.second() + 16) {
                Some(list) => Source::from_vectors(list.base, list.length),
                None => {
                    maps::lost(Loss::CopyFailed);
                    Source::unreadable(call::UNKNOWN)
                }
            }
        }
        Call::Pages => Source::unreadable(call::PAGES),
        Call::IoUring => Source::unreadable(call::IO_URING),
        Call::Other => Source::unreadable(call::UNKNOWN),
    }
}

/// Reads a value at a user's address.
#[inline(always)]
pub fn read<T: Copy>(from: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    if read_bytes(value.as_mut_ptr().cast(), size_of::<T>() as u32, from) {
        // SAFETY: all of it was read, and any bytes are valid for the types used here.
        Some(unsafe { value.assume_init() })
    } else {
        None
    }
}

#[inline(always)]
pub fn read_bytes(to: *mut u8, length: u32, from: u64) -> bool {
    // SAFETY: the verifier checks `to` and `length`; a bad `from` fails without harm.
    unsafe { bpf_probe_read_user(to.cast(), length, from as *const _) == 0 }
}
