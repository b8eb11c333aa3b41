//! The one place that reads user memory.

use core::{ffi::c_void, hint::black_box};

use aya_ebpf::helpers::generated::{bpf_loop, bpf_probe_read_user};
use observer_ebpf::{
    limits::{
        DATAGRAM_SIZES, GATHERED_SIZES, GATHERED_VECTORS, RESPONSE_HEAD_BYTES, SAMPLE_SIZES, TAIL_BYTES, WALKED_VECTORS,
    },
    record::{Data, Datagram, call},
    tables::Loss,
};

use crate::{
    arch::{Call, Registers},
    emit::QUIETLY,
    heads,
    maps::{self, RECORDS},
};

/// Where a call's bytes lie in the user's memory.
pub struct Source {
    /// One of [`call`].
    pub call: u8,
    /// The first buffer.
    base: u64,
    /// Its length, at least of what the call moved into or out of it.
    length: u64,
    /// The vectors, 0 for a plain buffer.
    vectors: u64,
    count: u64,
}

const SAMPLE_MAX: u32 = SAMPLE_SIZES[SAMPLE_SIZES.len() - 1];

#[repr(C)]
#[derive(Clone, Copy)]
struct Vector {
    base: u64,
    length: u64,
}

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

impl Source {
    /// Nothing to read.
    #[inline(always)]
    pub fn none() -> Self {
        Source::unreadable(call::BUFFER)
    }

    #[inline(always)]
    fn unreadable(call: u8) -> Self {
        Source { call, base: 0, length: 0, vectors: 0, count: 0 }
    }

    /// So many bytes in a row.
    #[inline(always)]
    pub fn plain(base: u64, length: u64) -> Self {
        Source { call: call::BUFFER, base, length, vectors: 0, count: 0 }
    }

    /// Pages of a file.
    #[inline(always)]
    pub fn pages() -> Self {
        Source::unreadable(call::PAGES)
    }

    #[inline(always)]
    pub fn is_readable(&self) -> bool {
        self.base != 0
    }

    #[inline(always)]
    fn from_vectors(vectors: u64, count: u64) -> Self {
        let Some(first) = read::<Vector>(vectors) else {
            maps::lost(Loss::CopyFailed);
            return Source::unreadable(call::UNKNOWN);
        };
        Source { call: call::BUFFER, base: first.base, length: first.length, vectors, count }
    }
}

/// Finds the buffers of the system call under way.
#[inline(always)]
pub fn locate() -> Source {
    let registers = Registers::current();
    if registers.is_compat() {
        return Source::unreadable(call::COMPAT);
    }
    if !registers.is_in_call() {
        return Source::unreadable(call::IO_URING);
    }
    match registers.call() {
        Call::Buffer => {
            Source { call: call::BUFFER, base: registers.second(), length: registers.third(), vectors: 0, count: 0 }
        }
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

/// Whether the call's first buffer begins like a status line (RFC 9112, section 4).
#[inline(always)]
pub fn begins_a_response(source: &Source) -> bool {
    const BEGINNING: u64 = u64::from_ne_bytes(*b"HTTP/1.\0");
    const MASK: u64 = u64::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 0]);
    source.is_readable()
        && source.length >= 8
        && read::<u64>(source.base).is_some_and(|first| first & MASK == BEGINNING)
}

/// Whether the call's first buffer begins like a request line (RFC 9112, section 3): a method of three to seven letters,
/// a space, and a target's beginning. A gateway that answered before it had read a body reads the rest of that in the
/// same turn as the next request.
#[inline(always)]
pub fn begins_a_request(source: &Source) -> bool {
    if !source.is_readable() || source.length < 8 {
        return false;
    }
    let Some(first) = read::<[u8; 8]>(source.base) else {
        return false;
    };
    let mut index = 0;
    while index < 8 {
        let byte = first[index];
        if byte == b' ' {
            return index >= 3 && (index == 7 || matches!(first[index + 1], b'/' | b'h' | b'H'));
        }
        if !byte.is_ascii_uppercase() {
            return false;
        }
        index += 1;
    }
    false
}

