//! The agent's only unsafe code: a type of the shared ABI as a table's entry.
#![allow(unsafe_code, reason = "aya asks for a promise that a type's bytes may be copied")]

use observer_ebpf::tables::{OFFSET_WORDS, Offsets};

/// [`Offsets`] as the kernel part's constant.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct OffsetWords([u32; OFFSET_WORDS]);

// SAFETY: an array of integers: no padding, no pointer, any bytes are valid.
unsafe impl aya::Pod for OffsetWords {}

impl From<Offsets> for OffsetWords {
    fn from(offsets: Offsets) -> Self {
        OffsetWords(zerocopy::transmute!(offsets))
    }
}
