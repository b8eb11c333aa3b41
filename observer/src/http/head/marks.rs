//! What a response's fields tell of who made it, as bits.

use std::hash::Hasher;

use rustc_hash::FxHasher;

use super::parse::is_name;

/// Ignores case in a byte of a name.
const CASE: u64 = u64::from_ne_bytes([b' '; 8]);

/// A field's bit, by its name and its value's length; none of one that says nothing.
pub(super) fn of(name: &[u8], value: &[u8]) -> u128 {
    if says_nothing(name) {
        return 0;
    }
    let value = value.trim_ascii();
    // A filter that changes a body weakens its tag (`ngx_http_weak_etag`).
    let value = value.strip_prefix(b"W/").unwrap_or(value);
    let mut hasher = FxHasher::default();
    match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            hasher.write_u64(u64::from_ne_bytes(*first) | CASE);
            hasher.write_u64(u64::from_ne_bytes(*last) | CASE);
        }
        _ => name.iter().for_each(|byte| hasher.write_u8(byte | b' ')),
    }
    hasher.write_usize(name.len());
    hasher.write_usize(value.len());
    1 << (hasher.finish() % u64::from(u128::BITS))
}

/// Fields that gateways add to answers of their own, too, or keep to themselves (`ngx_http_proxy_hide_headers`), that are of
/// one connection or of how a body comes, or that are weighed apart.
fn says_nothing(name: &[u8]) -> bool {
    let is = |expected: &str| is_name(name, expected.as_bytes());
    match name.len() {
        3 => is("via"),
        4 => is("date") || is("vary"),
        5 => is("x-pad"),
        6 => is("server"),
        10 => is("connection") || is("keep-alive"),
        11 => is("traceparent"),
        12 => is("content-type") || is("x-request-id"),
        13 => is("accept-ranges") || is("content-range"),
        14 => is("content-length"),
        16 => is("content-encoding") || is_for_gateway(name),
        17 => is("transfer-encoding") || is("x-kong-request-id") || is_for_gateway(name),
        15 | 18 => is_for_gateway(name),
        _ => false,
    }
}

fn is_for_gateway(name: &[u8]) -> bool {
    name.get(..8).is_some_and(|start| is_name(start, b"x-accel-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_goes_by_the_name_in_any_case_and_by_how_long_the_value_is() {
        assert_eq!(of(b"Cache-Control", b" private"), of(b"cache-control", b"PRIVATE"));
        assert_ne!(of(b"Cache-Control", b"private"), of(b"Cache-Control", b"public"));
        assert_ne!(of(b"X-User", b"anna"), of(b"X-Role", b"anna"));
        assert_eq!(of(b"ETag", b"\"a\""), of(b"etag", b"W/\"b\""));
        assert_eq!(of(b"X-User", b"anna").count_ones(), 1);
    }

    #[test]
    fn what_says_nothing_has_no_mark() {
        for name in ["Date", "Server", "Content-Length", "Content-Type", "X-Accel-Expires", "Keep-Alive", "Via"] {
            assert_eq!(of(name.as_bytes(), b"x"), 0, "{name}");
        }
    }
}
