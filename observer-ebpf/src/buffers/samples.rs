//! Records with the first bytes of what was moved.

use core::hint::black_box;

use aya_ebpf::maps::ring_buf::RingBufEntry;
use observer_ebpf::{
    limits::{DATAGRAM_SIZES, GATHERED_SIZES, RESPONSE_HEAD_BYTES, SAMPLE_SIZES},
    record::{Data, Datagram},
    tables::Loss,
};

use super::{
    Source,
    gather::{gather, is_gathered},
    read_bytes,
    tail::{Tail, read_tail},
};
use crate::{
    emit::{self, QUIETLY},
    heads,
    maps::{self, RECORDS},
    verifier::forget,
};

/// A cache line of most processors.
const LINE_BYTES: usize = 64;

/// What most records have at most; the copy itself is fast where there is more.
const TOUCHED_BYTES: usize = 5 * LINE_BYTES;

const SAMPLE_MAX: u32 = SAMPLE_SIZES[SAMPLE_SIZES.len() - 1];

#[repr(C)]
struct Sampled<const N: usize> {
    data: Data,
    sample: [u8; N],
}

#[repr(C)]
struct SampledDatagram<const N: usize> {
    datagram: Datagram,
    sample: [u8; N],
}

/// Puts a datagram's record into the ring with its first buffer as sample.
#[inline(always)]
pub fn emit_datagram(datagram: Datagram, bytes: u32, source: &Source) {
    let wanted = if source.first.length < u64::from(bytes) { source.first.length as u32 } else { bytes };
    if wanted <= DATAGRAM_SIZES[0] {
        write_datagram::<{ DATAGRAM_SIZES[0] }, { DATAGRAM_SIZES[0] as usize }>(datagram, wanted, source)
    } else {
        write_datagram::<{ DATAGRAM_SIZES[1] }, { DATAGRAM_SIZES[1] as usize }>(datagram, wanted, source)
    }
}

#[inline(always)]
fn write_datagram<const N: u32, const SIZE: usize>(mut datagram: Datagram, wanted: u32, source: &Source) {
    let Some(mut entry) = RECORDS.reserve::<SampledDatagram<SIZE>>(0) else {
        maps::lost(Loss::RingFull);
        return;
    };
    let record = entry.as_mut_ptr();
    // The compiler knows that it is at most `N`; the verifier has to be shown.
    let wanted = black_box(wanted);
    // SAFETY: the record is this program's until it is submitted; every byte up to the sample's length is written.
    unsafe {
        datagram.sample_bytes = copy::<N>((&raw mut (*record).sample).cast(), wanted, source.first.base);
        (&raw mut (*record).datagram).write(datagram);
    }
    entry.submit(QUIETLY);
}

/// Puts a transfer's record into the ring with its sample. Returns whether that begins with an answer that switches
/// protocols (RFC 9110, section 15.2.2).
#[inline(always)]
pub fn emit(mut data: Data, bytes: u32, has_responses: bool, source: &Source) -> bool {
    let tail = if data.sample_bytes < bytes { read_tail(bytes, source) } else { Tail::NONE };
    // A request that lies behind a long chunked body, in the same call.
    if !has_responses && tail.may_end_a_request() {
        data.sample_bytes = if bytes < SAMPLE_MAX { bytes } else { SAMPLE_MAX };
    }
    let wanted = data.sample_bytes;
    if wanted == 0 {
        let Some(entry) = reserve::<0>(&mut data) else {
            return false;
        };
        return submit(entry, data, 0, tail, false);
    }
    if is_gathered(source, wanted) && source.first.length < u64::from(GATHERED_SIZES[3]) {
        return emit_gathered(data, tail, has_responses, source);
    }
    let wanted = if source.first.length < u64::from(wanted) { source.first.length as u32 } else { wanted };
    macro_rules! smallest_of {
        ($index:literal $($larger:literal)*) => {
            if wanted <= SAMPLE_SIZES[$index] {
                write_first::<{ SAMPLE_SIZES[$index] }, { SAMPLE_SIZES[$index] as usize }>(data, wanted, tail, has_responses, source)
            } else {
                smallest_of!($($larger)*)
            }
        };
        () => {
            write_first::<SAMPLE_MAX, { SAMPLE_MAX as usize }>(data, wanted, tail, has_responses, source)
        };
    }
    smallest_of!(0 1 2 3 4 5)
}

/// The verifier knows where a vector's bytes may begin and how many they may be, not their sum: room for both.
#[inline(always)]
fn emit_gathered(data: Data, tail: Tail, has_responses: bool, source: &Source) -> bool {
    let wanted = data.sample_bytes;
    macro_rules! smallest_of {
        ($index:literal $($larger:literal)*) => {
            if wanted <= GATHERED_SIZES[$index] {
                write_gathered::<{ GATHERED_SIZES[$index] }, { 2 * GATHERED_SIZES[$index] as usize }>(data, tail, has_responses, source)
            } else {
                smallest_of!($($larger)*)
            }
        };
        () => {
            write_gathered::<{ GATHERED_SIZES[3] }, { 2 * GATHERED_SIZES[3] as usize }>(data, tail, has_responses, source)
        };
    }
    smallest_of!(0 1 2)
}

