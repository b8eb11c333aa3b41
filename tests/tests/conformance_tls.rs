//! TLS with clients, with upstreams, and with both: versions, sessions, sizes, ends, and who may come in.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use observer_tests::conformance::{Bench, Case, Family, Link};
use observer_tests::nginx::config::Config;
use observer_tests::wait::free_port;
use observer_tests::{Body, Client, Request, tls};
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

const LARGE: usize = 5_000_000;

fn links() -> [(&'static str, Link); 5] {
    let link = |client_tls, upstream_tls| Link { client_tls, upstream_tls };
    [
        ("TLS 1.2 with clients", link(Some("TLSv1.2"), false)),
        ("TLS 1.3 with clients", link(Some("TLSv1.3"), false)),
        ("TLS with upstreams", link(None, true)),
        ("TLS 1.2 with clients, TLS with upstreams", link(Some("TLSv1.2"), true)),
        ("TLS 1.3 with clients, TLS with upstreams", link(Some("TLSv1.3"), true)),
    ]
}

#[test]
fn traffic() -> Result<()> {
    for (name, link) in links() {
        let mut family = Family::over(name, link)?;
        let mut bench = family.bench(|config: Config| {
            config.location("/own/", "return 200 done;").location(
                "/alpha/unbuffered/",
                "proxy_request_buffering off; proxy_buffering off; proxy_pass http://alpha;",
            )
        })?;
        exchanges(&mut bench);
        large_bodies(&mut bench);
        early_ends(&mut bench);
        drop(bench);
        family.finish()?;
    }
    Ok(())
}

fn exchanges(bench: &mut Bench<'_>) {
    let requests = [
        Request::get("/alpha/bytes/0"),
        Request::get("/alpha/bytes/16384"),
        Request::get("/alpha/chunked/50x700"),
        Request::get("/alpha/drip/20x3"),
        Request::get("/alpha/status/404"),
        Request::get("/own/"),
        Request::new("HEAD", "/alpha/bytes/999"),
        Request::post("/alpha/echo", 20_000),
        Request::new("PUT", "/alpha/status/201").body(Body::Chunked { chunks: 30, chunk_bytes: 900 }),
    ];
    let count = requests.len();
    bench.case(Case::visible("many requests on one connection").lines(count), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        requests.iter().try_for_each(|request| client.exchange(request).map(drop))
    });
    bench.case(Case::visible("each on a connection of its own").lines(count), |bench| {
        requests.iter().try_for_each(|request| Client::connect(bench.nginx.address())?.exchange(request).map(drop))
    });
    bench.case(Case::visible("a head in many records").statuses(&[200]), |bench| {
        let bytes = Request::get("/alpha/bytes/5").header("X-Long", &"l".repeat(3000)).bytes();
        let ends: Vec<usize> = (1..bytes.len()).step_by(97).collect();
        let mut client = Client::connect(bench.nginx.address())?;
        client.send_split(&bytes, &ends)?;
        client.response(false).map(drop)
    });
}

fn large_bodies(bench: &mut Bench<'_>) {
    for path in ["/alpha/bytes", "/alpha/unbuffered/bytes"] {
        let case = Case::visible(format!("5 MB down, {path}"));
        bench.case(case.statuses(&[200]), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            let response = client.exchange(&Request::get(format!("{path}/{LARGE}")))?;
            ensure!(response.body.len() == LARGE);
            Ok(())
        });
    }
    for path in ["/alpha/status/201", "/alpha/unbuffered/status/201"] {
        let case = Case::visible(format!("5 MB up, {path}"));
        bench.case(case.statuses(&[201]), |bench| {
            let request = Request::post(path, LARGE);
            Client::connect(bench.nginx.address())?.exchange(&request).map(drop)
        });
    }
}

fn early_ends(bench: &mut Bench<'_>) {
    let case = Case::visible("the client goes while it is answered");
    bench.case(case.statuses(&[200]), |bench| {
        let mut client = Client::connect_slow(bench.nginx.address(), 4096)?;
        client.send(&Request::get(format!("/alpha/bytes/{LARGE}")).bytes())?;
        client.bytes(1000)?;
        client.reset()
    });
    bench.case(Case::inferred("the client goes while it waits", "client_closed_waiting").statuses(&[499]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/alpha/hold/bytes/9").bytes())?;
        bench.upstream.until_held(1)?;
        let logged = bench.nginx.log_so_far()?.len();
        drop(client);
        bench.nginx.log(logged + 1)?;
        bench.upstream.release();
        Ok(())
    });
    bench.case(Case::visible("the upstream goes within its answer").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/alpha/truncate/30000").bytes())?;
        client.rest();
        Ok(())
    });
    bench.case(Case::visible("the upstream goes without an answer").statuses(&[502]), |bench| {
        Client::connect(bench.nginx.address())?.exchange(&Request::get("/alpha/early-close")).map(drop)
    });
}

