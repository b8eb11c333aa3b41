//! What is done for the kernel's verifier alone.

use core::hint::black_box;

/// The same value, of which the verifier knows nothing any more, as it knows nothing of `unknown`: it looks once at what
/// follows, not once for each way on which it knows something else. The agent's start waits for it.
#[inline(always)]
pub fn forget(value: u32, unknown: u64) -> u32 {
    (black_box(u64::from(value) ^ unknown) ^ unknown) as u32
}
