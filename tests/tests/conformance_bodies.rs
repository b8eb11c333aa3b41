//! Request heads and bodies: their framing, their size, and who reads them.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer_tests::conformance::{Bench, Case, Family, TLS};
use observer_tests::nginx::config::Config;
use observer_tests::wire::read_head;
use observer_tests::{Body, Client, Request};

const MIB: usize = 1 << 20;

#[test]
fn conformance() -> Result<()> {
    run(Family::new("request heads and bodies")?)
}

#[test]
fn conformance_over_tls() -> Result<()> {
    run(Family::over("request heads and bodies, over TLS 1.3 on both sides", TLS)?)
}

fn run(mut family: Family) -> Result<()> {
    let is_plain = !family.link().upstream_tls;
    let hasty = format!("proxy_request_buffering off; proxy_pass http://{};", hasty_upstream()?);
    let mut bench = family.bench(|config: Config| {
        config
            .http("proxy_cache_path cache keys_zone=z:1m;")
            .location("/own/", "return 200 done;")
            .location("/alpha/cached/", "proxy_pass http://alpha; proxy_cache z; proxy_cache_valid 200 1h;")
            .location("/alpha/unbuffered/", "proxy_request_buffering off; proxy_pass http://alpha;")
            .location("/alpha/strict/", "client_max_body_size 1000; proxy_pass http://alpha;")
            .location("/alpha/hasty/", &hasty)
            .location("/static/", "dav_methods PUT DELETE; client_body_in_file_only clean;")
    })?;
    odd_heads(&mut bench);
    large_heads(&mut bench);
    expectations(&mut bench);
    chunks(&mut bench);
    uploads(&mut bench);
    unwanted_bodies(&mut bench);
    if is_plain {
        answered_within(&mut bench);
    }
    wanted_bodies(&mut bench);
    drop(bench);
    family.finish()
}

fn exchange(bench: &Bench<'_>, request: &Request) -> Result<()> {
    Client::connect(bench.nginx.address())?.exchange(request).map(drop)
}

fn odd_heads(bench: &mut Bench<'_>) {
    let heads: [(&str, &str); 14] = [
        ("no space behind a colon", "GET /alpha/bytes/9 HTTP/1.1\r\nHost:a\r\n\r\n"),
        ("many spaces around a value", "GET /alpha/bytes/9 HTTP/1.1\r\nHost:    a    \r\nX-Y:   z   \r\n\r\n"),
        ("many spaces in the request line", "GET   /alpha/bytes/9   HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bare line feeds", "GET /alpha/bytes/9 HTTP/1.1\nHost: a\nX-Y: z\n\n"),
        ("an empty value", "GET /alpha/bytes/9 HTTP/1.1\r\nHost: a\r\nX-Y:\r\n\r\n"),
        ("a line without a colon", "GET /alpha/bytes/9 HTTP/1.1\r\nHost: a\r\nodd\r\n\r\n"),
        ("an underscore in a name", "GET /alpha/bytes/9 HTTP/1.1\r\nHost: a\r\nx_y: z\r\n\r\n"),
        ("bytes beyond ASCII in a value", "GET /alpha/bytes/9 HTTP/1.1\r\nHost: a\r\nX-Y: \u{e9}\r\n\r\n"),
        ("names in odd case", "POST /alpha/echo HTTP/1.1\r\nhOST: a\r\ncONTENT-lENGTH: 3\r\n\r\nabc"),
        ("an absolute-form target", "GET http://elsewhere/alpha/bytes/9 HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a query and an escape", "GET /alpha/bytes/9/%61?a=b%20c HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a minor version of two digits", "GET /alpha/bytes/9 HTTP/1.99\r\nHost: a\r\n\r\n"),
        ("a minor version with a zero", "GET /alpha/bytes/9 HTTP/1.01\r\nHost: a\r\n\r\n"),
        ("a method of its own", "M-SEARCH /alpha/bytes/9 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (name, head) in heads {
        bench.case(Case::visible(name).statuses(&[200]), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(head.as_bytes())?;
            client.response(false).map(drop)
        });
    }
    bench.case(Case::visible("an asterisk-form target").statuses(&[400]).refused(), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")?;
        client.response(false).map(drop)
    });
}