/// Puts a long response's record into the ring with no more than its head, if that ends within the first bytes and tells
/// the body's length. Returns whether it did.
#[inline(always)]
pub fn emit_head(mut data: Data, bytes: u32, source: &Source) -> bool {
    const N: usize = 2 * RESPONSE_HEAD_BYTES as usize;
    let Some(mut entry) = RECORDS.reserve::<Sampled<N>>(0) else {
        return false;
    };
    let sample = sample_of(&mut entry);
    let filled = if is_gathered(source, RESPONSE_HEAD_BYTES) {
        gather::<RESPONSE_HEAD_BYTES>(sample, RESPONSE_HEAD_BYTES, source)
    } else {
        copy::<RESPONSE_HEAD_BYTES>(sample, RESPONSE_HEAD_BYTES, source.first.base)
    };
    let filled = forget(filled, data.header.socket);
    if filled != RESPONSE_HEAD_BYTES || !heads::tells_length(sample) {
        entry.discard(QUIETLY);
        return false;
    }
    data.header.time_ns = emit::now_ns();
    submit(entry, data, filled, read_tail(bytes, source), false);
    true
}

// No closures here: those that the compiler leaves out of line have all that they refer to put into memory.

#[inline(always)]
fn write_first<const N: u32, const ROOM: usize>(
    mut data: Data,
    wanted: u32,
    tail: Tail,
    has_responses: bool,
    source: &Source,
) -> bool {
    let Some(mut entry) = reserve::<ROOM>(&mut data) else {
        return false;
    };
    let filled = copy::<N>(sample_of(&mut entry), wanted, source.first.base);
    submit(entry, data, filled, tail, has_responses)
}

#[inline(always)]
fn write_gathered<const N: u32, const ROOM: usize>(
    mut data: Data,
    tail: Tail,
    has_responses: bool,
    source: &Source,
) -> bool {
    let Some(mut entry) = reserve::<ROOM>(&mut data) else {
        return false;
    };
    let filled = gather::<N>(sample_of(&mut entry), data.sample_bytes, source);
    submit(entry, data, filled, tail, has_responses)
}

#[inline(always)]
fn reserve<const ROOM: usize>(data: &mut Data) -> Option<RingBufEntry<Sampled<ROOM>>> {
    let Some(mut entry) = RECORDS.reserve::<Sampled<ROOM>>(0) else {
        maps::lost(Loss::RingFull);
        return None;
    };
    touch(entry.as_mut_ptr());
    data.header.time_ns = emit::now_ns();
    Some(entry)
}

/// The ring's memory is in no near cache: its lines are asked for together, while there is something else to do, and
/// not one after the other by what is copied into them.
#[inline(always)]
fn touch<const ROOM: usize>(record: *mut Sampled<ROOM>) {
    let mut at = 0;
    while at < size_of::<Sampled<ROOM>>() && at < TOUCHED_BYTES {
        // SAFETY: within the record, which nobody reads yet.
        unsafe { record.cast::<u8>().add(at).cast::<u64>().write_volatile(0) };
        at += LINE_BYTES;
    }
}

#[inline(always)]
fn sample_of<const ROOM: usize>(entry: &mut RingBufEntry<Sampled<ROOM>>) -> *mut u8 {
    // SAFETY: the record is this program's until it is submitted.
    unsafe { (&raw mut (*entry.as_mut_ptr()).sample).cast() }
}

/// Completes a record whose sample has been filled.
#[inline(always)]
fn submit<const ROOM: usize>(
    mut entry: RingBufEntry<Sampled<ROOM>>,
    mut data: Data,
    sample_bytes: u32,
    tail: Tail,
    has_responses: bool,
) -> bool {
    let sample = sample_of(&mut entry);
    data.sample_bytes = sample_bytes;
    data.tail_bytes = tail.length;
    // The compiler would make a loop over single bytes out of many zeros in a row.
    data.tail = black_box(tail.bytes).to_ne_bytes();
    // SAFETY: the record is this program's; what is read of the sample is there.
    let upgraded = unsafe {
        (&raw mut (*entry.as_mut_ptr()).data).write(data);
        has_responses && ROOM >= 12 && sample_bytes >= 12 && switches_protocols(sample)
    };
    entry.submit(emit::as_awaited());
    upgraded
}

#[inline(always)]
unsafe fn switches_protocols(sample: *const u8) -> bool {
    const VERSION: u64 = u64::from_ne_bytes(*b"HTTP/1.1");
    const STATUS: u32 = u32::from_ne_bytes(*b" 101");
    // SAFETY: the caller saw that twelve bytes are there.
    unsafe {
        sample.cast::<u64>().read_unaligned() == VERSION && sample.add(8).cast::<u32>().read_unaligned() == STATUS
    }
}

#[inline(always)]
fn copy<const N: u32>(to: *mut u8, wanted: u32, from: u64) -> u32 {
    let wanted = if wanted > N { N } else { wanted };
    if read_bytes(to, wanted, from) {
        wanted
    } else {
        maps::lost(Loss::CopyFailed);
        0
    }
}
