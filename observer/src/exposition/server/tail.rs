//! `GET /tail`: exchanges as they end, as long as the reader stays.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::stream;
use warp::Reply;
use warp::http::{HeaderValue, StatusCode, header};
use warp::reply::Response;

use super::answer::message;
use crate::tail::{Hub, Wish};

/// A JSON object a line.
const LINES: &str = "application/x-ndjson";

/// Begins to listen. A reader that takes nothing for as long as an answer may wait is cut off.
pub(super) fn stream(hub: &Arc<Hub>, query: &str) -> Response {
    let wish = match Wish::from_query(query) {
        Ok(wish) => wish,
        Err(error) => return message(StatusCode::BAD_REQUEST, &error.to_string()).into_response(),
    };
    let reader = match hub.listen(wish) {
        Ok(reader) => reader,
        Err(full) => return message(StatusCode::SERVICE_UNAVAILABLE, &full.to_string()).into_response(),
    };
    let lines = stream::unfold(reader, |mut reader| async {
        let lines = reader.lines().await?;
        Some((Ok::<_, Infallible>(lines), reader))
    });
    let mut response = warp::reply::stream(lines).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(LINES));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