fn large_heads(bench: &mut Bench<'_>) {
    for (lines, line_bytes) in [(1, 1_000), (1, 7_900), (3, 7_900), (4, 5_000), (80, 360)] {
        let name = format!("a head of {lines} lines of {line_bytes} bytes");
        let request = (0..lines).fold(Request::get("/alpha/bytes/1"), |request, index| {
            request.header(&format!("X-Long-{index}"), &"l".repeat(line_bytes))
        });
        bench.case(Case::visible(&name).statuses(&[200]), |bench| exchange(bench, &request));
        bench.case(Case::visible(format!("{name}, in 50 reads")).statuses(&[200]), |bench| {
            let bytes = request.bytes();
            let ends: Vec<usize> = (1..50).map(|index| index * bytes.len() / 50).collect();
            let mut client = Client::connect(bench.nginx.address())?;
            client.send_split(&bytes, &ends)?;
            client.response(false).map(drop)
        });
    }
    bench.case(
        Case::visible("a large head, then a body, then a request, in one segment").statuses(&[200, 200]),
        |bench| {
            let post = Request::post("/alpha/echo", 900).header("X-Long", &"l".repeat(6_000));
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&[post.bytes(), Request::get("/alpha/bytes/1").bytes()].concat())?;
            client.response(false)?;
            client.response(false).map(drop)
        },
    );
}

fn expectations(bench: &mut Bench<'_>) {
    for path in ["/alpha/echo", "/alpha/unbuffered/echo"] {
        for body_bytes in [3, 5_000, 200_000] {
            bench.case(Case::visible(format!("100-continue, {body_bytes} bytes, {path}")).statuses(&[200]), |bench| {
                let bytes = Request::post(path, body_bytes).header("Expect", "100-continue").bytes();
                let (head, body) = bytes.split_at(bytes.len() - body_bytes);
                let mut client = Client::connect(bench.nginx.address())?;
                client.send(head)?;
                client.bytes(b"HTTP/1.1 100 Continue\r\n\r\n".len())?;
                client.send(body)?;
                client.response(false).map(drop)
            });
        }
        bench.case(Case::visible(format!("100-continue not waited for, {path}")).statuses(&[200, 200]), |bench| {
            let post = Request::post(path, 5_000).header("Expect", "100-continue");
            let mut client = Client::connect(bench.nginx.address())?;
            client.exchange(&post)?;
            client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
        });
    }
    bench.case(Case::visible("100-continue of HTTP/1.0 is passed over").statuses(&[200]), |bench| {
        exchange(bench, &Request::post("/alpha/echo", 50).http10().header("Expect", "100-continue"))
    });
    bench.case(Case::visible("an expectation that is unknown").statuses(&[200]), |bench| {
        exchange(bench, &Request::post("/alpha/echo", 50).header("Expect", "wonders"))
    });
    bench.case(Case::visible("100-continue refused early").statuses(&[413]), |bench| {
        let bytes = Request::post("/alpha/echo", 0).bytes();
        let head = String::from_utf8_lossy(&bytes).replace("Length: 0", "Length: 900000000");
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n").as_bytes())?;
        client.response(false)?;
        Ok(())
    });
}

