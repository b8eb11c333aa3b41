//! From text to a head: usual ones in one pass, all others by `httparse`.

use std::hash::Hasher;
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustc_hash::FxHasher;
use zeroize::Zeroizing;

use super::{Head, ID_HEADERS, Malformed, PASSED_ON, Place, SIMPLE, Side, Text, marks};
use crate::http::short;
use crate::http::usual::{self, StartLine};

/// Header lines that are parsed without memory from the heap. A head may have as many as fit it.
const LINES_USUAL: usize = 128;

impl Head {
    /// Parses a complete head, as [`end_of_head`] found it.
    pub fn parse(side: Side, text: &[u8]) -> Result<Self, Malformed> {
        let mut head = Head::default();
        if head.read_usual(side, text).is_some() { Ok(head) } else { Head::parse_any(side, text) }
    }

    /// Parses the head at the start of `bytes`, if it is complete and of the usual form.
    /// It takes the memory of `spare`, if that is there and nobody else has it.
    pub fn parse_usual(side: Side, bytes: &[u8], spare: &mut Option<Arc<Self>>) -> Option<Arc<Self>> {
        let mut shared = spare.take().unwrap_or_default();
        let own = Arc::get_mut(&mut shared)?;
        if own.read_usual(side, bytes).is_some() {
            return Some(shared);
        }
        own.wipe();
        *spare = Some(shared);
        None
    }

    /// For one that came in several calls.
    pub fn from_pieces(self) -> Self {
        Head { marks: None, ..self }
    }

    /// Forgets all but its memory.
    pub fn wipe(&mut self) {
        self.text.wipe();
        *self = Head { text: std::mem::take(&mut self.text), ..Head::default() };
    }

    /// `None` if it is not complete or not of that form: what was read counts for nothing then.
    fn read_usual(&mut self, side: Side, bytes: &[u8]) -> Option<()> {
        let mut marks = 0;
        let (start, length) = usual::read(side, bytes, |name, value| {
            self.read_field(bytes, name, value);
            if side == Side::Response {
                marks |= marks::of(name, value);
            }
        })?;
        self.marks = Some(marks);
        match start {
            StartLine::Request { method, target, minor } => {
                (self.method, self.target, self.minor) = (place(bytes, method), place(bytes, target), minor);
            }
            StartLine::Response { status, minor } => (self.status, self.minor) = (status, minor),
        }
        self.bytes = length as u32;
        if side == Side::Request || self.has_ids() {
            self.text.fill(&bytes[..length]);
        }
        Some(())
    }

