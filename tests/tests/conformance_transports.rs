//! The ways to and from nginx: address families, PROXY protocol, several workers and listening sockets, connections kept
//! and ended on the upstream's side, upgraded connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use observer_tests::conformance::{Bench, Case, Family};
use observer_tests::nginx::config::Config;
use observer_tests::request::content;
use observer_tests::traffic;
use observer_tests::tunnel::Tunnel;
use observer_tests::wait::free_port;
use observer_tests::wire::read_head;
use observer_tests::{Client, Request, Upstream};

const SHORT: Duration = Duration::from_millis(300);

/// Several requests of every kind, over `clients` connections at once.
fn mixture(requests: usize) -> Vec<Request> {
    let kinds: [fn(usize) -> Request; 6] = [
        |index| Request::get(format!("/alpha/bytes/{}", index * 17)),
        |index| Request::post("/alpha/echo", index * 31),
        |_| Request::get("/alpha/chunked/7x900"),
        |_| Request::new("HEAD", "/alpha/bytes/4000"),
        |_| Request::get("/alpha/status/404"),
        |_| Request::get("/alpha/delay/3/no-content"),
    ];
    (0..requests).map(|index| kinds[index % kinds.len()](index)).collect()
}

fn run_mixture(bench: &mut Bench<'_>, name: &str) {
    let plan = mixture(300);
    bench.case(Case::visible(name).lines(plan.len()), |bench| {
        traffic::run(bench.nginx.address(), &plan, 16)?;
        Ok(())
    });
}

#[test]
fn families_of_addresses() -> Result<()> {
    let mut family = Family::new("IPv6 and UNIX sockets")?;
    let folder = tempfile::tempdir()?;
    for (name, upstream) in
        [("IPv6", Upstream::ipv6()?), ("UNIX socket", Upstream::unix(&folder.path().join("upstream.sock"))?)]
    {
        let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
        let address = upstream.address().to_string();
        let mut bench = family.observe(nginx, upstream, &[("alpha", address)], &[])?;
        run_mixture(&mut bench, &format!("a mixture over {name}"));
        for (what, status, path) in [
            ("closed without an answer", 502, "early-close"),
            ("closed within the body", 200, "truncate/5000"),
            ("ended by the close", 200, "close-delimited/70000"),
            ("large", 200, "bytes/2000000"),
        ] {
            bench.case(Case::visible(format!("{name}, {what}")).statuses(&[status]), |bench| {
                let mut client = Client::connect(bench.nginx.address_v6())?;
                client.send(&Request::get(format!("/alpha/{path}")).close().bytes())?;
                client.read_for(SHORT)?;
                Ok(())
            });
        }
    }
    family.finish()
}

#[test]
fn proxy_protocol() -> Result<()> {
    let mut family = Family::new("PROXY protocol")?;
    let port = free_port()?;
    let listen = format!("listen 127.0.0.1:{port} proxy_protocol;");
    let mut bench = family.bench(|config| config.server(&listen))?;
    let v1 = b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n".to_vec();
    // Version 2, command PROXY, TCP over IPv4, 12 bytes of addresses.
    let v2 = [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 192, 0, 2, 8, 0x9c, 0x40, 0, 80]]
        .concat();
    for (version, line) in [("1", v1), ("2", v2)] {
        let get = Request::get("/alpha/bytes/40").bytes();
        let address = ([127, 0, 0, 1], port).into();
        bench.case(Case::visible(format!("version {version}, in one segment with the request")), |_| {
            let mut client = Client::connect(address)?;
            client.send(&[line.as_slice(), &get].concat())?;
            client.response(false)?;
            Ok(())
        });
        bench.case(Case::visible(format!("version {version}, in a segment of its own")).lines(2), |_| {
            let mut client = Client::connect(address)?;
            client.send_split(&[line.as_slice(), &get].concat(), &[line.len()])?;
            client.response(false)?;
            client.exchange(&Request::post("/alpha/echo", 100))?;
            Ok(())
        });
    }
    family.finish()
}

#[test]
fn workers_that_share_the_port() -> Result<()> {
    let mut family = Family::new("several workers, reuseport")?;
    for (name, listen) in [("one socket", ""), ("a socket a worker", " reuseport")] {
        let port = free_port()?;
        let upstream = Upstream::ipv4()?;
        let nginx = Config::new()?
            .workers(3)
            .server(&format!("listen 127.0.0.1:{port}{listen};"))
            .service("alpha", upstream.address())
            .start()?;
        let address = upstream.address().to_string();
        let mut bench = family.observe(nginx, upstream, &[("alpha", address)], &[])?;
        let plan = mixture(600);
        bench.case(Case::visible(format!("{name}, three workers")).lines(plan.len()), |_| {
            traffic::run(([127, 0, 0, 1], port).into(), &plan, 24)?;
            Ok(())
        });
    }
    family.finish()
}

