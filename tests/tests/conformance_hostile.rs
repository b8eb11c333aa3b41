//! Bytes that are made to be read in two ways, and connections that end where they should not.

use std::time::Duration;

use anyhow::Result;
use observer_tests::conformance::{Bench, Case, Family};
use observer_tests::nginx::config::Config;
use observer_tests::{Client, Request, Upstream};

mod hostile;

/// A name, the bytes, and how many lines nginx logs.
type Input = (&'static str, Vec<u8>, usize);

#[test]
fn heads_and_bodies() -> Result<()> {
    let mut family = Family::new("hostile heads and bodies")?;
    let mut bench = family.bench(|config: Config| {
        config
            .server("client_header_timeout 1s; client_body_timeout 1s; lingering_timeout 300ms; lingering_time 1s;")
            .location("/own/", "return 200 done;")
    })?;
    for (name, bytes, lines) in heads() {
        bench.case(Case::visible(name).lines(lines), |bench| sends(bench, &bytes));
    }
    for (name, bytes, lines) in refused_heads() {
        bench.case(Case::visible(name).lines(lines).refused(), |bench| sends(bench, &bytes));
    }
    for (name, bytes, lines) in good_chunks() {
        bench.case(Case::visible(name).lines(lines), |bench| sends(bench, &bytes));
    }
    for (name, bytes, lines) in bad_chunks() {
        bench.case(Case::inferred(name, "body_thrown_away").lines(lines), |bench| sends(bench, &bytes));
    }
    drop(bench);
    family.finish()
}

/// Sends, reads what comes while it comes, closes the sending side and reads to the end.
fn sends(bench: &Bench<'_>, bytes: &[u8]) -> Result<()> {
    let mut client = Client::connect(bench.nginx.address())?;
    // nginx may have closed before it read all.
    let _ = client.send(bytes);
    client.read_for(Duration::from_millis(100))?;
    let _ = client.finish_sending();
    client.rest();
    Ok(())
}

fn get(lines: &str) -> Vec<u8> {
    format!("GET /own/ HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

fn post(lines: &str, body: &str) -> Vec<u8> {
    format!("POST /alpha/echo HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

fn heads() -> Vec<Input> {
    let smuggled = "GET /own/ HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        ("a length with zeros in front", post("Content-Length: 00005\r\n", "hello"), 1),
        ("a length with spaces around", post("Content-Length:   5  \r\n", "hello"), 1),
        ("chunked in odd letters", post("Transfer-Encoding: ChUnKeD\r\n", "5\r\nhello\r\n0\r\n\r\n"), 1),
        ("chunked with spaces around", post("Transfer-Encoding:  chunked \r\n", "0\r\n\r\n"), 1),
        ("a length in another field's value", post("X: Content-Length: 5\r\n", smuggled), 2),
        ("a length with an underscore", post("Content_Length: 5\r\n", smuggled), 2),
        ("a request in a body", post(&format!("Content-Length: {}\r\n", smuggled.len()), smuggled), 1),
        ("a body with a GET", b"GET /alpha/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello".to_vec(), 1),
        ("lines that end with LF alone", b"GET /own/ HTTP/1.1\nHost: a\n\n".to_vec(), 1),
        ("an empty value", get("X:\r\n"), 1),
        ("no space behind the colon", get("X:y\r\n"), 1),
        ("bytes above 127", get("X: \u{fe}\u{e4}\r\n"), 1),
        ("a tab in a value", get("X: \ta\tb\t\r\n"), 1),
        ("a name of odd letters", get("X!#$%&'*+.^_`|~: 1\r\n"), 1),
        ("a line without a colon", get("nonsense\r\n"), 1),
        ("a byte above 127 in a name", get("X\u{e4}: 1\r\n"), 1),
        ("blank lines in front", [b"\r\n\r\n\n".to_vec(), get("")].concat(), 1),
        ("2,000 blank lines in front", [b"\r\n".repeat(2_000), get("")].concat(), 1),
        ("spaces in the request line", line("GET    /own/    HTTP/1.1   "), 1),
        ("absolute, with a port", line("GET http://a:8080/own/ HTTP/1.1"), 1),
        ("absolute, in capitals", line("GET HTTP://A/own/ HTTP/1.1"), 1),
        ("absolute, of another scheme", line("GET ftp://a/own/ HTTP/1.1"), 1),
        ("absolute, an IPv6 address", line("GET http://[::1]/own/ HTTP/1.1"), 1),
        ("absolute, without a path", line("GET http://a HTTP/1.1"), 1),
        ("absolute, with a question alone", line("GET http://a?b HTTP/1.1"), 1),
        ("absolute, and no Host", b"GET http://a/own/ HTTP/1.0\r\n\r\n".to_vec(), 1),
        ("slashes", line("GET /own//x///y HTTP/1.1"), 1),
        ("a target with a fragment", line("GET /own/#x HTTP/1.1"), 1),
        ("a target with bytes above 127", line("GET /own/\u{e4} HTTP/1.1"), 1),
        ("a target with a backslash", line("GET /own/\\..\\x HTTP/1.1"), 1),
        ("a target with quotes", line("GET /own/\"<>' HTTP/1.1"), 1),
        ("HTTP/1.9", line("GET /own/ HTTP/1.9"), 1),
        ("a version of three figures", line("GET /own/ HTTP/1.100"), 1),
        ("HTTP/1.0 and chunks expected", b"GET /alpha/chunked/3x9 HTTP/1.0\r\nHost: a\r\n\r\n".to_vec(), 1),
        ("two words in Connection", get("Connection: close, keep-alive\r\n"), 1),
        ("Connection in two lines", get("Connection: keep-alive\r\nConnection: close\r\n"), 1),
        ("an upgrade that is none", get("Connection: Upgrade\r\nUpgrade: h2c\r\n"), 1),
        ("an expectation that is none", get("Expect: the unexpected\r\n"), 1),
        ("100-continue and the body at once", post("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), 1),
        ("100-continue and no body", get("Expect: 100-continue\r\n"), 1),
        ("a long method", line(&format!("{} /own/ HTTP/1.1", "M".repeat(60))), 1),
        ("a method with an underscore", line("GE_T /own/ HTTP/1.1"), 1),
        ("ranges out of reason", get("Range: bytes=5-1,--,99999999999999999999-\r\n"), 1),
    ]
}

fn refused_heads() -> Vec<Input> {
    let smuggled = "GET /own/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let body = format!("0\r\n\r\n{smuggled}");
    vec![
        (
            "a length and chunks, and a request behind",
            post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &body),
            1,
        ),
        (
            "chunks and a length, and a request behind",
            post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &body),
            1,
        ),
        ("two lengths that differ", post("Content-Length: 0\r\nContent-Length: 32\r\n", smuggled), 1),
        ("chunked twice", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", &body), 1),
        ("chunked, then identity", post("Transfer-Encoding: chunked, identity\r\n", &body), 1),
        ("chunked with a word in front", post("Transfer-Encoding: xchunked\r\n", &body), 1),
        ("an empty coding", post("Transfer-Encoding: \r\n", &body), 1),
        ("a coding with a control byte", post("Transfer-Encoding: \x0bchunked\r\n", &body), 1),
        ("a length with a sign", post("Content-Length: +5\r\n", "hello"), 1),
        ("a negative length", post("Content-Length: -1\r\n", ""), 1),
        ("a length in hex", post("Content-Length: 0x5\r\n", "hello"), 1),
        ("two lengths in one line", post("Content-Length: 5, 5\r\n", "hello"), 1),
        ("a length beyond 64 bits", post("Content-Length: 99999999999999999999\r\n", ""), 1),
        ("an empty length", post("Content-Length:\r\n", ""), 1),
        ("chunks in HTTP/1.0", b"POST /alpha/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_vec(), 1),
        ("a folded line", get("X: a\r\n b\r\n"), 1),
        ("an empty name", get(": nothing\r\n"), 1),
        ("a folded line with a tab", get("X: a\r\n\tb\r\n"), 1),
        ("a bare CR in a value", get("X: a\rb\r\n"), 1),
        ("a bare CR in a name", get("X\r: a\r\n"), 1),
        ("a bare CR behind the request line", b"GET /own/ HTTP/1.1\rHost: a\r\n\r\n".to_vec(), 1),
        ("a bare CR at the head's end", b"GET /own/ HTTP/1.1\r\nHost: a\r\n\rX\r\n\r\n".to_vec(), 1),
        ("a zero byte in a name", get("X\0Y: a\r\n"), 1),
        ("a zero byte in the target", line("GET /own/\0 HTTP/1.1"), 1),
        ("a zero byte in the method", line("G\0T /own/ HTTP/1.1"), 1),
        ("a zero in an escape", line("GET /own/%00 HTTP/1.1"), 1),
        ("a tab in the request line", line("GET\t/own/ HTTP/1.1"), 1),
        ("a word behind the version", line("GET /own/ HTTP/1.1 x"), 1),
        ("HTTP/0.9 spelt out", line("GET /own/ HTTP/0.9"), 1),
        ("HTTP/3.0", line("GET /own/ HTTP/3.0"), 1),
        ("HTTP/01.1", line("GET /own/ HTTP/01.1"), 1),
        ("http in small letters", line("GET /own/ http/1.1"), 1),
        ("a Host with a zero byte", b"GET /own/ HTTP/1.1\r\nHost: a\0b\r\n\r\n".to_vec(), 1),
        ("a Host with a space", b"GET /own/ HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(), 1),
        ("an empty Host", b"GET /own/ HTTP/1.1\r\nHost:\r\n\r\n".to_vec(), 1),
        ("a Host of dots", b"GET /own/ HTTP/1.1\r\nHost: a..b\r\n\r\n".to_vec(), 1),
        ("an asterisk to a GET", line("GET * HTTP/1.1"), 1),
        ("an empty target", line("GET  HTTP/1.1"), 1),
        ("absolute, with a user", line("GET http://u:p@a/own/ HTTP/1.1"), 1),
        ("absolute, without a host", line("GET http:///own/ HTTP/1.1"), 1),
        ("absolute, with an odd host", line("GET http://a_b%c/own/ HTTP/1.1"), 1),
        ("an authority to a GET", line("GET a:80 HTTP/1.1"), 1),
        ("a control byte in the target", line("GET /own/\x01 HTTP/1.1"), 1),
        ("DEL in the target", line("GET /own/\x7f HTTP/1.1"), 1),
    ]
}

fn good_chunks() -> Vec<Input> {
    let get = "GET /alpha/bytes/3 HTTP/1.1\r\nHost: a\r\n\r\n";
    vec![
        ("extensions of all kinds", chunked("5;a;b=c; d=\"e f\";\t\r\nhello\r\n0;last\r\n\r\n"), 1),
        ("a quoted extension", chunked("5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n"), 1),
        ("an extension of 3,000 bytes", chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(3_000))), 1),
        ("spaces behind the size", chunked("5  \t\r\nhello\r\n0 \r\n\r\n"), 1),
        ("zeros before the size", chunked("0000000005\r\nhello\r\n0000\r\n\r\n"), 1),
        ("sizes in capitals and small letters", chunked("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n"), 1),
        ("chunks that end with LF alone", chunked("5\nhello\n0\n\n"), 1),
        ("trailers", chunked("5\r\nhello\r\n0\r\nX: y\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n"), 1),
        ("a trailer without a colon", chunked("0\r\nnonsense\r\n\r\n"), 1),
        ("a trailer like a request", chunked(&format!("0\r\n{get}")), 1),
        ("a trailer, and a request behind", chunked(&format!("0\r\nX: y\r\n\r\n{get}")), 2),
        ("20,000 chunks of one byte", chunked(&("1\r\nx\r\n".repeat(20_000) + "0\r\n\r\n")), 1),
        ("a chunk like a chunked body's end", chunked("7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), 1),
        ("a request in a chunk", chunked(&format!("{:x}\r\n{get}\r\n0\r\n\r\n{get}", get.len())), 2),
    ]
}

fn bad_chunks() -> Vec<Input> {
    vec![
        ("a size beyond 64 bits", chunked("FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"), 1),
        ("a size of 16 figures", chunked("7FFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"), 1),
        ("a negative size", chunked("-1\r\nhello\r\n0\r\n\r\n"), 1),
        ("a size in 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), 1),
        ("a space before the size", chunked(" 5\r\nhello\r\n0\r\n\r\n"), 1),
        ("no size", chunked("\r\nhello\r\n0\r\n\r\n"), 1),
        ("an extension and no size", chunked(";a=b\r\nhello\r\n0\r\n\r\n"), 1),
        ("a bare CR behind the size", chunked("5\rhello\r\n0\r\n\r\n"), 1),
        ("a bare CR in an extension", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), 1),
        ("a chunk longer than its size", chunked("3\r\nhello\r\n0\r\n\r\n"), 1),
        ("a chunk shorter than its size", chunked("9\r\nhello\r\n0\r\n\r\n"), 1),
        ("a zero byte for a size", chunked("\0\r\nhello\r\n0\r\n\r\n"), 1),
    ]
}

/// The bytes of an upstream's answer.
fn answers() -> Vec<Input> {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    let with = |lines: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n{body}").into_bytes();
    let status = |line: &str| format!("{line}\r\nContent-Length: 5\r\n\r\nhello").into_bytes();
    vec![
        ("no reason", status("HTTP/1.1 200"), 1),
        ("an empty reason", status("HTTP/1.1 200 "), 1),
        ("a reason with a tab and bytes above 127", status("HTTP/1.1 200 O\t\u{e4}"), 1),
        ("a reason of 3,000 bytes", status(&format!("HTTP/1.1 200 {}", "r".repeat(3_000))), 1),
        ("status 99", status("HTTP/1.1 99 x"), 1),
        ("status 099", status("HTTP/1.1 099 x"), 1),
        ("status 600", status("HTTP/1.1 600 x"), 1),
        ("status 999", status("HTTP/1.1 999 x"), 1),
        ("status 1000", status("HTTP/1.1 1000 x"), 1),
        ("status 2O0", status("HTTP/1.1 2O0 OK"), 1),
        ("no space behind the status", status("HTTP/1.1 200OK"), 1),
        ("two spaces before the status", status("HTTP/1.1  200 OK"), 1),
        ("HTTP/1.9", status("HTTP/1.9 200 OK"), 1),
        ("HTTP/2.0", status("HTTP/2.0 200 OK"), 1),
        ("ICY", status("ICY 200 OK"), 1),
        ("a blank line in front", [b"\r\n".to_vec(), status("HTTP/1.1 200 OK")].concat(), 1),
        ("lines that end with LF alone", b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello".to_vec(), 1),
        ("a line without a colon", with("nonsense\r\nContent-Length: 5\r\n", "hello"), 1),
        ("a folded line", with("X: a\r\n b\r\nContent-Length: 5\r\n", "hello"), 1),
        ("a zero byte in a value", with("X: a\0b\r\nContent-Length: 5\r\n", "hello"), 1),
        ("a space before a colon", with("X : a\r\nContent-Length: 5\r\n", "hello"), 1),
        ("two lengths", with("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"), 1),
        ("two lengths that differ", with("Content-Length: 5\r\nContent-Length: 7\r\n", "hello"), 1),
        (
            "a length and chunks",
            with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
            1,
        ),
        ("a length that is none", with("Content-Length: five\r\n", "hello"), 1),
        ("a negative length", with("Content-Length: -5\r\n", "hello"), 1),
        ("more than its length", with("Content-Length: 5\r\n", "hello, and more"), 1),
        ("less than its length", with("Content-Length: 50\r\n", "hello"), 1),
        ("an answer behind the answer", with("Content-Length: 5\r\n", &format!("hello{ok}")), 1),
        ("chunks that are none", with("Transfer-Encoding: chunked\r\n", "xyz\r\n"), 1),
        ("chunks that break off", with("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n9\r\nx"), 1),
        (
            "chunks with extensions and trailers",
            with("Transfer-Encoding: chunked\r\n", "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n"),
            1,
        ),
        (
            "5,000 chunks of one byte",
            with("Transfer-Encoding: chunked\r\n", &("1\r\nx\r\n".repeat(5_000) + "0\r\n\r\n")),
            1,
        ),
        ("an unknown coding", with("Transfer-Encoding: zip\r\n", "hello"), 1),
        ("204 with a body", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello".to_vec(), 1),
        ("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello".to_vec(), 1),
        ("100 and an answer", format!("HTTP/1.1 100 Continue\r\n\r\n{ok}").into_bytes(), 1),
        ("50 times 100 and an answer", ("HTTP/1.1 100 Continue\r\n\r\n".repeat(50) + ok).into_bytes(), 1),
        (
            "50 times 103 and an answer",
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(50) + ok).into_bytes(),
            1,
        ),
        ("199 and an answer", format!("HTTP/1.1 199 x\r\n\r\n{ok}").into_bytes(), 1),
        (
            "101 that nobody asked for",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n\0\x01odd\xff".to_vec(),
            1,
        ),
        ("101 and an answer", format!("HTTP/1.1 101 x\r\n\r\n{ok}").into_bytes(), 1),
        ("nothing", Vec::new(), 1),
        ("half a status line", b"HTTP/1.1 20".to_vec(), 1),
        ("half a head", b"HTTP/1.1 200 OK\r\nX: ".to_vec(), 1),
        ("a head and no more", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), 1),
        ("a head of 70,000 bytes", with(&format!("X: {}\r\n", "y".repeat(70_000)), "hello"), 1),
        ("3,000 header lines", with(&"X: y\r\n".repeat(3_000), "hello"), 1),
        ("the body of a redirect to nowhere", with("X-Accel-Redirect: nowhere\r\nContent-Length: 5\r\n", "hello"), 1),
    ]
}

/// nginx takes what does not begin with a status line for HTTP/0.9, and withholds a head whose body is bad from the start.
fn rule_of(input: &str) -> Option<&'static str> {
    match input {
        "status 99" | "status 1000" | "status 2O0" | "no space behind the status" | "ICY" | "a blank line in front" => {
            Some("http_0_9")
        }
        "chunks that are none" => Some("answer_withheld"),
        _ => None,
    }
}

#[test]
fn answers_of_upstreams() -> Result<()> {
    let mut family = Family::new("hostile answers of upstreams")?;
    let inputs = answers();
    let raw = hostile::answering(inputs.iter().map(|(_, bytes, _)| bytes.clone()).collect())?;
    for buffering in ["on", "off"] {
        let upstream = Upstream::ipv4()?;
        let pass = format!("proxy_pass http://{raw}; proxy_http_version 1.1; proxy_buffering {buffering};");
        let nginx = Config::new()?.location("/raw/", &pass).start()?;
        let mut bench = family.observe(nginx, upstream, &[("raw", raw.to_string())], &[])?;
        for (index, &(input, ..)) in inputs.iter().enumerate() {
            let name = format!("{input}, proxy_buffering {buffering}");
            let case = match rule_of(input) {
                Some(rule) => Case::inferred(name, rule),
                None => Case::visible(name),
            };
            bench.case(case, |bench| sends(bench, &Request::get(format!("/raw/{index}")).bytes()));
        }
    }
    family.finish()
}
