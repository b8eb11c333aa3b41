//! The kinds of the mix: each opens connections of its own and leaves none open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use observer_tests::request::{chunk, content};
use observer_tests::wire::read_head;
use observer_tests::{Body, Client, Request};

/// Where the gateway listens.
pub struct Places {
    pub v4: SocketAddr,
    pub v6: SocketAddr,
    pub with_proxy_protocol: SocketAddr,
}

impl Places {
    pub fn ports(&self) -> [u16; 2] {
        [self.v4.port(), self.with_proxy_protocol.port()]
    }
}

type Kind = fn(&Places) -> Result<()>;

pub const KINDS: [(&str, Kind); 38] = [
    ("50 in one segment", |at| {
        in_one_segment(at, &(0..50).map(|index| get(&format!("alpha/bytes/{index}"))).collect::<Vec<_>>())
    }),
    ("of every kind in one segment", pipelined_kinds),
    ("pipelined with bodies, in pieces", pipelined_in_pieces),
    ("behind a large answer", |at| {
        in_one_segment(at, &[get("alpha/bytes/40000"), get("alpha/chunked/9x5000"), get("own/")])
    }),
    ("chunks with extensions and trailers", |at| {
        sends(at, &chunked("alpha/echo", b"5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"))
    }),
    ("many chunks", |at| asks(at, &post("alpha/echo", 0).body(Body::Chunked { chunks: 40, chunk_bytes: 700 }))),
    ("100-continue", expects_continue),
    ("HEAD, 204, 304", |at| {
        kept(at, &[Request::new("HEAD", "/alpha/bytes/5000"), get("alpha/no-content"), get("alpha/not-modified")])
    }),
    ("HTTP/1.0", |at| asks(at, &get("alpha/bytes/90").http10())),
    ("HTTP/1.0 with keepalive", |at| kept(at, &[keep_alive_10(), keep_alive_10()])),
    ("ended by the close", |at| asks(at, &get("alpha/close-delimited/5000"))),
    ("a malformed head", |at| sends(at, b"GET /refused/ HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n")),
    ("no Host", |at| sends(at, b"GET /refused/ HTTP/1.1\r\n\r\n")),
    ("a target that is too long", |at| sends(at, &get(&format!("refused/{}", "l".repeat(9_000))).bytes())),
    ("a body that is too large", |at| {
        asks(at, &post("own/small/", 5_000)).and(asks(at, &post("alpha/small/", 90_000)))
    }),
    ("return 444", |at| sends(at, &get("own/444/").bytes())),
    ("a head that stops", |at| sends_and_waits(at, b"GET /refused/ HTTP/1.1\r\nHo")),
    ("a body that stops", |at| {
        sends_and_waits(at, b"POST /alpha/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
    }),
    ("a head of 20 KiB", |at| {
        asks(
            at,
            &(0..4)
                .fold(get("alpha/bytes/1"), |request, index| request.header(&format!("X-{index}"), &"l".repeat(5_000))),
        )
    }),
    ("odd spacing and forms", odd_forms),
    ("uploads", |at| kept(at, &[post("alpha/status/201", 300_000), post("alpha/unbuffered/status/201", 1 << 20)])),
    ("a body thrown away", |at| kept(at, &[post("own/", 70_000), get("alpha/bytes/4")])),
    ("files", |at| {
        kept(
            at,
            &[
                get("static/sendfile/large"),
                get("static/threads/middle"),
                get("static/writev/middle"),
                get("static/sendfile/small"),
            ],
        )
    }),
    ("a slow reader", slow_reader),
    ("passed on unbuffered", |at| asks(at, &get("alpha/passed-on/chunked/30x3000"))),
    ("gzip and ranges", |at| {
        kept(
            at,
            &[
                get("alpha/gzip/bytes/40000").header("Accept-Encoding", "gzip"),
                get("static/sendfile/middle").header("Range", "bytes=100-5999,-1"),
            ],
        )
    }),
    ("gone while the upstream is asked", |at| vanishes(at, &get("alpha/delay/150/bytes/3"), 0, false)),
    ("gone within the answer", |at| vanishes(at, &get("static/sendfile/large"), 140, true)),
    ("half-closed", half_closed),
    ("502, 504", |at| kept(at, &[get("failing/a"), get("alpha/early-close"), get("alpha/hasty/delay/250/bytes/3")])),
    ("reset within the body", |at| sends(at, &get("alpha/reset-after/9000").bytes())),
    ("retried", |at| kept(at, &[get("retried/bytes/9"), post("retried/delay/5/echo", 900)])),
    ("from the cache", |at| {
        kept(
            at,
            &[
                get("alpha/cached/bytes/100"),
                get("alpha/cached/bytes/100"),
                Request::new("HEAD", "/alpha/cached/bytes/100"),
            ],
        )
    }),
    ("asked leave for", |at| kept(at, &[get("alpha/granted/bytes/50"), get("alpha/denied/bytes/50")])),
    ("copied, caught", |at| kept(at, &[get("alpha/copied/delay/20/bytes/9"), get("alpha/caught/status/404")])),
    ("an upgraded connection", upgraded),
    ("IPv6 to a UNIX socket", |at| Client::connect(at.v6)?.exchange(&post("local/echo", 300)).map(drop)),
    ("PROXY protocol", proxied),
];

fn get(path: &str) -> Request {
    Request::get(format!("/{path}"))
}

fn post(path: &str, body_bytes: usize) -> Request {
    Request::post(format!("/{path}"), body_bytes)
}

fn keep_alive_10() -> Request {
    get("alpha/bytes/30").http10().header("Connection", "keep-alive")
}

fn chunked(path: &str, body: &[u8]) -> Vec<u8> {
    [format!("POST /{path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(), body].concat()
}

fn asks(at: &Places, request: &Request) -> Result<()> {
    Client::connect(at.v4)?.exchange(request).map(drop)
}

fn kept(at: &Places, requests: &[Request]) -> Result<()> {
    let mut client = Client::connect(at.v4)?;
    requests.iter().try_for_each(|request| client.exchange(request).map(drop))
}

fn in_one_segment(at: &Places, requests: &[Request]) -> Result<()> {
    let mut client = Client::connect(at.v4)?;
    client.send(&requests.iter().flat_map(Request::bytes).collect::<Vec<_>>())?;
    requests.iter().try_for_each(|request| client.response(request.is_head()).map(drop))
}

/// Sends, closes the sending side once something came, and reads all.
fn sends(at: &Places, bytes: &[u8]) -> Result<()> {
    let mut client = Client::connect(at.v4)?;
    // nginx may have closed before it read all.
    let _ = client.send(bytes);
    let _ = client.bytes(1);
    let _ = client.finish_sending();
    client.rest();
    Ok(())
}

fn sends_and_waits(at: &Places, bytes: &[u8]) -> Result<()> {
    let mut client = Client::connect(at.v4)?;
    client.send(bytes)?;
    client.rest();
    Ok(())
}

fn pipelined_kinds(at: &Places) -> Result<()> {
    let requests = [
        Request::new("HEAD", "/alpha/bytes/500"),
        get("alpha/no-content"),
        get("own/"),
        get("alpha/chunked/3x9"),
        get("alpha/not-modified"),
        post("alpha/echo", 33),
        get("alpha/status/404"),
        get("alpha/close-delimited/77"),
    ];
    in_one_segment(at, &requests)
}

fn pipelined_in_pieces(at: &Places) -> Result<()> {
    let requests = [
        post("alpha/echo", 3_000),
        get("alpha/bytes/9"),
        post("alpha/echo", 0).body(Body::Chunked { chunks: 3, chunk_bytes: 11 }),
    ];
    let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
    let mut client = Client::connect(at.v4)?;
    for piece in bytes.chunks(97) {
        client.send(piece)?;
    }
    requests.iter().try_for_each(|_| client.response(false).map(drop))
}

fn expects_continue(at: &Places) -> Result<()> {
    let bytes = post("alpha/echo", 5_000).header("Expect", "100-continue").bytes();
    let (head, body) = bytes.split_at(bytes.len() - 5_000);
    let mut client = Client::connect(at.v4)?;
    client.send(head)?;
    client.bytes(b"HTTP/1.1 100 Continue\r\n\r\n".len())?;
    client.send(body)?;
    client.response(false).map(drop)
}

fn odd_forms(at: &Places) -> Result<()> {
    let mut client = Client::connect(at.v4)?;
    for head in [
        "GET http://elsewhere/alpha/bytes/9 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET   /alpha/bytes/9   HTTP/1.1\nHost:    a    \nX-Y:z\n\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        client.send(head.as_bytes())?;
        client.response(false)?;
    }
    Ok(())
}

fn slow_reader(at: &Places) -> Result<()> {
    let mut client = Client::connect_slow(at.v4, 64 * 1024)?;
    client.send(&get("alpha/bytes/1000000").bytes())?;
    thread::sleep(Duration::from_millis(100));
    client.response(false).map(drop)
}

fn vanishes(at: &Places, request: &Request, behind: usize, by_reset: bool) -> Result<()> {
    let mut client = Client::connect_slow(at.v4, 64 * 1024)?;
    client.send(&request.bytes())?;
    client.bytes(behind)?;
    if behind == 0 {
        thread::sleep(Duration::from_millis(40));
    }
    if by_reset { client.reset() } else { Ok(()) }
}

fn half_closed(at: &Places) -> Result<()> {
    let mut client = Client::connect(at.v4)?;
    client.send(&get("own/").bytes())?;
    client.finish_sending()?;
    client.response(false)?;
    client.until_closed()
}

fn upgraded(at: &Places) -> Result<()> {
    let mut stream = TcpStream::connect(at.v4)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let request = get("tunnel/socket").header("Connection", "Upgrade").header("Upgrade", "websocket");
    stream.write_all(&request.bytes())?;
    let head = read_head(&mut stream).context("read the 101's head")?;
    ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for length in [10, 3_000, 20_000] {
        stream.write_all(&content(length))?;
        stream.read_exact(&mut vec![0; length])?;
    }
    Ok(())
}

fn proxied(at: &Places) -> Result<()> {
    let mut client = Client::connect(at.with_proxy_protocol)?;
    let line = b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n";
    let body = [chunk(60), b"0\r\n\r\n".to_vec()].concat();
    client.send(&[&line[..], &get("alpha/bytes/40").bytes(), &chunked("alpha/echo", &body)].concat())?;
    client.response(false)?;
    client.response(false).map(drop)
}
