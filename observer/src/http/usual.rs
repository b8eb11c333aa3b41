//! Heads of the usual form, read in one pass.
//!
//! Nearly all are so: printable ASCII, lines that end in CRLF, none folded, names of letters, digits and dashes. What such
//! a head says the full parser says as well, at four times the cost; of any other nothing is said here.

use super::head::Side;

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

/// Reads a complete head and tells its fields, names and values, in their order. `None` if it is not of the usual form; what
/// was told of its fields until then counts for nothing.
pub fn read<'a>(side: Side, text: &'a [u8], mut field: impl FnMut(&'a [u8], &'a [u8])) -> Option<StartLine<'a>> {
    let (line, mut rest) = line(text)?;
    let start = match side {
        Side::Request => request_line(line)?,
        Side::Response => status_line(line)?,
    };
    loop {
        let (line, behind) = self::line(rest)?;
        if line.is_empty() {
            return behind.is_empty().then_some(start);
        }
        let colon = memchr::memchr(b':', line)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if colon == 0 || !all(name, is_name) || !all(value, |byte| byte == b'\t' || is_printable(byte)) {
            return None;
        }
        field(name, value);
        rest = behind;
    }
}

/// The first line, without its end, and what is behind it.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let newline = memchr::memchr(b'\n', text)?;
    Some((text[..newline].strip_suffix(b"\r")?, &text[newline + 1..]))
}

fn request_line(line: &[u8]) -> Option<StartLine<'_>> {
    let (rest, version) = line.split_last_chunk::<9>()?;
    let minor = minor(version.strip_prefix(b" ")?)?;
    let space = memchr::memchr(b' ', rest)?;
    let (method, target) = (&rest[..space], &rest[space + 1..]);
    let is_usual = !method.is_empty() && !target.is_empty() && all(method, |byte| byte.is_ascii_uppercase());
    (is_usual && all(target, |byte| byte.is_ascii_graphic())).then_some(StartLine::Request { method, target, minor })
}

fn status_line(line: &[u8]) -> Option<StartLine<'_>> {
    let (version, rest) = line.split_first_chunk::<8>()?;
    let (&[b' ', a, b, c], reason) = rest.split_first_chunk::<4>()? else { return None };
    let is_usual = matches!(reason, [b' ', ..] | []) && all(reason, is_printable);
    if !is_usual || ![a, b, c].iter().all(u8::is_ascii_digit) {
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

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn is_printable(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Looks at all bytes, whatever it finds: so the compiler takes many at once.
fn all(bytes: &[u8], is_it: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, &byte| all & is_it(byte))
}
