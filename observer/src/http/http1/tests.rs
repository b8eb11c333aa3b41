use super::*;

/// Parts found in the pieces, and how many bytes each took.
fn read_all(reader: &mut Reader, pieces: &[Input<'_>]) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for piece in pieces {
        let mut input = *piece;
        while input.left() > 0 {
            let before = input.left();
            let mut part = reader.read(&mut input, &mut |_| {});
            let mut taken = before - input.left();
            if part.is_none() {
                found.push(("more".into(), taken));
            }
            while let Some(now) = part.take() {
                found.push((name(&now), taken));
                taken = 0;
                if let Part::Head(head) = now {
                    part = reader.begin_body(match reader.side {
                        Side::Request => head.request_framing(),
                        Side::Response => head.response_framing("GET"),
                    });
                }
            }
        }
    }
    found
}

fn name(part: &Part) -> String {
    match part {
        Part::Blank => "blank".into(),
        Part::Begin => "begin".into(),
        Part::Head(head) if head.status > 0 => format!("head {}", head.status),
        Part::Head(head) => format!("head {}", head.target()),
        Part::End => "end".into(),
        Part::Malformed => "malformed".into(),
        Part::Blurred => "blurred".into(),
    }
}

fn known(bytes: &[u8]) -> Input<'_> {
    Input::new(bytes, 0, &[])
}

fn names(found: &[(String, u64)]) -> Vec<&str> {
    found.iter().map(|(name, _)| name.as_str()).filter(|name| *name != "more").collect()
}

const REQUESTS: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc\
PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nwxyz\r\n0A\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n\
HEAD /d HTTP/1.0\n\n";

const EXPECTED: [&str; 13] = [
    "begin", "head /a", "end", "blank", "begin", "head /b", "end", "begin", "head /c", "end", "begin", "head /d", "end",
];

#[test]
fn whole_pipelined_requests_are_read() {
    let mut reader = Reader::new(Side::Request);
    let found = read_all(&mut reader, &[known(REQUESTS)]);
    assert_eq!(names(&found), EXPECTED);
    assert_eq!(found.iter().map(|(_, taken)| taken).sum::<u64>(), REQUESTS.len() as u64);
}

#[test]
fn the_same_requests_are_read_split_at_every_place() {
    for split in 0..=REQUESTS.len() {
        let mut reader = Reader::new(Side::Request);
        let (first, second) = REQUESTS.split_at(split);
        let found = read_all(&mut reader, &[known(first), known(second)]);
        let mut found = names(&found);
        found.dedup();
        assert_eq!(found, EXPECTED, "split at {split}");
    }
}

#[test]
fn the_same_requests_are_read_byte_by_byte() {
    let mut reader = Reader::new(Side::Request);
    let pieces: Vec<_> = REQUESTS.chunks(1).map(known).collect();
    let found = read_all(&mut reader, &pieces);
    let mut found = names(&found);
    found.dedup();
    assert_eq!(found, EXPECTED);
}

#[test]
fn hidden_bytes_within_a_body_are_as_good_as_known_ones() {
    let mut reader = Reader::new(Side::Response);
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n0123";
    let pieces = [Input::new(head, 9000, b"tail"), Input::new(&[], 996, &[]), known(b"HTTP/1.1 ")];
    assert_eq!(names(&read_all(&mut reader, &pieces)), ["begin", "head 200", "end", "begin"]);
}

#[test]
fn a_hidden_chunk_is_passed_over_when_its_size_was_seen() {
    let mut reader = Reader::new(Side::Response);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\n";
    let found = read_all(&mut reader, &[Input::new(head, 0x1000, &[]), known(b"\r\n0\r\n\r\n")]);
    assert_eq!(names(&found), ["begin", "head 200", "end"]);
}

#[test]
fn a_chunked_body_whose_sizes_are_hidden_ends_where_its_last_bytes_show_it() {
    let mut reader = Reader::new(Side::Response);
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nabc";
    let pieces =
        [Input::new(head, 500, b"xxxxxxxx"), Input::new(&[], 90, b"\r\n0\r\n\r\n"), known(b"HTTP/1.1 204 N\r\n\r\n")];
    let found = read_all(&mut reader, &pieces);
    assert_eq!(names(&found), ["begin", "head 200", "blurred", "end", "begin", "head 204", "end"]);
}

