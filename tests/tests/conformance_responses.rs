//! Responses: their framing, the ways nginx writes them, and the protocol versions.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer_tests::conformance::{Bench, Case, Family, TLS};
use observer_tests::nginx::config::Config;
use observer_tests::request::content;
use observer_tests::{Client, Request};

/// Small enough to make the server wait for the reader.
const SLOW_RECEIVE_BYTES: usize = 64 * 1024;

#[test]
fn conformance() -> Result<()> {
    run(Family::new("responses")?)
}

#[test]
fn conformance_over_tls() -> Result<()> {
    run(Family::over("responses, over TLS 1.3 on both sides", TLS)?)
}

fn run(mut family: Family) -> Result<()> {
    let mut bench = family.bench(|config: Config| {
        config
            .main("thread_pool default threads=2;")
            .http("gzip on; gzip_min_length 1; gzip_types *; gzip_http_version 1.0; gzip_proxied any;")
            .location("/alpha/passed-on/", "proxy_buffering off; proxy_pass http://alpha;")
            .location("/alpha/trailers/", "add_trailer X-Sum 1; proxy_pass http://alpha;")
            .location("/static/sendfile/", "alias files/static/; sendfile on; tcp_nopush on;")
            .location("/static/writev/", "alias files/static/; sendfile off; output_buffers 2 16k;")
            .location("/static/threads/", "alias files/static/; aio threads; sendfile off;")
            .location("/static/limited/", "alias files/static/; limit_rate 400k;")
            .location("/own/", "return 200 done;")
    })?;
    for (name, bytes) in [("empty", 0), ("small", 300), ("middle", 70_000), ("large", 5_000_000)] {
        fs::write(bench.nginx.files().join("static").join(name), content(bytes))?;
    }
    without_a_body(&mut bench);
    framings(&mut bench);
    versions(&mut bench);
    bare_answers(&mut bench);
    files(&mut bench);
    slow_readers(&mut bench);
    encodings_and_ranges(&mut bench);
    drop(bench);
    family.finish()
}

fn exchange(bench: &Bench<'_>, request: &Request) -> Result<()> {
    Client::connect(bench.nginx.address())?.exchange(request).map(drop)
}

fn without_a_body(bench: &mut Bench<'_>) {
    let to = |path: &str| format!("/alpha/{path}");
    let requests = [
        ("HEAD of a length", Request::new("HEAD", to("bytes/5000"))),
        ("HEAD of chunks", Request::new("HEAD", to("chunked/4x400"))),
        ("HEAD of a file", Request::new("HEAD", "/static/sendfile/large")),
        ("HEAD of an error", Request::new("HEAD", to("status/404"))),
        ("204", Request::get(to("no-content"))),
        ("304", Request::get(to("not-modified"))),
        ("200 without a byte", Request::get(to("bytes/0"))),
        ("chunks without a byte", Request::get(to("chunked/0x0"))),
        ("an empty file", Request::get("/static/sendfile/empty")),
    ];
    for (name, request) in &requests {
        bench.case(Case::visible(*name), |bench| exchange(bench, request));
    }
    bench.case(Case::visible("all of these on one connection").lines(requests.len()), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        requests.iter().try_for_each(|(_, request)| client.exchange(request).map(drop))
    });
}

fn framings(bench: &mut Bench<'_>) {
    for prefix in ["/alpha", "/alpha/passed-on", "/alpha/trailers"] {
        for path in [
            "bytes/100",
            "bytes/900000",
            "chunked/7x77",
            "chunked/100x9000",
            "close-delimited/100",
            "close-delimited/90000",
        ] {
            bench.case(Case::visible(format!("{prefix}/{path}")).statuses(&[200, 200]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.exchange(&Request::get(format!("{prefix}/{path}")))?;
                client.exchange(&Request::get("/own/")).map(drop)
            });
        }
        bench.case(Case::visible(format!("{prefix}, twenty bytes one by one")), |bench| {
            exchange(bench, &Request::get(format!("{prefix}/drip/20x5")))
        });
    }
    bench.case(Case::visible("a head of 3,500 bytes and a body"), |bench| {
        exchange(bench, &Request::get("/alpha/headers/32/bytes/100000"))
    });
}

fn versions(bench: &mut Bench<'_>) {
    for path in ["/alpha/bytes/50", "/alpha/bytes/90000", "/alpha/chunked/3x30", "/static/sendfile/middle", "/own/"] {
        bench.case(Case::visible(format!("HTTP/1.0, {path}")).statuses(&[200]), |bench| {
            exchange(bench, &Request::get(path).http10())
        });
        bench.case(Case::visible(format!("HTTP/1.0 with keepalive, {path}")).statuses(&[200]), |bench| {
            exchange(bench, &Request::get(path).http10().header("Connection", "keep-alive"))
        });
    }
    bench.case(Case::visible("HTTP/1.0 twice on one connection").statuses(&[200, 200]), |bench| {
        let request = Request::get("/alpha/bytes/50").http10().header("Connection", "keep-alive");
        let mut client = Client::connect(bench.nginx.address())?;
        client.exchange(&request)?;
        client.exchange(&request).map(drop)
    });
    bench.case(Case::visible("HTTP/1.0 without Host").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(b"GET /own/ HTTP/1.0\r\n\r\n")?;
        client.rest();
        Ok(())
    });
    bench.case(Case::visible("HTTP/1.7 is taken for 1.1").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(b"GET /own/ HTTP/1.7\r\nHost: a\r\n\r\n")?;
        client.response(false).map(drop)
    });
}