    pub(super) fn parse_any(side: Side, text: &[u8]) -> Result<Self, Malformed> {
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
        let marks = fields.iter().map(|field| marks::of(field.name.as_bytes(), field.value));
        head.marks = Some(if side == Side::Response { marks.fold(0, |all, one| all | one) } else { 0 });
        let has_bad_field = head.lines().skip(1).any(is_field_bad);
        head.has_bad_field = has_bad_field;
        if side == Side::Response && !head.has_ids() {
            head.text = Text::default();
        }
        Ok(head)
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
            let further = further_digits(&mut usual[minor..line.len()]);
            // As many before the version instead.
            usual[at..line.len() + spaces].rotate_right(spaces + further);
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

    pub(super) fn bare(text: Text) -> Self {
        Head {
            bytes: text.bytes().len() as u32,
            text,
            method: Place::default(),
            target: Place::default(),
            host: Place::default(),
            ids: [Place::default(); ID_HEADERS.len()],
            forwarded: Place::default(),
            forwarded_path: Place::default(),
            forwarded_prefix: Place::default(),
            passed_on: [0; PASSED_ON.len()],
            marks: None,
            encoded: false,
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
        let is = |expected: &str| is_name(name, expected.as_bytes());
        // Of most fields nobody asks for it.
        let value = || value.trim_ascii();
        match name.len() {
            4 if is("host") && self.host.1 == 0 => {
                self.host = place(text, value());
            }
            4 if is(PASSED_ON[0]) => {
                let value = value();
                self.passed_on[0] = hash(value.strip_prefix(b"W/").unwrap_or(value));
            }
            13 if is(PASSED_ON[1]) => self.passed_on[1] = hash(value()),
            12 if is(PASSED_ON[2]) => {
                let value = value();
                self.passed_on[2] = hash(&value[..short::find::<b';'>(value).unwrap_or(value.len())]);
            }
            10 if is(PASSED_ON[3]) => self.passed_on[3] = hash(value()),
            6 if is("expect") => {
                self.expects_continue = value().eq_ignore_ascii_case(b"100-continue");
            }
            9 if is("x-real-ip") && self.forwarded.1 == 0 => {
                self.forwarded = place(text, value());
            }
            10 if is("connection") => self.read_connection(value()),
            12 if is(ID_HEADERS[0]) => self.ids[0] = place(text, value()),
            17 if is(ID_HEADERS[1]) => self.ids[1] = place(text, value()),
            11 if is(ID_HEADERS[2]) => self.ids[2] = place(text, value()),
            16 if is("x-accel-redirect") => self.redirects |= std::str::from_utf8(value()).is_ok(),
            15 if is("x-forwarded-for") => self.forwarded = place(text, value()),
            16 if is("x-forwarded-path") => self.forwarded_path = place(text, value()),
            18 if is("x-forwarded-prefix") => {
                self.forwarded_prefix = place(text, value());
            }
            14 if is("content-length") => {
                self.content_length = std::str::from_utf8(value()).ok().and_then(|text| text.parse().ok());
            }
            17 if is("transfer-encoding") => {
                let last = value().rsplit(|&byte| byte == b',').next().unwrap_or_default();
                self.chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
            }
            16 if is("content-encoding") => self.encoded = true,
            _ => {}
        }
    }

    fn read_connection(&mut self, value: &[u8]) {
        let mut rest = Some(value);
        while let Some(text) = rest {
            let comma = short::find::<b','>(text);
            rest = comma.map(|comma| &text[comma + 1..]);
            let token = text[..comma.unwrap_or(text.len())].trim_ascii();
            match token.len() {
                5 => self.close |= is_name(token, b"close"),
                10 => self.keep_alive |= is_name(token, b"keep-alive"),
                7 => self.upgrade |= is_name(token, b"upgrade"),
                _ => {}
            }
        }
    }
}

/// Whether a name is this one, whatever its case: of bytes that names and tokens consist of only letters differ in the one bit.
/// Eight bytes at a time, the last ones once more.
pub(super) fn is_name(name: &[u8], expected: &[u8]) -> bool {
    const CASE: u64 = u64::from_ne_bytes([b' '; 8]);
    let is_alike =
        |one: &[u8; 8], other: &[u8; 8]| u64::from_ne_bytes(*one) | CASE == u64::from_ne_bytes(*other) | CASE;
    if name.len() != expected.len() {
        return false;
    }
    match (name.last_chunk(), expected.last_chunk()) {
        (Some(name_end), Some(expected_end)) => {
            let words = name.as_chunks().0.iter().zip(expected.as_chunks().0);
            is_alike(name_end, expected_end) && words.into_iter().all(|(one, other)| is_alike(one, other))
        }
        _ => name.eq_ignore_ascii_case(expected),
    }
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

/// Leaves the first digit of a minor version that begins here, as 0 or 1, blanks the others, and returns how many those are
/// (`sw_minor_digit` in `ngx_http_parse_request_line`).
fn further_digits(version: &mut [u8]) -> usize {
    let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(2..=3).contains(&digits) {
        return 0;
    }
    let is_zero = version[..digits].iter().all(|&digit| digit == b'0');
    version[0] = if is_zero { b'0' } else { b'1' };
    version[1..digits].fill(b' ');
    digits - 1
}
