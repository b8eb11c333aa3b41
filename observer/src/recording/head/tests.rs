use proptest::prelude::*;

use super::*;
use crate::http::head::{Head, end_of_head};

fn masked_in(side: Side, text: &[u8], pieces: &[usize]) -> Vec<u8> {
    let kept = Kept::new(["X-Route"]);
    let mut head = HeadMask::new(side);
    let mut masked = text.to_vec();
    let mut rest = &mut masked[..];
    for &bytes in pieces {
        let (piece, after) = rest.split_at_mut(bytes.min(rest.len()));
        head.mask(piece, &kept);
        rest = after;
    }
    head.mask(rest, &kept);
    masked
}

fn request(text: &str) -> String {
    String::from_utf8(masked_in(Side::Request, text.as_bytes(), &[])).unwrap()
}

fn response(text: &str) -> String {
    String::from_utf8(masked_in(Side::Response, text.as_bytes(), &[])).unwrap()
}

#[test]
fn values_stay_only_of_needed_fields() {
    assert_eq!(
        request("POST /a HTTP/1.1\r\nHost: b.test\r\nCookie: SECRET\r\ncontent-LENGTH : 3\r\nX-route: r\r\n\r\n"),
        "POST /a HTTP/1.1\r\nHost: b.test\r\nCookie:xxxxxxx\r\ncontent-LENGTH : 3\r\nX-route: r\r\n\r\n"
    );
}

#[test]
fn a_query_is_overwritten_in_every_form_of_target() {
    assert_eq!(request("GET /a?b=SECRET?c HTTP/1.1\r\n\r\n"), "GET /a?xxxxxxxxxx HTTP/1.1\r\n\r\n");
    assert_eq!(request("GET http://h/a?SECRET HTTP/1.1\r\n\r\n"), "GET http://h/a?xxxxxx HTTP/1.1\r\n\r\n");
    assert_eq!(request("GET http://h?SECRET HTTP/1.1\r\n\r\n"), "GET http://h?xxxxxx HTTP/1.1\r\n\r\n");
    assert_eq!(request("GET ?SECRET HTTP/1.1\r\n\r\n"), "GET ?xxxxxx HTTP/1.1\r\n\r\n");
    assert_eq!(
        request("GET /a HTTP/1.1\r\nX-Forwarded-Path: /b?SECRET\r\nVia: c?d\r\n\r\n"),
        "GET /a HTTP/1.1\r\nX-Forwarded-Path: /b?xxxxxxx\r\nVia: c?d\r\n\r\n".replace("xxxxxxx", "xxxxxx")
    );
}

#[test]
fn userinfo_is_overwritten_and_the_host_stays() {
    assert_eq!(
        request("GET HTTP://u:SECRET@p@h.test:8/a HTTP/1.1\r\n\r\n"),
        "GET HTTP://xxxxxxxxxx@h.test:8/a HTTP/1.1\r\n\r\n"
    );
    assert_eq!(request("CONNECT SECRET@h:443 HTTP/1.1\r\n\r\n"), "CONNECT xxxxxxxxxxxx HTTP/1.1\r\n\r\n");
}

#[test]
fn a_status_line_keeps_version_and_status() {
    assert_eq!(
        response("HTTP/1.1 302 SECRET\r\nLocation: /SECRET\r\nServer: s\r\n\r\n"),
        "HTTP/1.1 302 xxxxxx\r\nLocation:xxxxxxxx\r\nServer: s\r\n\r\n"
    );
    assert_eq!(response("HTTP/1.0 200\n\n"), "HTTP/1.0 200\n\n");
}

#[test]
fn a_folded_line_goes_with_its_field() {
    assert_eq!(
        response("HTTP/1.1 200 OK\r\nVia: a\r\n b\r\nX: SECRET\r\n\tHost: SECRET\r\nVia: c\r\n\r\n"),
        "HTTP/1.1 200 xx\r\nVia: a\r\n b\r\nX:xxxxxxx\r\n\txxxxxxxxxxxx\r\nVia: c\r\n\r\n"
    );
}

#[test]
fn a_line_that_is_no_field_is_overwritten() {
    assert_eq!(
        request("GET /a HTTP/1.1\r\nSECRET\r\nSEC RET: SECRET\r\nHost: h\r\n\r\n"),
        "GET /a HTTP/1.1\r\nxxxxxx\r\nxxxxxxx:xxxxxxx\r\nHost: h\r\n\r\n"
    );
}

#[test]
fn an_unknown_method_stays_one() {
    assert_eq!(request("SECRET /a HTTP/1.1\r\n\r\n"), "XXXXXX /a HTTP/1.1\r\n\r\n");
    assert_eq!(request("Secret /a HTTP/1.1\r\n\r\n"), "Xxxxxx /a HTTP/1.1\r\n\r\n");
}

#[test]
fn a_start_line_that_is_none_is_overwritten() {
    assert_eq!(request("SECRET\r\nHost: SECRET\r\n\r\n"), "XXXXXX\r\nxxxxxxxxxxxx\r\n\r\n");
    assert_eq!(request("GET secret SECRET\r\n\r\n"), "GET xxxxxx xxxxxx\r\n\r\n");
    assert_eq!(response("HTTP/1.1 2SECRET\r\n\r\n"), "HTTP/1.1 2xxxxxx\r\n\r\n");
    assert_eq!(response("HTTP/SECRET\r\n\r\n"), "HTTP/xxxxxx\r\n\r\n");
}

