//! The last bytes of what a call moved.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_ebpf::limits::{TAIL_BYTES, WALKED_VECTORS};

use super::{Source, Vector, read, read_bytes};

/// Last bytes of a call.
#[derive(Clone, Copy)]
pub struct Tail {
    /// [`observer_ebpf::record::Data::tail`].
    pub bytes: u64,
    /// Bytes in use.
    pub length: u8,
}

impl Tail {
    pub const NONE: Tail = Tail { bytes: 0, length: 0 };
}

impl Tail {
    /// Whether these may be the last bytes of a request without a body, and are not those of a chunked body.
    #[inline(always)]
    pub fn may_end_a_request(&self) -> bool {
        const BLANK_LINE: u64 = u64::from_le_bytes(*b"\0\0\0\0\r\n\r\n");
        const OF_BLANK_LINE: u64 = u64::from_le_bytes([0, 0, 0, 0, 255, 255, 255, 255]);
        const LAST_CHUNK: u64 = u64::from_le_bytes(*b"\0\r\n0\r\n\r\n");
        const OF_LAST_CHUNK: u64 = u64::from_le_bytes([0, 255, 255, 255, 255, 255, 255, 255]);
        let bytes = u64::from_le(self.bytes);
        self.length == TAIL_BYTES as u8 && bytes & OF_BLANK_LINE == BLANK_LINE && bytes & OF_LAST_CHUNK != LAST_CHUNK
    }
}

/// Takes the last bytes of what the call moved: a long chunked body shows its end there.
#[inline(always)]
pub fn read_tail(bytes: u32, source: &Source) -> Tail {
    let Some((end, length)) = last_buffer(bytes, source) else {
        return Tail::NONE;
    };
    let length = if length < TAIL_BYTES as u64 { length as u32 } else { TAIL_BYTES as u32 };
    let mut tail = 0u64;
    if length > 0 && read_bytes((&raw mut tail).cast(), length, end - u64::from(length)) {
        Tail { bytes: tail, length: length as u8 }
    } else {
        Tail::NONE
    }
}

/// The end of the buffer that holds the call's last byte, and how many of its bytes the call moved.
#[inline(always)]
fn last_buffer(bytes: u32, source: &Source) -> Option<(u64, u64)> {
    if !source.is_readable() {
        return None;
    }
    let bytes = u64::from(bytes);
    if source.vectors == 0 || bytes <= source.first.length {
        return Some((source.first.base + bytes, bytes));
    }
    let behind_first = source.count.saturating_sub(1).min(WALKED_VECTORS as u64 - 1) as u32;
    let vector = source.vectors + size_of::<Vector>() as u64;
    let mut walk = Walk { vector, left: bytes - source.first.length, end: 0 };
    // The verifier looks at a callback once, at a loop as often as it may run.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and its context outlives the call.
    unsafe { bpf_loop(behind_first, next_vector as *mut c_void, (&raw mut walk).cast(), 0) };
    (walk.end != 0).then_some((walk.end, walk.left))
}

/// A walk along vectors.
#[repr(C)]
struct Walk {
    /// Where the next one lies.
    vector: u64,
    /// Bytes of the call from there on.
    left: u64,
    /// Where the call's last byte ends; 0 as long as that is not known.
    end: u64,
}

/// Looks at the next vector. Returns 1 to end the walk.
unsafe extern "C" fn next_vector(_: u32, walk: *mut Walk) -> i64 {
    // SAFETY: `last_buffer` passes its own.
    let walk = unsafe { &mut *walk };
    let Some(vector) = read::<Vector>(walk.vector) else {
        return 1;
    };
    if walk.left <= vector.length {
        walk.end = vector.base + walk.left;
        return 1;
    }
    walk.left -= vector.length;
    walk.vector += size_of::<Vector>() as u64;
    0
}
