//! A request's body, within its limits.

use std::pin::pin;

use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use warp::Buf;
use warp::http::{HeaderMap, StatusCode, header};

use super::Limits;
use super::answer::{Answer, message};

/// Reads all of it; one whose announced length is too large already is not waited for. The answer to a client that sends too much, too slowly or in pieces that do not fit.
pub(super) async fn read(
    headers: &HeaderMap,
    body: impl Stream<Item = Result<impl Buf, warp::Error>>,
    limits: Limits,
) -> Result<Vec<u8>, Answer> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limits.body_bytes as u64) {
        return Err(too_large(limits));
    }
    let mut body = pin!(body);
    let all = async {
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            let Ok(mut piece) = piece else {
                return Err(message(StatusCode::BAD_REQUEST, "the request's body ends early"));
            };
            if bytes.len() + piece.remaining() > limits.body_bytes {
                return Err(too_large(limits));
            }
            while piece.has_remaining() {
                let chunk = piece.chunk();
                bytes.extend_from_slice(chunk);
                let length = chunk.len();
                piece.advance(length);
            }
        }
        Ok(bytes)
    };
    match timeout(limits.body_time, all).await {
        Ok(read) => read,
        Err(_) => Err(message(StatusCode::REQUEST_TIMEOUT, "the request's body came too slowly")),
    }
}

fn too_large(limits: Limits) -> Answer {
    let text = format!("the request's body is larger than {} bytes", limits.body_bytes);
    message(StatusCode::PAYLOAD_TOO_LARGE, &text)
}