/// HTTP/0.9: the answer is a body and nothing else, so its status shows nowhere: the upstream's, or that of nginx's own
/// error page, or 200.
fn bare_answers(bench: &mut Bench<'_>) {
    let requests: [(&str, &str, u16); 9] = [
        ("of the gateway", "GET /own/\r\n", 200),
        ("of the gateway to a bare line feed", "GET /own/\n", 200),
        ("with a space at the end", "GET /own/ \r\n", 200),
        ("of a file", "GET /static/sendfile/middle\r\n", 200),
        ("of an error page", "GET /static/none\r\n", 404),
        ("of the upstream", "GET /alpha/bytes/5000\r\n", 200),
        ("of the upstream's error", "GET /alpha/status/503/bytes/70\r\n", 503),
        ("of the upstream in chunks", "GET /alpha/chunked/3x3\r\n", 200),
        ("before more bytes", "GET /own/\r\nHost: a\r\n\r\nGET /own/ HTTP/1.1\r\nHost: a\r\n\r\n", 200),
    ];
    for (name, bytes, status) in requests {
        let case = Case::inferred(format!("HTTP/0.9, an answer {name}"), "http_0_9").statuses(&[status]);
        bench.case(case, |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(bytes.as_bytes())?;
            client.rest();
            Ok(())
        });
    }
    bench.case(Case::inferred("HTTP/0.9, byte by byte", "http_0_9").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let line = b"GET /own/\r\n";
        client.send_split(line, &(1..line.len()).collect::<Vec<_>>())?;
        client.rest();
        Ok(())
    });
    bench.case(Case::inferred("HTTP/0.9 behind an answered request", "http_0_9").statuses(&[200, 200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&[&Request::get("/alpha/bytes/3").bytes(), &b"GET /alpha/bytes/3\r\n"[..]].concat())?;
        client.rest();
        Ok(())
    });
}

fn files(bench: &mut Bench<'_>) {
    for way in ["sendfile", "writev", "threads", "limited"] {
        for name in ["empty", "small", "middle", "large"] {
            if (way, name) == ("limited", "large") {
                continue;
            }
            bench.case(Case::visible(format!("a {name} file, {way}")).statuses(&[200, 200]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.exchange(&Request::get(format!("/static/{way}/{name}")))?;
                client.exchange(&Request::get("/own/")).map(drop)
            });
        }
        bench.case(Case::visible(format!("five files in one segment, {way}")).lines(5), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            let get = |name: &str| Request::get(format!("/static/{way}/{name}")).bytes();
            let names = ["small", "middle", "empty", "middle", "small"];
            client.send(&names.map(get).concat())?;
            names.iter().try_for_each(|_| client.response(false).map(drop))
        });
    }
}

fn slow_readers(bench: &mut Bench<'_>) {
    let paths = [
        "/static/sendfile/large",
        "/static/writev/large",
        "/static/threads/large",
        "/alpha/bytes/5000000",
        "/alpha/chunked/500x10000",
        "/alpha/passed-on/bytes/5000000",
    ];
    for path in paths {
        bench.case(Case::visible(format!("{path}, a slow reader")).statuses(&[200, 200]), |bench| {
            let mut client = Client::connect_slow(bench.nginx.address(), SLOW_RECEIVE_BYTES)?;
            client.send(&Request::get(path).bytes())?;
            thread::sleep(Duration::from_millis(150));
            client.response(false)?;
            client.exchange(&Request::get("/own/")).map(drop)
        });
    }
}

fn encodings_and_ranges(bench: &mut Bench<'_>) {
    for path in
        ["/own/", "/alpha/bytes/40000", "/alpha/chunked/9x999", "/static/sendfile/middle", "/static/sendfile/large"]
    {
        bench.case(Case::visible(format!("gzip, {path}")).statuses(&[200]), |bench| {
            exchange(bench, &Request::get(path).header("Accept-Encoding", "gzip"))
        });
    }
    bench.case(Case::visible("gzip to HTTP/1.0").statuses(&[200]), |bench| {
        exchange(bench, &Request::get("/alpha/bytes/40000").http10().header("Accept-Encoding", "gzip"))
    });
    for (range, status) in
        [("0-0", 206), ("1000-69999", 206), ("-500", 206), ("0-99,5000-5999,-1", 206), ("9999999-", 416)]
    {
        for way in ["sendfile", "writev"] {
            bench.case(Case::visible(format!("range {range}, {way}")).statuses(&[status]), |bench| {
                exchange(
                    bench,
                    &Request::get(format!("/static/{way}/large")).header("Range", &format!("bytes={range}")),
                )
            });
        }
    }
    bench.case(Case::visible("a file not modified").statuses(&[200, 304]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let first = client.exchange(&Request::get("/static/sendfile/middle"))?;
        let tag = first.head.header("etag").unwrap_or_default().to_owned();
        client.exchange(&Request::get("/static/sendfile/middle").header("If-None-Match", &tag)).map(drop)
    });
}
