//! What a response's head tells of its body.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_ebpf::limits::RESPONSE_HEAD_BYTES;

const STEP_BYTES: u32 = 16;
const STATUS_AT: usize = 9;

#[repr(C)]
struct Search {
    sample: *const u8,
    /// The last four bytes looked at.
    last: u32,
    found: u32,
}

/// Whether a final response's head ends within the first `RESPONSE_HEAD_BYTES`, and its body is not one of chunks
/// (RFC 9112, section 6): then none of the body's bytes says where it ends.
#[inline(always)]
pub fn tells_length(sample: *const u8) -> bool {
    // SAFETY: the caller filled `RESPONSE_HEAD_BYTES`.
    if unsafe { sample.add(STATUS_AT).read() } == b'1' {
        return false;
    }
    let mut search = Search { sample, last: 0, found: 0 };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and its context outlives the call.
    unsafe { bpf_loop(RESPONSE_HEAD_BYTES / STEP_BYTES, step as *mut c_void, (&raw mut search).cast(), 0) };
    search.found == 1
}

/// Looks at the next bytes. Returns 1 to end the search.
unsafe extern "C" fn step(index: u32, search: *mut Search) -> i64 {
    // SAFETY: `tells_length` passes its own.
    let search = unsafe { &mut *search };
    let from = index * STEP_BYTES;
    if from > RESPONSE_HEAD_BYTES - STEP_BYTES {
        return 1;
    }
    let mut last = search.last;
    let mut index = 0;
    while index < STEP_BYTES {
        // SAFETY: the sample has `RESPONSE_HEAD_BYTES`.
        last = last << 8 | u32::from(unsafe { search.sample.add((from + index) as usize).read() });
        index += 1;
        if ends_head(last) {
            search.found = 1;
            return 1;
        }
        if begins_coding(last) {
            return 1;
        }
    }
    search.last = last;
    0
}

/// An empty line; a line may end without a carriage return.
#[inline(always)]
fn ends_head(last: u32) -> bool {
    last & 0xffff == u32::from_be_bytes(*b"\0\0\n\n") || last & 0xff_ffff == u32::from_be_bytes(*b"\0\n\r\n")
}

/// `Transfer-Encoding` and `Trailer` begin a line like this, and little else does.
#[inline(always)]
fn begins_coding(last: u32) -> bool {
    (last | 0x2020) & 0xff_ffff == u32::from_be_bytes(*b"\0\ntr")
}
