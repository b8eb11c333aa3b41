//! Heads: a start line and header fields, kept as text with the places of what the pipeline reads. The usual ones are parsed
//! in one pass, all others by `httparse`.

mod marks;
mod parse;
#[cfg(test)]
mod tests;

use std::ops::Range;

use thiserror::Error;

use super::secret::{Secret, SecretText};
use super::short;

/// nginx's minor version of a request line without a version.
const SIMPLE: u8 = 9;

/// Bytes that a head of a message may have. nginx's usual limit is 32 KiB (`large_client_header_buffers`).
pub const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Which side's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Requests (RFC 9112, section 3).
    Request,
    /// Responses (RFC 9112, section 4).
    Response,
}

/// A head that is none.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("malformed head: {0}")]
pub struct Malformed(#[from] httparse::Error);

/// A message's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Empty for a response without ids: of one nothing else is asked that the fields below do not have.
    text: Text,
    bytes: u32,
    method: Place,
    target: Place,
    host: Place,
    ids: [Place; ID_HEADERS.len()],
    forwarded: Place,
    forwarded_path: Place,
    forwarded_prefix: Place,
    /// Hashes of the values of [`PASSED_ON`], of a response; 0 where a field is missing.
    pub passed_on: [u32; PASSED_ON.len()],
    /// Which fields a response has that tell who made it, beside its type and length: a bit for each, by its name and its value's
    /// length, so that a recording whose values are overwritten tells the same. `None` where the head came in several calls: of
    /// such a one recordings keep no names.
    pub marks: Option<u128>,
    /// A response's body has a coding (`Content-Encoding`).
    pub encoded: bool,
    /// The status code of a response, 0 for a request.
    pub status: u16,
    /// Minor version: 0 or 1; 9 for HTTP/0.9.
    pub minor: u8,
    /// `Content-Length`, where it is a number.
    pub content_length: Option<u64>,
    /// The last transfer coding is `chunked`.
    pub chunked: bool,
    /// `Connection` names `close`.
    pub close: bool,
    /// `Connection` names `keep-alive`.
    pub keep_alive: bool,
    /// `Connection` names `upgrade`.
    pub upgrade: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// `X-Accel-Redirect` is there: the gateway is sent elsewhere.
    pub redirects: bool,
    /// A field has no name, spaces or control bytes in its name, or a zero byte anywhere: nginx takes none of these.
    pub has_bad_field: bool,
}

/// Nearly all heads are UTF-8: that is looked at once, not at each use.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Text {
    Utf8(SecretText),
    Bytes(Secret),
}

/// Header fields that carry a request's identity through a gateway.
pub const ID_HEADERS: [&str; 3] = ["x-request-id", "x-kong-request-id", "traceparent"];

/// The one of [`ID_HEADERS`] that several requests may share.
pub const TRACEPARENT: usize = 2;

/// Header fields of a response that gateways pass on as they are, but for a weakened `ETag` and an added `charset`.
pub const PASSED_ON: [&str; 4] = ["etag", "last-modified", "content-type", "set-cookie"];

/// A place in the head's text: start and length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place(u32, u32);

/// How the end of a message's body is told (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    Empty,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// The connection's end.
    UntilClose,
    /// From here on the connection is not HTTP: an accepted upgrade or CONNECT.
    Tunnel,
}

/// The length of the head at the start of `bytes`, its blank line included, if it is complete. `from` says how many bytes
/// were looked at before.
pub fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    // The blank line may have begun up to two bytes before.
    let start = from.saturating_sub(2);
    memchr::memchr_iter(b'\n', &bytes[start..]).find_map(|newline| match bytes[start + newline + 1..] {
        [b'\n', ..] => Some(start + newline + 2),
        [b'\r', b'\n', ..] => Some(start + newline + 3),
        _ => None,
    })
}

impl Head {
    /// The request's method, as sent.
    pub fn method(&self) -> &str {
        self.text_at(self.method)
    }

    /// The request's target, as sent (RFC 9112, section 3.2).
    pub fn target(&self) -> &str {
        self.text_at(self.target)
    }

    /// The target's path, without query: of an absolute form too.
    pub fn path(&self) -> &str {
        let target = self.target();
        let path = match absolute(target) {
            Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
            None => target,
        };
        short::find::<b'?'>(path.as_bytes()).map_or(path, |query| &path[..query])
    }

    /// The host that the request is for: of an absolute target if it has that form, else of `Host`.
    pub fn host(&self) -> Option<&str> {
        if let Some(rest) = absolute(self.target()) {
            return rest.split(['/', '?']).next();
        }
        (self.host.1 > 0).then(|| self.text_at(self.host))
    }

    /// The request's identity, by the order of [`ID_HEADERS`]; empty where a field is missing.
    pub fn ids(&self) -> [&str; ID_HEADERS.len()] {
        self.ids.map(|id| self.text_at(id))
    }