/// Whether the call's first buffer begins like a name server's answer to one question (RFC 1035, section 4.1.1).
#[inline(always)]
pub fn begins_a_name_answer(source: &Source) -> bool {
    const ANSWER: u64 = 0x80;
    const OPCODE: u64 = 0x78;
    let Some(header) = read::<u64>(source.base).map(u64::from_be) else {
        return false;
    };
    let (flags, questions) = (header >> 40 & 0xff, header >> 16 & 0xffff);
    flags & (ANSWER | OPCODE) == ANSWER && questions == 1
}

/// Puts a datagram's record into the ring with its first buffer as sample.
#[inline(always)]
pub fn emit_datagram(datagram: Datagram, bytes: u32, source: &Source) {
    let wanted = if source.length < u64::from(bytes) { source.length as u32 } else { bytes };
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
        datagram.sample_bytes = copy::<N>((&raw mut (*record).sample).cast(), wanted, source.base);
        (&raw mut (*record).datagram).write(datagram);
    }
    entry.submit(QUIETLY);
}

/// Puts a transfer's record into the ring with its sample. Returns whether the sample begins with an answer that
/// switches protocols (RFC 9110, section 15.2.2).
#[inline(always)]
pub fn emit(mut data: Data, bytes: u32, source: &Source) -> bool {
    if data.sample_bytes < bytes {
        read_tail(&mut data, bytes, source);
    }
    let wanted = data.sample_bytes;
    if wanted == 0 {
        return write::<0>(data, |_| 0);
    }
    if is_gathered(source, wanted) && source.length < u64::from(GATHERED_SIZES[3]) {
        return emit_gathered(data, wanted, source);
    }
    let wanted = if source.length < u64::from(wanted) { source.length as u32 } else { wanted };
    macro_rules! smallest_of {
        ($index:literal $($larger:literal)*) => {
            if wanted <= SAMPLE_SIZES[$index] {
                write::<{ SAMPLE_SIZES[$index] as usize }>(data, |to| copy::<{ SAMPLE_SIZES[$index] }>(to, wanted, source.base))
            } else {
                smallest_of!($($larger)*)
            }
        };
        () => {
            write::<{ SAMPLE_MAX as usize }>(data, |to| copy::<{ SAMPLE_MAX }>(to, wanted, source.base))
        };
    }
    smallest_of!(0 1 2 3 4 5)
}

#[inline(always)]
fn is_gathered(source: &Source, wanted: u32) -> bool {
    source.vectors != 0 && source.count > 1 && source.length < u64::from(wanted)
}