fn chunks(bench: &mut Bench<'_>) {
    let head = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let bodies: [(&str, &str); 7] = [
        ("no chunk", "0\r\n\r\n"),
        ("one chunk", "5\r\nhello\r\n0\r\n\r\n"),
        ("extensions", "5;a=b;c=\"d e\"\r\nhello\r\n3 ;x\r\nabc\r\n0;last\r\n\r\n"),
        ("sizes with leading zeros and letters", "0000a\r\n0123456789\r\nA\r\n0123456789\r\n000\r\n\r\n"),
        ("trailers", "5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"),
        ("a chunk that looks like a request", "12\r\nGET / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n"),
        ("a chunk that looks like the end", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
    ];
    for path in ["/alpha/echo", "/alpha/unbuffered/echo"] {
        for (name, body) in bodies {
            bench.case(Case::visible(format!("{name}, {path}")).statuses(&[200, 200]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.send([&head(path), body].concat().as_bytes())?;
                client.response(false)?;
                client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
            });
            bench.case(Case::visible(format!("{name}, byte by byte, {path}")).statuses(&[200]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.send(head(path).as_bytes())?;
                client.send_split(body.as_bytes(), &(1..body.len()).collect::<Vec<_>>())?;
                client.response(false).map(drop)
            });
        }
        for (chunks, chunk_bytes) in [(1, 100_000), (300, 1_000), (20, 16_384), (5_000, 7)] {
            bench.case(Case::visible(format!("{chunks} chunks of {chunk_bytes} bytes, {path}")).lines(2), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.exchange(&Request::post(path, 0).body(Body::Chunked { chunks, chunk_bytes }))?;
                client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
            });
        }
        for (chunks, chunk_bytes) in [(1, 300_000), (5, 60_000), (60, 5_000)] {
            let name = format!("{chunks} chunks of {chunk_bytes} bytes and a request, in one segment, {path}");
            bench.case(Case::visible(name).statuses(&[200, 200]), |bench| {
                let body: Vec<u8> = observer_tests::request::chunk(chunk_bytes).repeat(chunks);
                let path = path.replace("echo", "bytes/9");
                let next = Request::get("/alpha/bytes/4").bytes();
                let mut client = Client::connect(bench.nginx.address())?;
                client.send(&[head(&path).as_bytes(), &body, b"0\r\n\r\n", &next].concat())?;
                client.response(false)?;
                client.response(false).map(drop)
            });
        }
        bench.case(Case::visible(format!("100,000 bytes with trailers, {path}")).lines(2), |bench| {
            let mut body = observer_tests::request::chunk(100_000);
            body.extend(b"0\r\nX-Sum: 1\r\n\r\n");
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&[head(path).as_bytes(), &body].concat())?;
            client.response(false)?;
            client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
        });
    }
}

fn uploads(bench: &mut Bench<'_>) {
    for path in ["/alpha/status/201", "/alpha/unbuffered/status/201"] {
        for body_bytes in [0, 1, 1_024, 16_384, 65_536, 65_537, MIB, 10 * MIB, 100 * MIB] {
            let case = Case::visible(format!("{body_bytes} bytes, {path}")).statuses(&[201, 200]);
            bench.case(case, |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.exchange(&Request::post(path, body_bytes))?;
                client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
            });
        }
    }
    bench.case(Case::visible("a body with GET").statuses(&[200]), |bench| {
        exchange(bench, &Request::new("GET", "/alpha/echo").body(Body::Sized(700)))
    });
}

/// Answers each request at its head.
fn hasty_upstream() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            if read_head(&mut stream).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 403 Enough\r\nContent-Length: 3\r\n\r\nno\n");
            }
            // What is still to come must find it open.
            thread::sleep(Duration::from_millis(60));
        }
    });
    Ok(address)
}

/// nginx counts what it had read when the upstream's answer was passed on; what it reads behind that it throws away, and it
/// takes no other request from there.
fn answered_within(bench: &mut Bench<'_>) {
    for body_bytes in [500, 100_000] {
        let case = Case::visible(format!("the upstream answers before {body_bytes} bytes have come"));
        bench.case(case.statuses(&[403]), |bench| {
            let bytes = Request::post("/alpha/hasty/", body_bytes).bytes();
            let (head, body) = bytes.split_at(bytes.len() - body_bytes);
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(head)?;
            client.response(false)?;
            client.send(body)?;
            client.send(&Request::get("/alpha/bytes/4").bytes())?;
            client.rest();
            Ok(())
        });
    }
    let case = Case::inferred("a chunk that is too large, in the first read", THROWN_AWAY);
    bench.case(case.statuses(&[413]), |bench| {
        let head = "POST /alpha/strict/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&[head.as_bytes(), &observer_tests::request::chunk(5_000)].concat())?;
        client.response(false)?;
        Ok(())
    });
}

