//! What of a response shows on both sides of a gateway.

use crate::http::head::{Head, PASSED_ON};

/// Of one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint {
    /// The status code.
    pub status: u16,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// Hashes of the fields that a gateway passes on; 0 for a missing one.
    fields: [u32; PASSED_ON.len()],
    /// [`Head::marks`].
    pub marks: Option<u128>,
    /// [`Head::encoded`].
    pub is_encoded: bool,
}

/// Points for agreement and against it, by the order of [`PASSED_ON`]: a gateway seldom makes an `ETag` of its own, and
/// now and then rewrites a cookie.
const FIELD_POINTS: [(i32, i32); PASSED_ON.len()] = [(4, -14), (2, -8), (1, -6), (4, -4)];

/// In [`PASSED_ON`].
const CONTENT_TYPE: usize = 2;

/// A gateway that changes a body leaves its length out.
const LENGTH_POINTS: (i32, i32) = (2, -14);

impl Fingerprint {
    /// Of a response with this head.
    pub fn of(head: &Head) -> Self {
        Fingerprint {
            status: head.status,
            content_length: head.content_length,
            fields: head.passed_on,
            marks: head.marks,
            is_encoded: head.encoded,
        }
    }

    /// The hash of `Content-Type`, without what is behind a semicolon; 0 for none.
    pub fn content_type(&self) -> u32 {
        self.fields[CONTENT_TYPE]
    }

    /// Whether the statuses are equal.
    pub fn has_status_of(&self, other: &Self) -> bool {
        self.status == other.status
    }

    /// How much two responses, one of them passed on, are alike: above 0 for alike, below for not.
    pub fn points(&self, other: &Self) -> i32 {
        let weigh = |agrees: Option<bool>, (alike, unlike): (i32, i32)| match agrees {
            Some(true) => alike,
            Some(false) => unlike,
            None => 0,
        };
        let both = |a: Option<u64>, b: Option<u64>| Some(a? == b?);
        let fields = self.fields.iter().zip(other.fields).zip(FIELD_POINTS);
        weigh(Some(self.has_status_of(other)), (3, -5))
            + weigh(both(self.content_length, other.content_length), LENGTH_POINTS)
            + fields.map(|((&a, b), points)| weigh((a != 0 && b != 0).then_some(a == b), points)).sum::<i32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Side;

    fn fingerprint(fields: &str) -> Fingerprint {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        Fingerprint::of(&Head::parse(Side::Response, head.as_bytes()).unwrap())
    }

    #[test]
    fn a_response_that_was_passed_on_is_alike() {
        let upstream = fingerprint("ETag: \"a\"\r\nContent-Type: text/html\r\nServer: x");
        let client = fingerprint("Server: nginx\r\nContent-Type: text/html; charset=utf-8\r\nETag: W/\"a\"");
        assert_eq!(upstream.points(&client), upstream.points(&upstream));
        assert!(upstream.points(&client) > 0);
    }

    #[test]
    fn each_part_tells_two_responses_apart() {
        let one = fingerprint("ETag: \"a\"\r\nLast-Modified: x\r\nContent-Length: 9\r\nSet-Cookie: s=1");
        for other in ["ETag: \"b\"", "Last-Modified: y", "Content-Length: 8", "Set-Cookie: s=2"] {
            let same = fingerprint("");
            assert!(one.points(&fingerprint(other)) < one.points(&same), "{other}");
        }
    }

    #[test]
    fn what_only_one_side_tells_says_nothing() {
        let upstream = fingerprint("Content-Length: 900\r\nETag: \"a\"");
        let zipped = fingerprint("Transfer-Encoding: chunked");
        assert_eq!(upstream.points(&zipped), upstream.points(&fingerprint("Server: x")));
    }
}
