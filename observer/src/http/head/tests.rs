use super::*;

fn request(text: &str) -> Head {
    assert_eq!(end_of_head(text.as_bytes(), 0), Some(text.len()), "one whole head");
    Head::parse(Side::Request, text.as_bytes()).unwrap()
}

fn response(text: &str) -> Head {
    Head::parse(Side::Response, text.as_bytes()).unwrap()
}

#[test]
fn a_request_line_and_the_fields_that_matter_are_read() {
    let head =
        request("POST /a/b?c=d HTTP/1.1\r\nhost: shop.test:81 \r\nContent-Length: 12\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!((head.method(), head.target(), head.path()), ("POST", "/a/b?c=d", "/a/b"));
    assert_eq!(head.host(), Some("shop.test:81"));
    assert!(head.expects_continue);
    assert_eq!(head.request_framing(), Framing::Length(12));
    assert_eq!(head.header("CONTENT-LENGTH"), Some("12"));
    assert_eq!(head.header("content"), None);
}

#[test]
fn an_absolute_target_names_host_and_path() {
    let head = request("GET http://a.test/x?y HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!((head.host(), head.path()), (Some("a.test"), "/x"));
    let head = request("GET http://a.test HTTP/1.1\r\nHost: b.test\r\n\r\n");
    assert_eq!((head.host(), head.path()), (Some("a.test"), "/"));
}

#[test]
fn a_url_in_a_query_is_no_absolute_target() {
    let head = request("GET /go?to=http://b.test/z HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((head.host(), head.path()), (Some("a.test"), "/go"));
}

#[test]
fn lines_may_end_in_a_bare_line_feed() {
    let head = request("GET / HTTP/1.0\nConnection: Keep-Alive\n\n");
    assert_eq!(head.minor, 0);
    assert!(head.keep_alive && !head.close);
}

#[test]
fn the_end_of_a_head_is_found_however_its_bytes_come() {
    let text = b"GET / HTTP/1.1\r\nA: b\r\n\r\nrest";
    for seen in 0..text.len() - 4 {
        assert_eq!(end_of_head(&text[..seen], 0), None);
        assert_eq!(end_of_head(text, seen), Some(text.len() - 4), "looked at {seen} before");
    }
}

#[test]
fn chunked_wins_over_a_length() {
    let head = response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n");
    assert_eq!(head.response_framing("GET"), Framing::Chunked);
}

#[test]
fn status_and_method_decide_whether_there_is_a_body() {
    for (status, method, expected) in [
        (200, "GET", Framing::Length(5)),
        (200, "HEAD", Framing::Empty),
        (204, "GET", Framing::Empty),
        (304, "GET", Framing::Empty),
        (100, "POST", Framing::Empty),
        (101, "GET", Framing::Tunnel),
        (200, "CONNECT", Framing::Tunnel),
        (404, "CONNECT", Framing::Length(5)),
    ] {
        let head = response(&format!("HTTP/1.1 {status} X\r\nContent-Length: 5\r\n\r\n"));
        assert_eq!(head.response_framing(method), expected, "{status} to {method}");
    }
}

#[test]
fn an_interim_status_is_final_where_the_head_says_what_becomes_of_the_connection() {
    let interim = response("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!((interim.is_interim(), interim.response_framing("GET")), (true, Framing::Empty));
    for connection in ["close", "keep-alive"] {
        let passed_on = response(&format!("HTTP/1.1 103 X\r\nServer: nginx\r\nConnection: {connection}\r\n\r\n"));
        assert_eq!((passed_on.is_interim(), passed_on.response_framing("GET")), (false, Framing::UntilClose));
    }
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    assert_eq!(response("HTTP/1.0 200 OK\r\n\r\n").response_framing("GET"), Framing::UntilClose);
}

#[test]
fn a_status_line_without_reason_is_taken() {
    assert_eq!(response("HTTP/1.1 200\r\n\r\n").status, 200);
}

#[test]
fn a_line_with_an_invalid_name_is_passed_over() {
    let head = request("GET / HTTP/1.1\r\nbad name: x\r\nHost: a\r\n\r\n");
    assert_eq!(head.host(), Some("a"));
}

#[test]
fn garbage_is_an_error() {
    assert!(Head::parse(Side::Request, b"\x16\x03\x01\x02\x00\r\n\r\n").is_err());
    assert!(Head::parse(Side::Response, b"GET / HTTP/1.1\r\n\r\n").is_err());
}

#[test]
fn what_tells_of_a_requests_origin_is_read() {
    let text = "GET / HTTP/1.1\r\nX-Real-IP: 10.0.0.1\r\nTraceparent: 00-a-b-01\r\nX-Request-ID: q\r\n\r\n";
    let head = request(text);
    assert_eq!((head.ids(), head.forwarded()), (["q", "", "00-a-b-01"], "10.0.0.1"));
    let text = "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.2, 10.0.0.3\r\nX-Real-IP: 10.0.0.1\r\n\r\n";
    assert_eq!(request(text).forwarded(), "10.0.0.2, 10.0.0.3");
}

#[test]
fn a_line_with_a_target_and_no_version_is_a_whole_head() {
    for line in ["GET /a\r\n", "GET /a\n", "GET   /a \r\n", "GET http://b/a\r\n"] {
        let head = Head::simple(line.as_bytes()).unwrap();
        assert!(head.is_simple(), "{line:?}");
        assert_eq!((head.method(), head.path(), head.bytes()), ("GET", "/a", line.len() as u64), "{line:?}");
    }
    for line in ["GET /a HTTP/1.1\r\n", "GET /a b\r\n", "GET a\r\n", "get /a\r\n", "GET\r\n", "\r\n"] {
        assert!(Head::simple(line.as_bytes()).is_none(), "{line:?}");
    }
}

#[test]
fn a_head_may_have_a_thousand_lines() {
    let head = request(&format!("GET / HTTP/1.1\r\n{}Host: a\r\n\r\n", "X: y\r\n".repeat(1_000)));
    assert_eq!((head.host(), head.lines().count()), (Some("a"), 1_002));
}

#[test]
fn a_later_minor_version_is_taken_for_1() {
    assert_eq!(request("GET / HTTP/1.7\r\nHost: a\r\n\r\n").minor, 1);
    assert!(Head::parse(Side::Request, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n").is_err());
    assert!(Head::parse(Side::Request, b"GET / HTTP/1.x\r\nHost: a\r\n\r\n").is_err());
}

#[test]
fn spaces_behind_the_version_and_a_later_minor_version_of_an_answer_are_taken_as_nginx_takes_them() {
    for text in
        ["GET    /a/    HTTP/1.1   \r\nHost: a\r\n\r\n", "GET /a/ HTTP/1.1 \nHost: a\n\n", "GET /a/ HTTP/1.3  \r\n\r\n"]
    {
        let head = request(text);
        assert_eq!((head.method(), head.path(), head.bytes()), ("GET", "/a/", text.len() as u64), "{text:?}");
    }
    assert!(Head::parse(Side::Request, b"GET / HTTP/1.1 x\r\nHost: a\r\n\r\n").is_err());
    for answer in ["HTTP/1.9 203 OK\r\n\r\n", "HTTP/2.0 203 OK\r\n\r\n", "HTTP/3.7 203 OK\r\n\r\n"] {
        let head = Head::parse(Side::Response, answer.as_bytes()).unwrap();
        assert_eq!((head.status, head.minor), (203, 1), "{answer}");
    }
    assert!(Head::parse(Side::Request, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n").is_err());
    assert!(Head::parse(Side::Response, b"HTTP/1.x 200 OK\r\n\r\n").is_err());
}

mod usual {
    use proptest::prelude::*;

    use super::*;

    const USUAL: [(Side, &str); 4] = [
        (Side::Request, "GET /a/b?c=d HTTP/1.1\r\nHost: shop.test:81\r\nX-Request-ID:  q \r\n\r\n"),
        (
            Side::Request,
            "POST http://a.test/x HTTP/1.0\r\nhost: b\r\nContent-Length: 12\r\nConnection: close, x\r\n\r\n",
        ),
        (
            Side::Response,
            "HTTP/1.1 200 OK\r\nETag: W/\"a\"\r\nSet-Cookie: s=1; Path=/\r\nContent-Type: text/html; b\r\n\r\n",
        ),
        (Side::Response, "HTTP/1.0 404 Not Found\r\nTransfer-Encoding: gzip, chunked\r\nX-Accel-Redirect: /z\r\n\r\n"),
    ];

    #[test]
    fn usual_heads_need_no_other_parser() {
        for (side, text) in USUAL {
            let usual = Head::parse_usual(side, text.as_bytes(), &mut None);
            assert_eq!(usual.as_deref(), Head::parse_any(side, text.as_bytes()).ok().as_ref(), "{text}");
            assert!(usual.is_some(), "{text}");
        }
        assert!(
            Head::parse_usual(Side::Response, b"HTTP/1.1 204\r\nServer: x\r\n\r\n", &mut None).is_some(),
            "a reason may be missing"
        );
    }

    /// Bytes that mean something in a head, and some that have no place there.
    const TELLING: &[u8] = b"\r\n: \tA/a1-_?\"\x00\x7f\xc3\xa9HTTP.,;";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_read_as_usual_any_parser_reads_alike(
            which in 0..USUAL.len(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(TELLING)), 1..4),
        ) {
            let (side, text) = USUAL[which];
            let mut text = text.as_bytes().to_vec();
            for (at, change, byte) in changes {
                let at = at.index(text.len());
                match change {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            if let Some(usual) = Head::parse_usual(side, &text, &mut None) {
                let end = end_of_head(&text, 0).unwrap();
                prop_assert_eq!(usual.bytes(), end as u64);
                // Of fields with odd names only one of the two takes note.
                let any = Head::parse_any(side, &text[..end]).map(Head::from_pieces);
                prop_assert_eq!(Ok(Head::clone(&usual).from_pieces()), any);
            }
        }
    }
}

#[test]
fn a_minor_version_may_have_more_digits() {
    for (version, minor) in [("1.99", 1), ("1.01", 1), ("1.00", 0), ("1.100", 1)] {
        let text = format!("GET /a HTTP/{version}\r\nHost: a\r\n\r\n");
        let head = Head::parse(Side::Request, text.as_bytes()).unwrap();
        assert_eq!((head.target(), head.minor, head.bytes()), ("/a", minor, text.len() as u64), "{version}");
    }
    assert!(Head::parse(Side::Request, b"GET /a HTTP/1.1000\r\nHost: a\r\n\r\n").is_err());
}
