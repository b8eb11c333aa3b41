//! The shapes of answers.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use warp::http::{HeaderValue, Response, StatusCode, header};

/// An answer with its whole body.
pub(in crate::exposition) type Answer = Response<Vec<u8>>;

/// Content type of the metrics and the other texts, spelt as the plugin spells it.
pub const CONTENT_TYPE: &str = "text/plain; charset=UTF-8";

/// Content type of OpenMetrics.
pub const OPEN_METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Content type of JSON, spelt as Kong spells it.
pub(in crate::exposition) const JSON: &str = "application/json; charset=utf-8";

pub(in crate::exposition) fn plain(status: StatusCode, body: impl Into<Vec<u8>>) -> Answer {
    typed(status, CONTENT_TYPE, body.into())
}

pub(in crate::exposition) fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    typed(status, JSON, body.to_string().into_bytes())
}

/// `{"message":"..."}`, as Kong words its refusals.
pub(in crate::exposition) fn message(status: StatusCode, text: &str) -> Answer {
    json(status, &serde_json::json!({ "message": text }))
}

pub(in crate::exposition) fn typed(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// 200 with the body, which comes in pieces, compressed. The fastest level makes a tenth of the metrics' text already.
pub(in crate::exposition) fn gzipped(kind: &'static str, pieces: impl Iterator<Item = impl AsRef<[u8]>>) -> Answer {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for piece in pieces {
        encoder.write_all(piece.as_ref()).expect("a Vec takes any bytes");
    }
    let mut answer = typed(StatusCode::OK, kind, encoder.finish().expect("a Vec takes any bytes"));
    answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    answer
}

/// No body.
pub(in crate::exposition) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Vec::new());
    *answer.status_mut() = status;
    answer
}

pub(in crate::exposition) fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "no such page; the metrics are at /metrics, readiness is at /ready")
}

/// `allow` lists the methods that the page has.
pub(in crate::exposition) fn not_allowed(allow: &'static str) -> Answer {
    let text = match allow {
        "GET, HEAD" => "this page can only be read; use GET or HEAD",
        _ => "not a method of this page; its Allow header lists them",
    };
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, text);
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}