#[test]
fn of_a_malformed_head_nothing_but_its_beginning_stays() {
    for (side, text, expected) in [
        (Side::Request, "GET /SECRET HTTP/2\r\nHost: SECRET\r\n\r\n", "XXX xxxxxxxxxxxxxx\r\nxxxxxxxxxxxx\r\n\r\n"),
        (Side::Request, "secret\0\r\n\r\n", "xxxxxx\0\r\n\r\n"),
        (Side::Response, "HTTP/1.1 SECRET\r\n\r\n", "HTTP/1.xxxxxxxx\r\n\r\n"),
        (Side::Response, "SECRET\r\n\r\n", "xxxxxx\r\n\r\n"),
    ] {
        let mut masked = text.as_bytes().to_vec();
        mask_malformed(side, &mut masked);
        assert_eq!(String::from_utf8(masked).unwrap(), expected);
        assert!(Head::parse(side, expected.as_bytes()).is_err());
    }
}

#[test]
fn a_name_in_two_pieces_is_the_same_name() {
    let text = b"GET /a HTTP/1.1\r\nHost: h\r\nHostess: SECRET\r\nAuthorization: SECRET\r\n\r\n";
    let whole = masked_in(Side::Request, text, &[]);
    for split in 0..text.len() {
        let halves = masked_in(Side::Request, text, &[split]);
        let secret = halves.windows(6).any(|window| window == b"SECRET");
        assert!(!secret, "split at {split}");
        assert_eq!(parsed(&halves).header("host"), Some("h"), "split at {split}");
        assert_eq!(parsed(&halves).target(), "/a", "split at {split}");
        assert_eq!(halves.len(), whole.len());
    }
}

fn parsed(text: &[u8]) -> Head {
    Head::parse(Side::Request, text).unwrap()
}

/// What the pipeline reads of a head; `None` if it is none.
fn read(side: Side, text: &[u8]) -> Option<(u16, Vec<Option<String>>)> {
    let head = Head::parse(side, text).ok()?;
    let path = head.path().to_owned();
    let fields = ["host", "content-length", "transfer-encoding", "x-request-id", "x-route"];
    let mut read: Vec<_> = fields.iter().map(|name| head.header(name).map(str::to_owned)).collect();
    read.push(Some(format!("{path} {:?} {} {}", head.content_length, head.chunked, head.minor)));
    Some((head.status, read))
}

fn line() -> impl Strategy<Value = String> {
    let kept = prop_oneof![
        Just("Host"),
        Just("HOST "),
        Just("content-Length"),
        Just("Transfer-Encoding"),
        Just("x-request-id"),
        Just("X-Route"),
    ];
    let value = prop_oneof![Just("3"), Just(" chunked"), Just("a: b"), Just("\x7f"), Just("é"), Just(""), Just("a\rb")];
    let other = prop_oneof![Just("X-Routed"), Just("Cookie"), Just("Ho st"), Just("x\x01y"), Just(""), Just("H")];
    let secret = prop_oneof![Just(" SECRET\t"), Just("SECRET\x01"), Just("a\0SECRET"), Just("é: SECRET"), Just("")];
    let field = prop_oneof![(kept, value.boxed()), (other, secret.boxed())];
    let end = prop_oneof![4 => Just("\r\n"), 1 => Just("\n")];
    prop_oneof![
        8 => (field, end.clone()).prop_map(|((name, value), end)| format!("{name}:{value}{end}")),
        1 => ("[ -~]{1,9}", end).prop_map(|(text, end)| format!("{text}{end}").replace([':', ' '], "=")),
    ]
}

fn start(side: Side) -> BoxedStrategy<String> {
    match side {
        Side::Request => (
            prop_oneof![6 => Just("GET"), 1 => Just("get"), 1 => Just("BREW"), 1 => Just("G\x01T"), 1 => Just("")],
            prop_oneof![Just(" "), Just("  ")],
            prop_oneof![Just("/a/b"), Just("/a?b=SECRET"), Just("/a?é\t"), Just("/"), Just("/\x01")],
            prop_oneof![8 => Just(" HTTP/1.1"), 1 => Just("  HTTP/1.0"), 1 => Just(" HTTP/2.0"), 1 => Just("")],
        )
            .prop_map(|(method, gap, target, version)| format!("{method}{gap}{target}{version}\r\n"))
            .boxed(),
        Side::Response => (
            prop_oneof![8 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/1."), 1 => Just("ICY")],
            prop_oneof![8 => Just(" 200"), 1 => Just("  304"), 1 => Just(" 20"), 1 => Just(" 2000"), 1 => Just("")],
            prop_oneof![Just(" OK"), Just(""), Just(" "), Just("  Não é SECRET"), Just(" \x01"), Just("\tOK")],
        )
            .prop_map(|(version, status, reason)| format!("{version}{status}{reason}\r\n"))
            .boxed(),
    }
}

fn head() -> impl Strategy<Value = (Side, String)> {
    prop_oneof![Just(Side::Request), Just(Side::Response)].prop_flat_map(|side| {
        let lines = proptest::collection::vec(line(), 0..6);
        (start(side), lines).prop_map(move |(start, lines)| (side, format!("{start}{}\r\n", lines.concat())))
    })
}

proptest! {
    #[test]
    fn a_masked_head_reads_like_the_head((side, text) in head(), pieces in proptest::collection::vec(0..20usize, 0..9)) {
        let text = text.as_bytes();
        let masked = masked_in(side, text, &pieces);
        prop_assert_eq!(end_of_head(&masked, 0), end_of_head(text, 0));
        prop_assert_eq!(read(side, &masked), read(side, text), "{:?}", String::from_utf8_lossy(&masked));
        prop_assert!(!masked.windows(6).any(|window| window == b"SECRET"), "{:?}", String::from_utf8_lossy(&masked));
    }
}