/// The verifier knows where a vector's bytes may begin and how many they may be, not their sum: room for both.
#[inline(always)]
fn emit_gathered(data: Data, wanted: u32, source: &Source) -> bool {
    macro_rules! smallest_of {
        ($index:literal $($larger:literal)*) => {
            if wanted <= GATHERED_SIZES[$index] {
                write::<{ 2 * GATHERED_SIZES[$index] as usize }>(data, |to| {
                    gather::<{ GATHERED_SIZES[$index] }>(to, wanted, source)
                })
            } else {
                smallest_of!($($larger)*)
            }
        };
        () => {
            write::<{ 2 * GATHERED_SIZES[3] as usize }>(data, |to| gather::<{ GATHERED_SIZES[3] }>(to, wanted, source))
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
    let record = entry.as_mut_ptr();
    // SAFETY: as in `write`.
    let sample = unsafe { (&raw mut (*record).sample).cast::<u8>() };
    let filled = if is_gathered(source, RESPONSE_HEAD_BYTES) {
        gather::<RESPONSE_HEAD_BYTES>(sample, RESPONSE_HEAD_BYTES, source)
    } else {
        copy::<RESPONSE_HEAD_BYTES>(sample, RESPONSE_HEAD_BYTES, source.base)
    };
    if filled != RESPONSE_HEAD_BYTES || !heads::tells_length(sample) {
        entry.discard(QUIETLY);
        return false;
    }
    read_tail(&mut data, bytes, source);
    data.sample_bytes = filled;
    // SAFETY: as in `write`.
    unsafe { (&raw mut (*record).data).write(data) };
    entry.submit(QUIETLY);
    true
}

#[inline(always)]
fn write<const N: usize>(mut data: Data, fill: impl FnOnce(*mut u8) -> u32) -> bool {
    let Some(mut entry) = RECORDS.reserve::<Sampled<N>>(0) else {
        maps::lost(Loss::RingFull);
        return false;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the record is this program's until it is submitted; every byte up to the sample's length is written.
    let upgraded = unsafe {
        let sample = (&raw mut (*record).sample).cast::<u8>();
        data.sample_bytes = fill(sample);
        (&raw mut (*record).data).write(data);
        N >= 12 && data.sample_bytes >= 12 && switches_protocols(sample)
    };
    entry.submit(QUIETLY);
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

#[inline(always)]
fn gather<const N: u32>(to: *mut u8, wanted: u32, source: &Source) -> u32 {
    let mut filled = 0u32;
    let mut index = 0u64;
    while index < GATHERED_VECTORS as u64 && index < source.count && filled < wanted {
        let Some(vector) = read::<Vector>(source.vectors + index * size_of::<Vector>() as u64) else {
            break;
        };
        let room = wanted - filled;
        let length = if vector.length < u64::from(room) { vector.length as u32 } else { room };
        // The compiler knows that both are at most `wanted`; the verifier has to be shown.
        let (at, length) = (black_box(filled), black_box(length));
        if at > N || length > N {
            break;
        }
        // SAFETY: there is room for 2 N.
        if length > 0 && !read_bytes(unsafe { to.add(at as usize) }, length, vector.base) {
            maps::lost(Loss::CopyFailed);
            break;
        }
        filled = at + length;
        index += 1;
    }
    filled
}

/// Takes the last bytes of what the call moved: a long chunked body shows its end there.
#[inline(always)]
fn read_tail(data: &mut Data, bytes: u32, source: &Source) {
    let Some((end, length)) = last_buffer(bytes, source) else {
        return;
    };
    let length = if length < TAIL_BYTES as u64 { length as u32 } else { TAIL_BYTES as u32 };
    if length > 0 && read_bytes(data.tail.as_mut_ptr(), length, end - u64::from(length)) {
        data.tail_bytes = length as u8;
    }
}

/// The end of the buffer that holds the call's last byte, and how many of its bytes the call moved.
#[inline(always)]
fn last_buffer(bytes: u32, source: &Source) -> Option<(u64, u64)> {
    if !source.is_readable() {
        return None;
    }
    let bytes = u64::from(bytes);
    if source.vectors == 0 || bytes <= source.length {
        return Some((source.base + bytes, bytes));
    }
    let behind_first = source.count.saturating_sub(1).min(WALKED_VECTORS as u64 - 1) as u32;
    let vector = source.vectors + size_of::<Vector>() as u64;
    let mut walk = Walk { vector, left: bytes - source.length, end: 0 };
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

/// The content type of a handshake's records.
pub const TLS_HANDSHAKE: u8 = 22;

/// The beginning of a TLS record (RFC 8446, section 5.1).
pub struct TlsRecord {
    /// The content type.
    pub content: u8,
    /// Bytes with the header.
    pub length: u32,
}

impl TlsRecord {
    /// Bytes of a header.
    pub const HEADER: u32 = 5;
}

/// The TLS record that the call's first buffer begins with. The length is that of the header's place, even where the call
/// moved less than a header.
#[inline(always)]
pub fn tls_record(source: &Source) -> Option<TlsRecord> {
    const CHANGE_CIPHER_SPEC: u8 = 20;
    const APPLICATION_DATA: u8 = 23;
    if !source.is_readable() {
        return None;
    }
    let [content, major, minor, high, low] = read::<[u8; TlsRecord::HEADER as usize]>(source.base)?;
    let is_record = matches!(content, CHANGE_CIPHER_SPEC..=APPLICATION_DATA) && major == 3 && minor <= 4;
    is_record.then_some(TlsRecord { content, length: TlsRecord::HEADER + u32::from(u16::from_be_bytes([high, low])) })
}

/// The description of a TLS alert in the clear that the call's first buffer begins with (RFC 8446, section 6).
#[inline(always)]
pub fn tls_alert(source: &Source, bytes: u32) -> Option<u8> {
    const ALERT: u8 = 21;
    const LENGTH: u8 = 2;
    if !source.is_readable() || bytes < 7 || source.length < 7 {
        return None;
    }
    let first = read::<[u8; 7]>(source.base)?;
    (first[0] == ALERT && first[3] == 0 && first[4] == LENGTH).then_some(first[6])
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
