//! Heads: a start line and header fields, kept as text with the places of what the pipeline reads. The usual ones are parsed
//! in one pass, all others by `httparse`.

use std::hash::Hasher;
use std::mem::MaybeUninit;
use std::ops::Range;

use rustc_hash::FxHasher;
use thiserror::Error;
use zeroize::Zeroizing;

use super::secret::{Secret, SecretText};
use super::usual::{self, StartLine};

/// Header lines that are parsed without memory from the heap. A head may have as many as fit it.
const LINES_USUAL: usize = 128;

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
    text: Text,
    method: Place,
    target: Place,
    host: Place,
    ids: [Place; ID_HEADERS.len()],
    forwarded: Place,
    forwarded_path: Place,
    forwarded_prefix: Place,
    /// Hashes of the values of [`PASSED_ON`], of a response; 0 where a field is missing.
    pub passed_on: [u32; PASSED_ON.len()],
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
    /// Parses a complete head, as [`end_of_head`] found it.
    pub fn parse(side: Side, text: &[u8]) -> Result<Self, Malformed> {
        Head::parse_usual(side, text).map_or_else(|| Head::parse_any(side, text), Ok)
    }

    /// Parses the head at the start of `bytes`, if it is complete and of the usual form.
    pub fn parse_usual(side: Side, bytes: &[u8]) -> Option<Self> {
        let mut head = Head::bare(Text::default());
        let (start, length) = usual::read(side, bytes, |name, value| head.read_field(bytes, name, value))?;
        match start {
            StartLine::Request { method, target, minor } => {
                (head.method, head.target, head.minor) = (place(bytes, method), place(bytes, target), minor);
            }
            StartLine::Response { status, minor } => (head.status, head.minor) = (status, minor),
        }
        head.text = bytes[..length].to_vec().into();
        Some(head)
    }

    fn parse_any(side: Side, text: &[u8]) -> Result<Self, Malformed> {
        let mut few = [const { MaybeUninit::uninit() }; LINES_USUAL];
        let mut many = Vec::new();
        let newlines = memchr::memchr_iter(b'\n', text).count();
        let lines = if newlines <= LINES_USUAL {
            &mut few[..]
        } else {
            many.resize_with(newlines, MaybeUninit::uninit);
            &mut many[..]
        };
        let mut head = Head::bare(text.to_vec().into());
        let fields = match side {
            Side::Request => {
                let mut request = httparse::Request::new(&mut []);
                match lenient().parse_request_with_uninit_headers(&mut request, text, lines) {
                    Err(error) => return Head::parse_odd(side, text, error),
                    Ok(parsed) => parsed,
                };
                head.method = place(text, request.method.unwrap_or_default().as_bytes());
                head.target = place(text, request.path.unwrap_or_default().as_bytes());
                head.minor = request.version.unwrap_or(1);
                request.headers
            }
            Side::Response => {
                let mut response = httparse::Response::new(&mut []);
                if let Err(error) = lenient().parse_response_with_uninit_headers(&mut response, text, lines) {
                    return Head::parse_odd(side, text, error);
                }
                head.status = response.code.unwrap_or(0);
                head.minor = response.version.unwrap_or(1);
                response.headers
            }
        };
        fields.iter().for_each(|field| head.read_field(text, field.name.as_bytes(), field.value));
        let has_bad_field = head.lines().skip(1).any(is_field_bad);
        Ok(Head { has_bad_field, ..head })
    }

    /// nginx takes any minor version of HTTP/1 above 1 for 1, spaces behind that of a request, and an answer of a later
    /// major version for one of 1.1 (`ngx_http_parse_request_line`, `ngx_http_parse_status_line`); the parser none of it.
    fn parse_odd(side: Side, text: &[u8], error: httparse::Error) -> Result<Self, Malformed> {
        const VERSION: &[u8] = b"HTTP/1.";
        let line = text[..memchr::memchr(b'\n', text).unwrap_or(text.len())].trim_ascii_end();
        let at = match side {
            Side::Request => memchr::memmem::rfind(line, VERSION).filter(|&at| at > 0 && line[at - 1] == b' '),
            Side::Response => matches!(line, [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', ..]).then_some(0),
        };
        let Some(at) = at else { return Err(Malformed(error)) };
        let (minor, mut usual) = (at + VERSION.len(), Zeroizing::new(text.to_vec()));
        let is_later = matches!(line.get(minor - 2), Some(b'2'..=b'9'));
        if is_later {
            usual[minor - 2] = b'1';
        }
        if matches!(line.get(minor), Some(b'2'..=b'9')) || is_later && line.get(minor) == Some(&b'0') {
            usual[minor] = b'1';
        }
        let spaces = text[line.len()..].iter().take_while(|&&byte| byte == b' ').count();
        if side == Side::Request {
            // As many before the version instead.
            usual[at..line.len() + spaces].rotate_right(spaces);
        }
        if *usual == text { Err(Malformed(error)) } else { Head::parse(side, &usual) }
    }

    /// A request line without a version and with its line end (HTTP/0.9): a whole head. None if it is no such line.
    pub fn simple(text: &[u8]) -> Option<Self> {
        let line = text.trim_ascii_end();
        // The usual case first: this is asked of every request.
        if line.len() > 9 && line[line.len() - 9..].starts_with(b" HTTP/") {
            return None;
        }
        let space = memchr::memchr(b' ', line)?;
        let (method, target) = (&line[..space], line[space..].trim_ascii());
        let is_method = !method.is_empty() && method.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'_' | b'-'));
        let is_target = target.starts_with(b"/") || memchr::memmem::find(target, b"://").is_some();
        if !is_method || !is_target || target.contains(&b' ') {
            return None;
        }
        let bare = Head::bare(text.to_vec().into());
        Some(Head { method: place(text, method), target: place(text, target), minor: SIMPLE, ..bare })
    }

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
        memchr::memchr(b'?', path.as_bytes()).map_or(path, |query| &path[..query])
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

    /// The first header field of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields(name).find_map(|value| std::str::from_utf8(value).ok())
    }

    /// The values of all header fields of this name, whatever its case.
    pub fn fields<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.lines().skip(1).filter_map(move |line| {
            let colon = memchr::memchr(b':', line)?;
            let is_it = line[..colon].trim_ascii().eq_ignore_ascii_case(name.as_bytes());
            is_it.then(|| line[colon + 1..].trim_ascii())
        })
    }

    /// The lines, the start line first, without their ends and without the blank one.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.text.bytes().split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.filter(|line| !line.is_empty())
    }

    /// The lines with their ends, the blank one included.
    pub fn raw_lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.bytes().split_inclusive(|&byte| byte == b'\n')
    }

    /// Whether this is a request of HTTP/0.9: a line with a target and no version, answered without a head.
    pub fn is_simple(&self) -> bool {
        self.minor == SIMPLE
    }

    /// Bytes of the head, its blank line included.
    pub fn bytes(&self) -> u64 {
        self.text.bytes().len() as u64
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

    fn bare(text: Text) -> Self {
        Head {
            text,
            method: Place::default(),
            target: Place::default(),
            host: Place::default(),
            ids: [Place::default(); ID_HEADERS.len()],
            forwarded: Place::default(),
            forwarded_path: Place::default(),
            forwarded_prefix: Place::default(),
            passed_on: [0; PASSED_ON.len()],
            status: 0,
            minor: 1,
            content_length: None,
            chunked: false,
            close: false,
            keep_alive: false,
            upgrade: false,
            expects_continue: false,
            redirects: false,
            has_bad_field: false,
        }
    }

    fn read_field(&mut self, text: &[u8], name: &[u8], value: &[u8]) {
        let is = |expected: &str| name.eq_ignore_ascii_case(expected.as_bytes());
        let value = value.trim_ascii();
        match name.len() {
            4 if is("host") && self.host.1 == 0 => {
                self.host = place(text, value);
            }
            4 if is(PASSED_ON[0]) => {
                self.passed_on[0] = hash(value.strip_prefix(b"W/").unwrap_or(value));
            }
            13 if is(PASSED_ON[1]) => self.passed_on[1] = hash(value),
            12 if is(PASSED_ON[2]) => {
                self.passed_on[2] = hash(value.split(|&byte| byte == b';').next().unwrap_or(value));
            }
            10 if is(PASSED_ON[3]) => self.passed_on[3] = hash(value),
            6 if is("expect") => {
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            9 if is("x-real-ip") && self.forwarded.1 == 0 => {
                self.forwarded = place(text, value);
            }
            10 if is("connection") => self.read_connection(value),
            12 if is(ID_HEADERS[0]) => self.ids[0] = place(text, value),
            17 if is(ID_HEADERS[1]) => self.ids[1] = place(text, value),
            11 if is(ID_HEADERS[2]) => self.ids[2] = place(text, value),
            16 if is("x-accel-redirect") => self.redirects |= std::str::from_utf8(value).is_ok(),
            15 if is("x-forwarded-for") => self.forwarded = place(text, value),
            16 if is("x-forwarded-path") => self.forwarded_path = place(text, value),
            18 if is("x-forwarded-prefix") => {
                self.forwarded_prefix = place(text, value);
            }
            14 if is("content-length") => {
                self.content_length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            }
            17 if is("transfer-encoding") => {
                let last = value.rsplit(|&byte| byte == b',').next().unwrap_or_default();
                self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            _ => {}
        }
    }

    fn read_connection(&mut self, value: &[u8]) {
        for token in value.split(|&byte| byte == b',') {
            let token = token.trim_ascii();
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
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

impl Default for Text {
    fn default() -> Self {
        Text::Utf8(SecretText::default())
    }
}

impl Text {
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

/// Never 0.
fn hash(value: &[u8]) -> u32 {
    let mut hasher = FxHasher::default();
    hasher.write(value);
    hasher.finish() as u32 | 1
}

/// None that is read as usual is so.
fn is_field_bad(line: &[u8]) -> bool {
    let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
    name.is_empty() || name.iter().any(|&byte| byte <= b' ' || byte == 0x7f) || line.contains(&0)
}

/// As much as real servers take.
fn lenient() -> httparse::ParserConfig {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .allow_multiple_spaces_in_response_status_delimiters(true)
        .allow_space_before_first_header_name(true)
        .ignore_invalid_headers_in_requests(true)
        .ignore_invalid_headers_in_responses(true);
    config
}

fn place(text: &[u8], part: &[u8]) -> Place {
    let start = (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
    Place(start as u32, part.len() as u32)
}

#[cfg(test)]
mod tests;
