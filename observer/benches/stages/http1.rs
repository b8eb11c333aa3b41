//! The HTTP/1 machine: messages as they come in one call.

use std::hint::black_box;

use criterion::Criterion;
use observer::http::head::Side;
use observer::http::http1::{Input, Part, Reader};

const REQUEST: &str = "GET /orders/17?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: application/json\r\nAccept-Encoding: gzip\r\nX-Request-ID: 5f0c8a1e\r\n\r\n";

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\n\
    Content-Type: application/json\r\nContent-Length: 17\r\nConnection: keep-alive\r\n\r\n{\"orders\":[1, 2]}";

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nTransfer-Encoding: chunked\r\n\r\n\
    11\r\n{\"orders\":[1, 2]}\r\n11\r\n{\"orders\":[3, 4]}\r\n0\r\n\r\n";

/// Line feeds alone: not the usual form.
const UNUSUAL: &str = "GET /orders/17?page=2 HTTP/1.1\nHost: shop.example.com\nUser-Agent: curl/8.5.0\n\
    Accept: application/json\nAccept-Encoding: gzip\nX-Request-ID: 5f0c8a1e\n\n";

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("http1");
    let messages = [
        ("request", Side::Request, REQUEST),
        ("response", Side::Response, RESPONSE),
        ("chunked_response", Side::Response, CHUNKED),
        ("unusual_request", Side::Request, UNUSUAL),
    ];
    for (name, side, text) in messages {
        let mut reader = Reader::new(side);
        group.bench_function(name, |bencher| bencher.iter(|| read(&mut reader, black_box(text.as_bytes()))));
    }
}

/// Reads one whole message.
fn read(reader: &mut Reader, text: &[u8]) {
    let mut input = Input::new(text, 0, &[]);
    loop {
        let part = reader.read(&mut input, &mut |_| {});
        let end = match black_box(part) {
            Some(Part::Head(head)) if head.status == 0 => reader.begin_body(head.request_framing()),
            Some(Part::Head(head)) => reader.begin_body(head.response_framing("GET")),
            Some(Part::Begin | Part::Blank) => None,
            end @ (Some(Part::End | Part::Malformed | Part::Blurred) | None) => {
                assert_eq!(end, Some(Part::End), "a whole message");
                end
            }
        };
        if end.is_some() {
            return;
        }
    }
}