/// The default of what conformance_undecidable.rs proves undecidable, and the rules for what is not.
const UNDECIDED: &str = "discarded_body";
const THROWN_AWAY: &str = "body_thrown_away";
const READ: &str = "body_read_by_handler";

/// nginx answers by itself and throws the body away. It keeps the connection.
fn unwanted_bodies(bench: &mut Bench<'_>) {
    let chunked = |chunk_bytes| Request::post("/own/", 0).body(Body::Chunked { chunks: 1, chunk_bytes });
    for body_bytes in [1, 900, 4_000] {
        bench.case(Case::undecidable(format!("{body_bytes} bytes to a return"), UNDECIDED).lines(2), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.exchange(&Request::post("/own/", body_bytes))?;
            client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
        });
        let case = Case::undecidable(format!("{body_bytes} bytes in a chunk to a return"), UNDECIDED);
        bench.case(case, |bench| exchange(bench, &chunked(body_bytes)));
    }
    for body_bytes in [70_000, MIB] {
        bench.case(Case::inferred(format!("{body_bytes} bytes to a return"), THROWN_AWAY).lines(2), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.exchange(&Request::post("/own/", body_bytes))?;
            client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
        });
        bench.case(Case::inferred(format!("{body_bytes} bytes in a chunk to a return"), THROWN_AWAY), |bench| {
            exchange(bench, &chunked(body_bytes))
        });
    }
    bench.case(Case::inferred("a body that comes late to a return", THROWN_AWAY).lines(2), |bench| {
        let bytes = Request::post("/own/", 3_000).bytes();
        let (head, body) = bytes.split_at(bytes.len() - 3_000);
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(head)?;
        client.response(false)?;
        client.send_split(body, &[500, 2_000])?;
        client.exchange(&Request::get("/alpha/bytes/4")).map(drop)
    });
    bench.case(Case::undecidable("a body to a missing file", UNDECIDED).statuses(&[404]), |bench| {
        exchange(bench, &Request::post("/static/none", 300))
    });
}

/// nginx answers by itself and a handler has read the body.
fn wanted_bodies(bench: &mut Bench<'_>) {
    let cached = |body_bytes| Request::new("GET", "/alpha/cached/bytes/4").body(Body::Sized(body_bytes));
    let put = |body_bytes| Request::new("PUT", "/static/new").body(Body::Sized(body_bytes));
    bench.case(Case::visible("a body that goes to the upstream").statuses(&[200]), |bench| {
        exchange(bench, &cached(300))
    });
    bench.case(Case::undecidable("300 bytes, answered from the cache", UNDECIDED).statuses(&[200]), |bench| {
        exchange(bench, &cached(300))
    });
    bench.case(Case::undecidable("300 bytes put by WebDAV", UNDECIDED).statuses(&[201]).waits_for_disk(), |bench| {
        exchange(bench, &put(300))
    });
    for (name, status, path, method) in
        [("put by WebDAV", 204, "/static/new", "PUT"), ("answered from the cache", 200, "/alpha/cached/bytes/4", "GET")]
    {
        let case = Case::inferred(format!("300 bytes that are waited for, {name}"), READ).statuses(&[status]);
        bench.case(case.waits_for_disk(), |bench| {
            let bytes = Request::new(method, path).body(Body::Sized(300)).bytes();
            let (head, body) = bytes.split_at(bytes.len() - 300);
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(head)?;
            thread::sleep(Duration::from_millis(80));
            client.send(body)?;
            client.response(false).map(drop)
        });
    }
    for body_bytes in [9_000, 70_000, MIB] {
        let case = Case::inferred(format!("{body_bytes} bytes, answered from the cache"), READ);
        bench.case(case.statuses(&[200]), |bench| exchange(bench, &cached(body_bytes)));
        let case = Case::inferred(format!("{body_bytes} bytes put by WebDAV"), READ).statuses(&[204]).waits_for_disk();
        bench.case(case, |bench| {
            exchange(bench, &put(body_bytes))?;
            let length = std::fs::metadata(bench.nginx.files().join("static/new"))?.len();
            ensure!(length == body_bytes as u64, "{length} bytes were put");
            Ok(())
        });
    }
}
