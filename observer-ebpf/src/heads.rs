//! What a response's head tells of its body.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use observer_ebpf::limits::RESPONSE_HEAD_BYTES;

/// Bytes that are looked at at once.
const STEP_BYTES: u32 = size_of::<u64>() as u32;
const STATUS_AT: usize = 9;

#[repr(C)]
struct Search {
    sample: *const u8,
    found: u64,
}

/// Whether a final response's head ends within the first `RESPONSE_HEAD_BYTES`, and its body is not one of chunks
/// (RFC 9112, section 6): then none of the body's bytes says where it ends. Behind those bytes there is room for eight
/// more, which are overwritten.
#[inline(always)]
pub fn tells_length(sample: *mut u8) -> bool {
    // SAFETY: the caller filled `RESPONSE_HEAD_BYTES`, and has room behind them.
    unsafe {
        if sample.add(STATUS_AT).read() == b'1' {
            return false;
        }
        sample.add(RESPONSE_HEAD_BYTES as usize).cast::<u64>().write_unaligned(0);
    }
    let mut search = Search { sample, found: 0 };
    // SAFETY: the callback has the signature that `bpf_loop` calls, and its context outlives the call.
    unsafe { bpf_loop(RESPONSE_HEAD_BYTES / STEP_BYTES, step as *mut c_void, (&raw mut search).cast(), 0) };
    search.found == 1
}

/// Looks at the next line feeds, without a branch for each byte: the verifier would follow all of them. Returns 1 to end
/// the search.
unsafe extern "C" fn step(index: u32, search: *mut Search) -> i64 {
    // SAFETY: `tells_length` passes its own.
    let search = unsafe { &mut *search };
    let from = index * STEP_BYTES;
    if from > RESPONSE_HEAD_BYTES - STEP_BYTES {
        return 1;
    }
    // SAFETY: there are `RESPONSE_HEAD_BYTES`, and eight more.
    let word = |at: u32| unsafe { search.sample.add((from + at) as usize).cast::<u64>().read_unaligned() };
    let (first, second, third) = (word(0), word(1), word(2));
    let line_feeds = places(first, b'\n');
    if line_feeds == 0 {
        return 0;
    }
    // An empty line; a line may end without a carriage return.
    let ends = line_feeds & (places(second, b'\n') | places(second, b'\r') & places(third, b'\n'));
    // `Transfer-Encoding` and `Trailer` begin a line like this, and little else does.
    let codings = line_feeds & places(second | LOWER, b't') & places(third | LOWER, b'r');
    if ends | codings == 0 {
        return 0;
    }
    search.found = u64::from(lowest(ends) <= lowest(codings));
    1
}

const EACH: u64 = u64::from_ne_bytes([1; 8]);
const LOW: u64 = EACH * 0x7f;
const LOWER: u64 = EACH * 0x20;

/// The top bit of each byte that is this one. The target is little-endian: the first byte is the lowest.
#[inline(always)]
fn places(word: u64, byte: u8) -> u64 {
    let differs = word ^ (EACH * u64::from(byte));
    !(((differs & LOW) + LOW) | differs | LOW)
}

/// One less than the lowest bit, the greatest number without one.
#[inline(always)]
fn lowest(bits: u64) -> u64 {
    (bits & bits.wrapping_neg()).wrapping_sub(1)
}
