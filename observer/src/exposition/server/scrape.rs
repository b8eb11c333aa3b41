//! The answer to a scrape: the page of metrics, sent while it is printed.

use std::io;
use std::time::Duration;

use futures_util::stream;
use tokio::time::Instant;
use warp::Reply;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::answer::{self, CONTENT_TYPE, OPEN_METRICS_TYPE, typed};
use crate::exposition::text::{Format, Page};

/// The page in one go where a piece holds it. Else piece by piece, each printed when the one before it is on its way, and no
/// more once the client had `limit` for all of it: the answer then ends without its last chunk, so that nobody takes it
/// for a whole one.
pub(super) fn plain(page: Page, format: Format, limit: Duration) -> Response {
    let mut pieces = page.peekable();
    let first = pieces.next().unwrap_or_default();
    if pieces.peek().is_none() {
        return typed(StatusCode::OK, kind(format), first.into_bytes()).into_response();
    }
    let due = Instant::now() + limit;
    let in_time =
        move |piece| if Instant::now() < due { Ok(piece) } else { Err(io::Error::from(io::ErrorKind::TimedOut)) };
    let pieces = std::iter::once(first).chain(pieces).map(in_time);
    let mut response = warp::reply::stream(stream::iter(pieces)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind(format)));
    response
}

/// The page compressed: it is small enough to be whole before it is sent.
pub(super) fn gzipped(page: Page, format: Format) -> Response {
    answer::gzipped(kind(format), page).into_response()
}

fn kind(format: Format) -> &'static str {
    match format {
        Format::Text => CONTENT_TYPE,
        Format::OpenMetrics => OPEN_METRICS_TYPE,
    }
}
