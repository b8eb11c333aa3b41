//! A sample out of several I/O vectors.

use core::{ffi::c_void, hint::black_box};

use aya_ebpf::helpers::generated::bpf_loop;
use observer_ebpf::{limits::GATHERED_VECTORS, tables::Loss};

use super::{Source, Vector, read, read_bytes};
use crate::maps;

/// Whether the first buffer holds less than is wanted.
#[inline(always)]
pub fn is_gathered(source: &Source, wanted: u32) -> bool {
    source.vectors != 0 && source.count > 1 && source.first.length < u64::from(wanted)
}

/// Fills `to`, which has room for 2 `N`, with the first `wanted` bytes, at most `N`, of the vectors. Returns how many
/// could be had.
#[inline(always)]
pub fn gather<const N: u32>(to: *mut u8, wanted: u32, source: &Source) -> u32 {
    let vector = source.vectors + 2 * size_of::<Vector>() as u64;
    let mut sample = Sample { to, vector, filled: 0, wanted };
    if !sample.add::<N>(source.first) || !sample.add::<N>(source.second) || sample.filled >= wanted || source.count < 3
    {
        return sample.filled;
    }
    let more = source.count.min(u64::from(GATHERED_VECTORS)) as u32 - 2;
    // The verifier looks at a callback once, at a loop as often as it may run.
    // SAFETY: the callback has the signature that `bpf_loop` calls, and its context outlives the call.
    unsafe { bpf_loop(more, next_vector::<N> as *mut c_void, (&raw mut sample).cast(), 0) };
    sample.filled
}

/// A sample that is being filled.
#[repr(C)]
struct Sample {
    to: *mut u8,
    /// Where the next vector lies.
    vector: u64,
    filled: u32,
    wanted: u32,
}

impl Sample {
    /// Adds what is wanted of a vector. Returns whether that could be read.
    #[inline(always)]
    fn add<const N: u32>(&mut self, vector: Vector) -> bool {
        let room = self.wanted - self.filled;
        let length = if vector.length < u64::from(room) { vector.length as u32 } else { room };
        // The compiler knows that both are at most `wanted`; the verifier has to be shown.
        let (at, length) = (black_box(self.filled), black_box(length));
        if at > N || length > N {
            return false;
        }
        // SAFETY: there is room for 2 N.
        if length > 0 && !read_bytes(unsafe { self.to.add(at as usize) }, length, vector.base) {
            maps::lost(Loss::CopyFailed);
            return false;
        }
        self.filled = at + length;
        true
    }
}

/// Adds the next vector. Returns 1 to end the loop.
unsafe extern "C" fn next_vector<const N: u32>(_: u32, sample: *mut Sample) -> i64 {
    // SAFETY: `gather` passes its own.
    let sample = unsafe { &mut *sample };
    let Some(vector) = read::<Vector>(sample.vector) else {
        return 1;
    };
    sample.vector += size_of::<Vector>() as u64;
    i64::from(!sample.add::<N>(vector) || sample.filled >= sample.wanted)
}
