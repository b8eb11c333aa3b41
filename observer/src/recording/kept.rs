//! What stays of a head: the words that the pipeline reads, and the bytes that the parser tells apart.

use rustc_hash::FxHashSet;

/// Fields that the pipeline reads, or that tell how a gateway forwards; lower-cased.
const NEEDED: [&str; 19] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "expect",
    "upgrade",
    "x-request-id",
    "x-kong-request-id",
    "traceparent",
    "x-forwarded-for",
    "x-real-ip",
    "x-forwarded-path",
    "x-forwarded-prefix",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "via",
    "server",
];

/// Fields whose values are targets: they may have a query.
pub const TARGETS: [&[u8]; 2] = [b"x-forwarded-path", b"x-forwarded-prefix"];

/// Methods that nginx knows (`ngx_http_parse_request_line`), and those that caches are told with.
pub const METHODS: [&str; 18] = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "DELETE",
    "CONNECT",
    "OPTIONS",
    "TRACE",
    "PATCH",
    "COPY",
    "MOVE",
    "LOCK",
    "UNLOCK",
    "MKCOL",
    "PROPFIND",
    "PROPPATCH",
    "PURGE",
    "BAN",
];

/// What an absolute target begins with; lower-cased.
pub const SCHEMES: [&str; 2] = ["http://", "https://"];

/// What a request line ends with and a status line begins with.
pub const VERSIONS: [&str; 2] = ["HTTP/1.0", "HTTP/1.1"];

/// Names of the fields whose values stay.
#[derive(Debug)]
pub struct Kept(FxHashSet<Vec<u8>>);

impl Kept {
    /// The pipeline's, and these.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let names = NEEDED.into_iter().chain(names);
        Kept(names.map(|name| name.to_ascii_lowercase().into_bytes()).collect())
    }

    /// Whether the value of the field of this lower-cased name stays.
    pub fn has(&self, name: &[u8]) -> bool {
        self.0.contains(name)
    }

    /// Whether the name of a field that stays begins so.
    pub fn has_prefix(&self, start: &[u8]) -> bool {
        self.0.iter().any(|name| name.starts_with(start))
    }
}

/// Whether one of the words begins so.
pub fn begins(words: &[&str], start: &[u8]) -> bool {
    words.iter().any(|word| word.as_bytes().starts_with(start))
}

/// Bytes of a method or a field's name (RFC 9110, section 5.6.2).
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Bytes of a target, as widely as the parser takes it.
pub fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

/// Bytes of a value or a reason (RFC 9110, section 5.5).
pub fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}
