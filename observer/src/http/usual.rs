//! Heads of the usual form, read in one pass.
//!
//! Nearly all are so: printable ASCII, lines that end in CRLF, none folded, no spaces in names. What such
//! a head says the full parser says as well, at four times the cost; of any other nothing is said here.

use super::head::Side;
use super::short;

/// A start line (RFC 9112, sections 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLine<'a> {
    /// Of a request.
    Request {
        /// `GET`.
        method: &'a [u8],
        /// As sent.
        target: &'a [u8],
        /// The minor version: 0 or 1.
        minor: u8,
    },
    /// Of a response.
    Response {
        /// The status code.
        status: u16,
        /// The minor version: 0 or 1.
        minor: u8,
    },
}

/// Bytes that are looked at together.
const LANES: usize = 16;

/// Reads the head at the start of `bytes` and tells its fields, names and values, in their order. Returns its start line and
/// its length, blank line included. `None` if it is not complete or not of the usual form; what was told of its fields until
/// then counts for nothing.
pub fn read<'a>(
    side: Side,
    bytes: &'a [u8],
    mut field: impl FnMut(&'a [u8], &'a [u8]),
) -> Option<(StartLine<'a>, usize)> {
    let (line, mut rest) = line(bytes)?;
    let start = match side {
        Side::Request => request_line(line)?,
        Side::Response => status_line(line)?,
    };
    loop {
        if let Some(behind) = rest.strip_prefix(b"\r\n") {
            let length = bytes.len() - behind.len();
            return is_plain(&bytes[..length]).then_some((start, length));
        }
        let (name, behind) = name(rest)?;
        let (value, behind) = self::line(behind)?;
        field(name, value);
        rest = behind;
    }
}

/// Whether all bytes are printable ASCII or tabs, but for CR and LF, which come as pairs alone.
fn is_plain(text: &[u8]) -> bool {
    // Without branches, which `matches!` makes of it: only so are the lanes looked at together.
    let fits = |before: u8, byte: u8| {
        let is_printable = byte.wrapping_sub(b' ') <= b'~' - b' ';
        let is_allowed = is_printable | (byte == b'\t') | (byte == b'\r') | (byte == b'\n');
        is_allowed & ((before == b'\r') == (byte == b'\n'))
    };
    let (Some((first, behind)), Some((_, before))) = (text.split_first(), text.split_last()) else { return false };
    let (Some(last), Some(last_before)) = (behind.last_chunk::<LANES>(), before.last_chunk::<LANES>()) else {
        return false;
    };
    let mut is_unfit = [false; LANES];
    let mut look = |before: &[u8; LANES], bytes: &[u8; LANES]| {
        for lane in 0..LANES {
            is_unfit[lane] |= !fits(before[lane], bytes[lane]);
        }
    };
    let chunks = before.as_chunks().0.iter().zip(behind.as_chunks().0);
    chunks.for_each(|(before, bytes)| look(before, bytes));
    // What is left, and some of the others once more.
    look(last_before, last);
    first.is_ascii_graphic() && is_unfit == [false; LANES]
}

/// The name of the field that a text begins with, and what is behind its colon.
fn name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = short::end_of_name(text)?;
    (end > 0 && text[end] == b':').then(|| (&text[..end], &text[end + 1..]))
}

/// The first line, without its end, which in a plain text is CRLF, and what is behind it.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let newline = short::find::<b'\n'>(text)?;
    Some((&text[..newline.checked_sub(1)?], &text[newline + 1..]))
}

fn request_line(line: &[u8]) -> Option<StartLine<'_>> {
    let (rest, version) = line.split_last_chunk::<9>()?;
    let minor = minor(version.strip_prefix(b" ")?)?;
    let space = short::find::<b' '>(rest)?;
    let (method, target) = (&rest[..space], &rest[space + 1..]);
    let is_usual = !method.is_empty() && method.iter().all(u8::is_ascii_uppercase) && !target.is_empty();
    (is_usual && short::find::<b' '>(target).or_else(|| short::find::<b'\t'>(target)).is_none())
        .then_some(StartLine::Request { method, target, minor })
}

fn status_line(line: &[u8]) -> Option<StartLine<'_>> {
    let (version, rest) = line.split_first_chunk::<8>()?;
    let (&[b' ', a, b, c], reason) = rest.split_first_chunk::<4>()? else { return None };
    if !matches!(reason, [b' ', ..] | []) || ![a, b, c].iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    Some(StartLine::Response { status, minor: minor(version)? })
}

fn minor(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.1" => Some(1),
        b"HTTP/1.0" => Some(0),
        _ => None,
    }
}