#[test]
fn a_head_with_hidden_bytes_is_blurred_until_told_otherwise() {
    let mut reader = Reader::new(Side::Request);
    let pieces = [Input::new(b"GET / HTTP/1.1\r\nX: ", 3000, b"\r\n\r\n"), Input::new(&[], 5, &[])];
    assert_eq!(names(&read_all(&mut reader, &pieces)), ["begin", "blurred"]);
    assert!(reader.is_open_ended());
    reader.end();
    assert_eq!(names(&read_all(&mut reader, &[known(b"GET /b HTTP/1.1\r\n\r\n")])), ["begin", "head /b", "end"]);
}

#[test]
fn garbage_is_malformed_and_swallowed_until_the_reader_restarts() {
    let mut reader = Reader::new(Side::Request);
    let found = read_all(&mut reader, &[known(b"\x16\x03\x01nonsense\r\n\r\nGET / HTTP/1.1\r\n\r\n")]);
    assert_eq!(names(&found), ["begin", "malformed"]);
    assert!(reader.is_lost());
    reader.restart();
    assert_eq!(names(&read_all(&mut reader, &[known(b"GET / HTTP/1.1\r\n\r\n")])), ["begin", "head /", "end"]);
}

#[test]
fn a_head_without_end_is_malformed_at_the_limit() {
    let mut reader = Reader::new(Side::Request);
    let lines = b"X: 0123456789abcdef\r\n".repeat(1000);
    let pieces = [known(b"GET / HTTP/1.1\r\n"), known(&lines), known(&lines), known(&lines), known(&lines)];
    assert_eq!(names(&read_all(&mut reader, &pieces)), ["begin", "malformed"]);
}

#[test]
fn an_interim_response_ends_at_its_head() {
    let mut reader = Reader::new(Side::Response);
    let text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(names(&read_all(&mut reader, &[known(text)])), ["begin", "head 100", "end", "begin", "head 200", "end"]);
}

#[test]
fn a_chunk_size_that_is_none_blurs_the_body() {
    let mut reader = Reader::new(Side::Response);
    let found = read_all(&mut reader, &[known(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")]);
    assert_eq!(names(&found), ["begin", "head 200", "blurred"]);
}

#[test]
fn a_request_without_a_version_ends_with_its_line_however_its_bytes_come() {
    let text = b"GET /a\r\nHost: b\r\n\r\n";
    for cut in 0..8 {
        let mut reader = Reader::new(Side::Request);
        let mut parts = Vec::new();
        for piece in [&text[..cut], &text[cut..]] {
            let mut input = Input::new(piece, 0, b"");
            while let Some(part) = reader.read(&mut input, &mut |_| {}) {
                let is_head = matches!(part, Part::Head(_));
                parts.push((part, input.left()));
                if is_head {
                    break;
                }
            }
        }
        let [(Part::Begin, _), (Part::Head(head), left)] = &parts[..] else { panic!("cut at {cut}: {parts:?}") };
        assert!(head.is_simple());
        assert_eq!((head.target(), *left), ("/a", 11), "cut at {cut}");
    }
}

#[test]
fn chunks_that_are_none_do_not_end_with_what_looks_like_the_last_one() {
    for body in ["5;a\rb\r\nhello\r\n0\r\n\r\n", "-1\r\nhello\r\n0\r\n\r\n", "3\r\nhello\r\n0\r\n\r\n"] {
        let mut reader = Reader::new(Side::Request);
        let text = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        read_all(&mut reader, &[known(text.as_bytes())]);
        assert!(reader.is_blurred() && !reader.may_have_ended(), "{body:?}");
    }
}

#[test]
fn a_chunked_body_whose_end_is_not_known_ends_where_a_request_follows() {
    let head = b"PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwx";
    let of = |last: &[u8]| {
        let mut reader = Reader::new(Side::Request);
        let found = read_all(&mut reader, &[known(head), Input::new(b"yz", 70_000, b"abcdefgh"), known(last)]);
        names(&found).join(", ")
    };
    let begun = "begin, head /c, blurred";
    assert_eq!(of(b"ef\r\n0\r\n\r\nGET /d HTTP/1.1\r\n\r\n"), format!("{begun}, end, begin, head /d, end"));
    for none in
        ["ef\r\n0\r\n\r\nGET /d\r\n\r\n", "ef\r\n0\r\n\r\nwhat HTTP/1.1\r\n\r\n", "0\r\n\r\n GET / HTTP/1.1\r\n\r\n"]
    {
        assert_eq!(of(none.as_bytes()), begun, "{none:?}");
    }
}