    /// Whether any of [`Head::ids`] is there.
    pub fn has_ids(&self) -> bool {
        self.ids.iter().any(|id| id.1 > 0)
    }

    /// What [`Head::ids`] has that no hop changes: of a `traceparent` the trace's id alone (W3C Trace Context, section 3.2).
    pub fn stable_ids(&self) -> [&str; ID_HEADERS.len()] {
        let mut ids = self.ids();
        if !ids[TRACEPARENT].is_empty() {
            ids[TRACEPARENT] = ids[TRACEPARENT].split('-').nth(1).unwrap_or_default();
        }
        ids
    }

    /// The client's address, and those of proxies behind it, as a proxy before this one told them in `X-Forwarded-For` or
    /// `X-Real-IP`; empty if none did.
    pub fn forwarded(&self) -> &str {
        self.text_at(self.forwarded)
    }

    /// The path that the client asked for, as a gateway that changes it tells in `X-Forwarded-Path`; empty if none did.
    pub fn forwarded_path(&self) -> &str {
        self.text_at(self.forwarded_path)
    }

    /// What the gateway took away in front of the path, as it tells in `X-Forwarded-Prefix`; empty if it did not.
    pub fn forwarded_prefix(&self) -> &str {
        self.text_at(self.forwarded_prefix)
    }

    /// The first header field of this name, whatever its case; of a request.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields(name).find_map(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all header fields of this name, whatever its case; of a request.
    pub fn fields<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines().skip(1).filter_map(move |line| {
            let colon = memchr::memchr(b':', line)?;
            let is_it = line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| line[colon + 1..].trim_ascii())
        })
    }

    /// The lines, the start line first, without their ends and without the blank one; of a request.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.text.bytes().split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter(|line| !line.is_empty())
    }

    /// The lines with their ends, the blank one included; of a request.
    pub fn raw_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.bytes().split_inclusive(|&byte| byte == b'\n')
    }

    /// Whether this is a request of HTTP/0.9: a line with a target and no version, answered without a head.
    pub fn is_simple(&self) -> bool {
        self.minor == SIMPLE
    }

    /// Bytes of the head, its blank line included.
    pub fn bytes(&self) -> u64 {
        self.bytes.into()
    }

    /// The body of a request.
    pub fn request_framing(&self) -> Framing {
        match (self.chunked, self.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(length)) if length > 0 => Framing::Length(length),
            _ => Framing::Empty,
        }
    }

    /// The body of a response to a request with this method. Interim responses have none.
    pub fn response_framing(&self, method: &str) -> Framing {
        match self.status {
            101 => Framing::Tunnel,
            200..300 if method == "CONNECT" => Framing::Tunnel,
            204 | 304 => Framing::Empty,
            _ if self.is_interim() => Framing::Empty,
            _ if method == "HEAD" => Framing::Empty,
            _ if self.chunked => Framing::Chunked,
            _ => match self.content_length {
                Some(0) => Framing::Empty,
                Some(length) => Framing::Length(length),
                None => Framing::UntilClose,
            },
        }
    }

    /// Whether this is an interim response: another follows (RFC 9110, section 15.2). One that says what becomes of the
    /// connection is none: nginx before 1.29 takes an upstream's interim response for the final one and passes it on so,
    /// with what follows it for its body (`ngx_http_header_filter` puts `Connection` into every final head).
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101 && !(self.close || self.keep_alive)
    }

    fn text_at(&self, place: Place) -> &str {
        match &self.text {
            Text::Utf8(text) => text.get(place.range()).unwrap_or_default(),
            Text::Bytes(bytes) => {
                let bytes = bytes.get(place.range()).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
        }
    }
}

impl Default for Head {
    fn default() -> Self {
        Head::bare(Text::default())
    }
}

impl Default for Text {
    fn default() -> Self {
        Text::Utf8(SecretText::default())
    }
}

impl Text {
    /// Keeps the memory of a usual head's.
    fn wipe(&mut self) {
        match self {
            Text::Utf8(text) => text.clear(),
            Text::Bytes(_) => *self = Text::default(),
        }
    }

    /// Takes the place of one that was wiped.
    fn fill(&mut self, bytes: &[u8]) {
        match (&mut *self, std::str::from_utf8(bytes)) {
            (Text::Utf8(text), Ok(filled)) => text.fill(filled),
            _ => *self = bytes.to_vec().into(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Text::Utf8(text) => text.as_bytes(),
            Text::Bytes(bytes) => bytes,
        }
    }
}

impl From<Vec<u8>> for Text {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Text::Utf8(text.into()),
            Err(error) => Text::Bytes(error.into_bytes().into()),
        }
    }
}

impl Place {
    fn range(self) -> Range<usize> {
        self.0 as usize..self.0 as usize + self.1 as usize
    }
}

/// What is behind the scheme of an absolute target (RFC 9112, section 3.2.2).
fn absolute(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return None;
    }
    target.split_once("://").filter(|(scheme, _)| !scheme.contains('/')).map(|(_, rest)| rest)
}