#[test]
fn kept_upstream_connections() -> Result<()> {
    let mut family = Family::new("upstream connections kept and ended")?;
    let mut bench = family.bench(|config| config)?;
    let bench = &mut bench;
    run_mixture(bench, "reused");
    bench.case(Case::visible("ended by the upstream while idle").lines(6), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        for _ in 0..3 {
            client.exchange(&Request::get("/alpha/bytes/10"))?;
            bench.upstream.close_all();
            thread::sleep(Duration::from_millis(20));
            client.exchange(&Request::get("/alpha/delay/20/bytes/11"))?;
        }
        Ok(())
    });
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?
        .http(&format!(
            "upstream alpha {{ server {}; keepalive 4; keepalive_timeout 100ms; keepalive_requests 3; }}",
            upstream.address()
        ))
        .location("/alpha/", "proxy_pass http://alpha;")
        .start()?;
    let address = upstream.address().to_string();
    let mut bench = family.observe(nginx, upstream, &[("alpha", address)], &[])?;
    run_mixture(&mut bench, "ended by nginx after three requests");
    bench.case(Case::visible("ended by nginx while idle").lines(3), |bench| {
        for _ in 0..3 {
            Client::connect(bench.nginx.address())?.exchange(&Request::get("/alpha/delay/10/bytes/12"))?;
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    });
    family.finish()
}

/// Sends an upgrade request and reads the 101.
fn upgrade(bench: &Bench<'_>) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(bench.nginx.address())?;
    stream.set_nodelay(true)?;
    let request = Request::get("/alpha/socket").header("Connection", "Upgrade").header("Upgrade", "websocket");
    stream.write_all(&request.bytes())?;
    let head = read_head(&mut stream).context("read the 101's head")?;
    ensure!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    Ok(stream)
}

#[test]
fn upgrades() -> Result<()> {
    let mut family = Family::new("upgraded connections")?;
    let tunnel = Tunnel::start()?;
    let upstream = Upstream::ipv4()?;
    let pass = format!(
        "proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection $http_connection;
        proxy_set_header Upgrade $http_upgrade;",
        tunnel.address()
    );
    let nginx = Config::new()?.location("/alpha/", &pass).start()?;
    let mut bench = family.observe(nginx, upstream, &[("alpha", tunnel.address().to_string())], &[])?;
    let bench = &mut bench;
    let case = |name: &str| Case::visible(name).statuses(&[101]);
    bench.case(case("nothing sent, the client closes"), |bench| upgrade(bench).map(drop));
    bench.case(case("some bytes each way"), |bench| {
        let mut stream = upgrade(bench)?;
        for length in [1, 100, 5_000, 70_000] {
            stream.write_all(&content(length))?;
            let mut echo = vec![0; length];
            stream.read_exact(&mut echo)?;
            ensure!(echo == content(length), "another echo");
        }
        Ok(())
    });
    bench.case(case("bytes in one segment with the request"), |bench| {
        let mut stream = TcpStream::connect(bench.nginx.address())?;
        let request = Request::get("/alpha/socket").header("Connection", "Upgrade").header("Upgrade", "websocket");
        stream.write_all(&[request.bytes(), content(300)].concat())?;
        stream.set_read_timeout(Some(SHORT))?;
        let _ = stream.read_to_end(&mut Vec::new());
        Ok(())
    });
    bench.case(case("bytes that look like HTTP"), |bench| {
        let mut stream = upgrade(bench)?;
        let bytes =
            [Request::get("/alpha/x").bytes(), b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()].concat();
        for _ in 0..20 {
            stream.write_all(&bytes)?;
            stream.read_exact(&mut vec![0; bytes.len()])?;
        }
        Ok(())
    });
    bench.case(case("the upstream closes"), |bench| {
        let mut stream = upgrade(bench)?;
        stream.write_all(b"0123456789")?;
        stream.read_exact(&mut [0; 10])?;
        tunnel.close_all();
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    });
    bench.case(case("both ways at once, at full speed"), |bench| {
        let mut stream = upgrade(bench)?;
        let mut reader = stream.try_clone()?;
        const BYTES: usize = 64 << 20;
        let reading = thread::spawn(move || -> Result<()> {
            let mut left = BYTES;
            let mut buffer = vec![0; 1 << 16];
            while left > 0 {
                let read = reader.read(&mut buffer)?;
                ensure!(read > 0, "{left} bytes missing");
                left -= read;
            }
            Ok(())
        });
        let block = content(1 << 16);
        for _ in 0..BYTES / block.len() {
            stream.write_all(&block)?;
        }
        reading.join().expect("the reading thread panicked")
    });
    bench.case(Case::visible("refused by the upstream's service").statuses(&[200]), |bench| {
        let request = Request::get("/alpha/plain").header("Connection", "close");
        Client::connect(bench.nginx.address())?.exchange(&request)?;
        Ok(())
    });
    family.finish()
}
