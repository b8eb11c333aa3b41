//! Bytes as they come: known, hidden, and known again at their end.

use crate::http::short;

/// Longer methods are taken for something else.
const METHOD_BYTES_MAX: usize = 32;

/// Bytes of one direction, in their order: first known ones, then hidden ones, of which the last may be known again.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    known: &'a [u8],
    hidden: u64,
    tail: &'a [u8],
}

impl<'a> Input<'a> {
    /// `known` bytes, then `hidden` ones of which the last are `tail`.
    pub fn new(known: &'a [u8], hidden: u64, tail: &'a [u8]) -> Self {
        Input { known, hidden, tail }
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.known.len() as u64 + self.hidden
    }

    /// Whether the next bytes are known and begin so.
    pub fn begins_with(&self, prefix: &[u8]) -> bool {
        self.known.starts_with(prefix)
    }

    /// Whether the next bytes are known and begin with a method and a space (RFC 9112, section 3.1).
    pub fn begins_like_a_request(&self) -> bool {
        let looked_at = &self.known[..self.known.len().min(METHOD_BYTES_MAX + 1)];
        short::find::<b' '>(looked_at).is_some_and(|space| space > 0 && is_method(&looked_at[..space]))
    }

    /// Whether the next bytes are known and begin like a request, or are too few to tell.
    pub fn may_begin_a_request(&self) -> bool {
        let may_go_on = self.is_known() && self.known.len() <= METHOD_BYTES_MAX && is_method(self.known);
        may_go_on || self.begins_like_a_request()
    }

    /// The next bytes, as far as they are known.
    pub fn known(&self) -> &'a [u8] {
        self.known
    }

    /// Whether the bytes that come next are known.
    pub(super) fn is_known(&self) -> bool {
        !self.known.is_empty()
    }

    /// Passes over bytes that are no part of any message.
    pub fn skip(&mut self, bytes: u64) {
        self.take(bytes);
    }

    pub(super) fn take(&mut self, bytes: u64) {
        let known = (self.known.len() as u64).min(bytes);
        self.known = &self.known[known as usize..];
        self.hidden = self.hidden.saturating_sub(bytes - known);
    }

    pub(super) fn take_all(&mut self) {
        self.known = &[];
        self.hidden = 0;
    }

    /// Whether the input's last bytes are those of a chunked body without trailer fields.
    pub(super) fn ends_like_a_chunked_body(&self) -> bool {
        !end_of_chunks(if self.hidden == 0 { self.known } else { self.tail }).is_empty()
    }
    /// How many of the known bytes are those of a chunked body without trailer fields that a request follows.
    pub(super) fn chunks_before_a_request(&self) -> Option<u64> {
        let ends = memchr::memmem::find_iter(self.known, BEHIND_DATA).map(|at| at + BEHIND_DATA.len());
        let is_followed = |&end: &usize| {
            let behind = &self.known[end..];
            let line = &behind[..memchr::memchr(b'\n', behind).unwrap_or(0)];
            Input::new(line, 0, &[]).begins_like_a_request() && memchr::memmem::find(line, b" HTTP/1.").is_some()
        };
        ends.into_iter().find(is_followed).map(|end| end as u64)
    }
}

/// The last chunk behind a chunk's line end.
const BEHIND_DATA: &[u8] = b"\r\n0\r\n\r\n";

fn is_method(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-'))
}

/// What shows in an input's last bytes that a chunked body without trailer fields ends with them: the last chunk behind
/// a chunk's line end, or in a buffer of its own. Empty if nothing does.
pub fn end_of_chunks(last: &[u8]) -> &[u8] {
    const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
    match last.strip_suffix(BEHIND_DATA) {
        Some(before) => &last[before.len()..],
        None if last == LAST_CHUNK => last,
        None => &[],
    }
}