#[test]
fn who_may_come_in() -> Result<()> {
    let link = Link { client_tls: Some("TLSv1.2 TLSv1.3"), upstream_tls: false };
    let mut family = Family::over("plain HTTP, sessions, client certificates", link)?;
    let proxied = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let mut bench = family.bench(|config: Config| {
        config
            .server(&format!(
                "listen {proxied} ssl proxy_protocol; ssl_verify_client optional; ssl_client_certificate cert.pem;"
            ))
            .http("map $ssl_client_verify $refused { default 0; NONE 1; }")
            .location("/own/", "if ($refused) { return 403; } return 200 done;")
    })?;
    sessions(&mut bench);
    plain_http(&mut bench);
    behind_a_proxy(&mut bench, proxied)?;
    bench.case(Case::visible("a client's certificate").statuses(&[200]), |bench| {
        let config = Arc::new(tls::client_config_with_certificate()?);
        let mut client = Client::connect_by_tls(bench.nginx.address(), &config)?;
        client.exchange(&Request::get("/own/")).map(drop)
    });
    bench.case(Case::visible("no certificate").statuses(&[403]), |bench| {
        Client::connect(bench.nginx.address())?.exchange(&Request::get("/own/")).map(drop)
    });
    drop(bench);
    let mut bench = family.bench(|config: Config| {
        config.server("ssl_verify_client on; ssl_client_certificate cert.pem;").location("/own/", "return 200 done;")
    })?;
    bench.case(Case::visible("a certificate that is asked for and not there (496)").statuses(&[400]), |bench| {
        Client::connect(bench.nginx.address())?.exchange(&Request::get("/own/")).map(drop)
    });
    bench.case(Case::visible("a certificate of a strange issuer (495)").statuses(&[400]), |bench| {
        let config = Arc::new(tls::client_config_with_strange_certificate()?);
        let mut client = Client::connect_by_tls(bench.nginx.address(), &config)?;
        client.exchange(&Request::get("/own/")).map(drop)
    });
    drop(bench);
    let mut bench = family
        .bench(|config: Config| config.server("ssl_early_data on; ssl_conf_command Options KTLS; sendfile on;"))?;
    early_data(&mut bench);
    files(&mut bench)?;
    drop(bench);
    family.finish()
}

/// The first connection brings a session, the others send their request with their first message.
fn early_data(bench: &mut Bench<'_>) {
    bench.case(Case::visible("early data").lines(7), |bench| {
        let mut config = tls::client_config(&[&TLS13], &[])?;
        config.enable_early_data = true;
        let config = Arc::new(config);
        let connect = || Client::connect_by_tls(bench.nginx.address(), &config);
        connect()?.exchange(&Request::get("/alpha/bytes/300"))?;
        for round in 0..3 {
            let mut client = connect()?;
            let early = Request::get(format!("/alpha/bytes/{}", round * 10_000)).bytes();
            client.tls().context("TLS")?.send_early(&early)?;
            ensure!(client.tls().context("TLS")?.took_early(), "the server took no early data");
            client.response(false)?;
            client.exchange(&Request::post("/alpha/echo", 3000))?;
        }
        Ok(())
    });
}

/// Where the kernel encrypts, nginx sends files by `SSL_sendfile`; where it does not, all is as ever.
fn files(bench: &mut Bench<'_>) -> Result<()> {
    let folder = bench.nginx.files().join("static");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("small"), "file")?;
    fs::write(folder.join("large"), vec![b'f'; 3_000_000])?;
    let paths = ["/static/small", "/static/large", "/alpha/bytes/10", "/static/small"];
    bench.case(Case::visible("files, by the kernel's TLS where it has any").lines(paths.len()), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        paths.iter().try_for_each(|path| client.exchange(&Request::get(*path)).map(drop))
    });
    Ok(())
}

fn behind_a_proxy(bench: &mut Bench<'_>, address: SocketAddr) -> Result<()> {
    let config = Arc::new(tls::client_config(rustls::ALL_VERSIONS, &[])?);
    bench.case(Case::visible("TLS behind a PROXY protocol's header").lines(2), |_| {
        let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 443\r\n";
        let mut client = Client::connect_by_tls_behind(address, header, &config)?;
        client.exchange(&Request::get("/alpha/bytes/2000"))?;
        client.exchange(&Request::post("/alpha/echo", 700)).map(drop)
    });
    Ok(())
}

fn sessions(bench: &mut Bench<'_>) {
    for (name, version) in [("TLS 1.2", &TLS12), ("TLS 1.3", &TLS13)] {
        bench.case(Case::visible(format!("sessions resumed, {name}")).lines(5), |bench| {
            let config = Arc::new(tls::client_config(&[version], &[])?);
            let mut resumed = 0;
            for _ in 0..5 {
                let mut client = Client::connect_by_tls(bench.nginx.address(), &config)?;
                client.exchange(&Request::get("/alpha/bytes/300"))?;
                let kind = client.tls().context("TLS")?.handshake();
                resumed += usize::from(kind == Some(HandshakeKind::Resumed));
            }
            ensure!(resumed == 4, "{resumed} sessions were resumed");
            Ok(())
        });
    }
}

fn plain_http(bench: &mut Bench<'_>) {
    bench.case(Case::visible("plain HTTP to the TLS port (497)").statuses(&[400]), |bench| {
        let mut client = Client::connect_plainly(bench.nginx.address())?;
        client.send(&Request::get("/alpha/bytes/1").bytes())?;
        client.rest();
        Ok(())
    });
}
