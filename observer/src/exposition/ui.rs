//! The page for people: files that lie in the program, compressed once. They ask for the snapshot beside them and for
//! nothing else, and change nothing.
//!
//! All their addresses are relative, so the page works wherever a gateway puts it.

#[cfg(test)]
mod tests;

use std::io::Write;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};
use warp::http::StatusCode;
use warp::http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::server::answer::{Answer, empty, not_found, typed};
use super::server::negotiate;

/// The page's place, also below a prefix.
pub(super) const PLACE: &str = "/ui";

/// What the page may do in a browser: load its own files and ask its own host. `trusted-types 'none'` keeps text from
/// ever becoming markup.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const PROTECTION: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of the page.
struct File {
    /// The last part of its address; empty for the page itself.
    name: &'static str,
    kind: &'static str,
    plain: &'static [u8],
    gzip: Vec<u8>,
    /// Of the content, without quotes.
    tag: String,
}

macro_rules! file {
    ($name:literal, $kind:expr, $path:literal) => {
        File::new($name, $kind, include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/ui/", $path)))
    };
}

static FILES: LazyLock<[File; 16]> = LazyLock::new(|| {
    [
        file!("", HTML, "index.html"),
        file!("style.css", STYLE, "style.css"),
        file!("icon.svg", "image/svg+xml", "icon.svg"),
        file!("app.js", SCRIPT, "app.js"),
        file!("chart.js", SCRIPT, "chart.js"),
        file!("charts.js", SCRIPT, "charts.js"),
        file!("dom.js", SCRIPT, "dom.js"),
        file!("format.js", SCRIPT, "format.js"),
        file!("heatmap.js", SCRIPT, "heatmap.js"),
        file!("history.js", SCRIPT, "history.js"),
        file!("overview.js", SCRIPT, "overview.js"),
        file!("services.js", SCRIPT, "services.js"),
        file!("theme.js", SCRIPT, "theme.js"),
        file!("uplot.js", SCRIPT, "uplot/uPlot.iife.min.js"),
        file!("uplot.css", STYLE, "uplot/uPlot.min.css"),
        file!("uplot-license.txt", TEXT, "uplot/LICENSE"),
    ]
});

/// What lies at `rest`, the path behind the page's place: the page at `/`, its files below. At the place itself the
/// client is sent to the page, by an address that holds behind any prefix.
pub(super) fn answer(rest: &str, headers: &HeaderMap) -> Answer {
    let Some(name) = rest.strip_prefix('/') else {
        let mut answer = empty(StatusCode::PERMANENT_REDIRECT);
        answer.headers_mut().insert(header::LOCATION, HeaderValue::from_static("ui/"));
        return answer;
    };
    match FILES.iter().find(|file| file.name == name) {
        Some(file) => file.answer(headers),
        None => not_found(),
    }
}

/// Adds what keeps a browser from using an answer for anything but the page.
pub(super) fn protect(mut answer: Answer) -> Answer {
    for (name, value) in PROTECTION {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

impl File {
    fn new(name: &'static str, kind: &'static str, plain: &'static [u8]) -> File {
        let digest = Sha256::digest(plain);
        let tag = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        File { name, kind, plain, gzip: compress(plain), tag }
    }

    /// The file, or 304 where the client has it already. Browsers ask each time, so that a new observer's page is never
    /// mixed with the old one's.
    fn answer(&self, headers: &HeaderMap) -> Answer {
        let takes_gzip = negotiate::takes_gzip(headers);
        let suffix = if takes_gzip { "-gzip" } else { "" };
        let tag = format!("\"{}{suffix}\"", self.tag);
        let mut answer = if has_already(headers, &tag) {
            empty(StatusCode::NOT_MODIFIED)
        } else if takes_gzip {
            let mut answer = typed(StatusCode::OK, self.kind, self.gzip.clone());
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            answer
        } else {
            typed(StatusCode::OK, self.kind, self.plain.to_vec())
        };
        let head = answer.headers_mut();
        head.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            head.insert(header::ETAG, tag);
        }
        protect(answer)
    }
}

/// As small as it gets: once for all. Writing to memory does not fail.
fn compress(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).and_then(|()| encoder.finish()).unwrap_or_default()
}

/// Whether `If-None-Match` names the tag (RFC 9110, 13.1.2: weak comparison).
fn has_already(headers: &HeaderMap, tag: &str) -> bool {
    let listed = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    listed.flat_map(|value| value.split(',')).map(str::trim).any(|one| one.strip_prefix("W/").unwrap_or(one) == tag)
}
