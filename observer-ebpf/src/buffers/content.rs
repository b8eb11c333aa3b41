//! What the first bytes of a call look like.

use super::{Source, read};

/// Whether the call's first buffer begins like a status line (RFC 9112, section 4).
#[inline(always)]
pub fn begins_a_response(source: &Source) -> bool {
    const BEGINNING: u64 = u64::from_ne_bytes(*b"HTTP/1.\0");
    const MASK: u64 = u64::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 0]);
    source.is_readable()
        && source.first.length >= 8
        && read::<u64>(source.first.base).is_some_and(|first| first & MASK == BEGINNING)
}

/// Whether the call's first buffer begins like a request line (RFC 9112, section 3): a method of three to seven letters,
/// a space, and a target's beginning. A gateway that answered before it had read a body reads the rest of that in the
/// same turn as the next request.
#[inline(always)]
pub fn begins_a_request(source: &Source) -> bool {
    if !source.is_readable() || source.first.length < 8 {
        return false;
    }
    let Some(first) = read::<[u8; 8]>(source.first.base) else {
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
    let Some(header) = read::<u64>(source.first.base).map(u64::from_be) else {
        return false;
    };
    let (flags, questions) = (header >> 40 & 0xff, header >> 16 & 0xffff);
    flags & (ANSWER | OPCODE) == ANSWER && questions == 1
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
    let [content, major, minor, high, low] = read::<[u8; TlsRecord::HEADER as usize]>(source.first.base)?;
    let is_record = matches!(content, CHANGE_CIPHER_SPEC..=APPLICATION_DATA) && major == 3 && minor <= 4;
    is_record.then_some(TlsRecord { content, length: TlsRecord::HEADER + u32::from(u16::from_be_bytes([high, low])) })
}

/// The description of a TLS alert in the clear that the call's first buffer begins with (RFC 8446, section 6).
#[inline(always)]
pub fn tls_alert(source: &Source, bytes: u32) -> Option<u8> {
    const ALERT: u8 = 21;
    const LENGTH: u8 = 2;
    if !source.is_readable() || bytes < 7 || source.first.length < 7 {
        return None;
    }
    let first = read::<[u8; 7]>(source.first.base)?;
    (first[0] == ALERT && first[3] == 0 && first[4] == LENGTH).then_some(first[6])
}
