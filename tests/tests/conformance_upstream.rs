//! Upstreams that fail, in every way that nginx knows, and those that are tried after them.

use std::time::Duration;

use anyhow::Result;
use observer_tests::conformance::{Bench, Case, Family, TLS};
use observer_tests::nginx::config::Config;
use observer_tests::socket::deaf_listener;
use observer_tests::wait::free_port;
use observer_tests::{Client, Nginx, Request, Upstream};

/// Longer than anything a scripted upstream does here, shorter than nginx's patience with a client.
const SHORT: Duration = Duration::from_millis(300);

/// One request on a connection of its own, whatever comes of it.
fn ask(nginx: &Nginx, request: &Request) -> Result<()> {
    let mut client = Client::connect(nginx.address())?;
    client.send(&request.bytes())?;
    // Cut answers are errors here, and what is tested.
    let _ = client.response(request.is_head());
    Ok(())
}

fn case(bench: &mut Bench<'_>, name: &str, status: u16, request: Request) {
    bench.case(Case::visible(name).statuses(&[status]), |bench| ask(&bench.nginx, &request));
}

#[test]
fn refused_and_timed_out() -> Result<()> {
    run_refused_and_timed_out(Family::new("upstreams that refuse or time out")?)
}

#[test]
fn refused_and_timed_out_over_tls() -> Result<()> {
    run_refused_and_timed_out(Family::over("upstreams that refuse or time out, over TLS", TLS)?)
}

fn run_refused_and_timed_out(mut family: Family) -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let refusing = format!("127.0.0.1:{}", free_port()?);
    let deaf = deaf_listener()?;
    let nginx = Config::new()?
        .http("proxy_connect_timeout 200ms; proxy_read_timeout 200ms; proxy_send_timeout 200ms;")
        .service("refused", format!("{refusing} max_fails=0"))
        .service("deaf", format!("{} max_fails=0", deaf.address()))
        .service("slow", format!("{} max_fails=0", upstream.address()))
        .start()?;
    let services =
        [("refused", refusing.clone()), ("deaf", deaf.address().to_string()), ("slow", upstream.address().to_string())];
    let mut bench = family.observe(nginx, upstream, &services, &[])?;
    let bench = &mut bench;
    case(bench, "refused", 502, Request::get("/refused/a"));
    case(bench, "refused with a body", 502, Request::post("/refused/a", 5_000));
    case(bench, "refused, HEAD", 502, Request::new("HEAD", "/refused/a"));
    case(bench, "connect timed out", 504, Request::get("/deaf/a"));
    case(bench, "read timed out", 504, Request::get("/slow/delay/400/bytes/1"));
    case(bench, "read timed out with a body", 504, Request::post("/slow/delay/400/bytes/1", 300_000));
    case(bench, "slow but in time", 200, Request::get("/slow/delay/100/bytes/1"));
    case(bench, "read timed out within the body", 200, Request::get("/slow/drip/2x400"));
    bench.case(Case::visible("several on one connection").statuses(&[502, 200, 504, 504, 200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        for path in ["/refused/a", "/slow/bytes/5", "/deaf/b", "/slow/delay/400/bytes/1", "/slow/bytes/6"] {
            client.exchange(&Request::get(path))?;
        }
        Ok(())
    });
    family.finish()
}

#[test]
fn broken_answers() -> Result<()> {
    run_broken_answers(Family::new("upstreams whose answers break")?)
}

#[test]
fn broken_answers_over_tls() -> Result<()> {
    run_broken_answers(Family::over("upstreams whose answers break, over TLS", TLS)?)
}

fn run_broken_answers(mut family: Family) -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let server = format!("{} max_fails=0", upstream.address());
    let unbuffered = format!("proxy_buffering off; proxy_pass http://{};", upstream.address());
    let nginx = Config::new()?.service("alpha", server).location("/unbuffered/", &unbuffered).start()?;
    let address = upstream.address().to_string();
    let mut bench = family.observe(nginx, upstream, &[("unbuffered", address.clone()), ("alpha", address)], &[])?;
    let bench = &mut bench;
    for (name, status, path) in [
        ("closed without an answer", 502, "early-close"),
        ("reset without an answer", 502, "reset"),
        ("closed within the body", 200, "truncate/1000"),
        ("closed within a large body", 200, "truncate/300000"),
        ("reset within the body", 200, "reset-after/1000"),
        ("reset within a large body", 200, "reset-after/300000"),
        ("head larger than the buffer", 502, "headers/100/bytes/5"),
        ("ended by the close", 200, "close-delimited/100"),
        ("a large one ended by the close", 200, "close-delimited/500000"),
        ("after a delay closed without an answer", 502, "delay/30/early-close"),
    ] {
        case(bench, name, status, Request::get(format!("/alpha/{path}")));
    }
    for (name, path) in [("closed", "truncate/100000"), ("reset", "reset-after/100000")] {
        let name = format!("{name} within the body, unbuffered");
        case(bench, &name, 200, Request::get(format!("/unbuffered/{path}")));
    }
    case(bench, "closed after a large request", 502, Request::post("/alpha/early-close", 2_000_000));
    family.finish()
}

/// nginx takes an answer without a status line for one of HTTP/0.9, and passes it on without one.
#[test]
fn answers_that_are_not_http() -> Result<()> {
    let mut family = Family::new("upstreams that do not speak HTTP")?;
    let mut bench = family.bench(|config| config)?;
    bench.case(Case::inferred("not HTTP", "http_0_9"), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/alpha/garbage/500").bytes())?;
        client.read_for(SHORT)?;
        Ok(())
    });
    family.finish()
}

#[test]
fn next_server() -> Result<()> {
    let mut family = Family::new("upstreams tried after others failed")?;
    let good = Upstream::ipv4()?;
    let broken = Upstream::ipv4()?;
    let refusing = format!("127.0.0.1:{} max_fails=0", free_port()?);
    let deaf = deaf_listener()?;
    let deaf_server = format!("{} max_fails=0", deaf.address());
    let broken_server = format!("{} max_fails=0", broken.address());
    let backup = format!("{} max_fails=0 backup", good.address());
    let nginx = Config::new()?
        .http("proxy_connect_timeout 150ms; proxy_read_timeout 150ms;")
        .http("proxy_next_upstream error timeout http_503 http_404 invalid_header;")
        .upstream("refusing", &[&refusing, &backup])
        .location("/refusing/", "proxy_pass http://refusing;")
        .upstream("deaf", &[&deaf_server, &backup])
        .location("/deaf/", "proxy_pass http://deaf;")
        .upstream("broken", &[&broken_server, &backup])
        .location("/broken/", "proxy_pass http://broken;")
        .start()?;
    let nowhere = "127.0.0.1:1".to_owned();
    let services = [("refusing", nowhere.clone()), ("deaf", nowhere.clone()), ("broken", nowhere)];
    let mut bench = family.observe(nginx, good, &services, &[])?;
    let bench = &mut bench;
    for (name, status, path) in [
        ("refused, then answered", 200, "refusing/bytes/7"),
        ("refused, then answered late", 200, "refusing/delay/50/bytes/7"),
        ("connect timed out, then answered", 200, "deaf/bytes/7"),
        ("404, then 404", 404, "broken/status/404/bytes/3"),
        ("503, then 503", 503, "broken/delay/20/status/503/bytes/3"),
        ("closed, then closed", 502, "broken/early-close"),
        ("reset, then reset", 502, "broken/reset"),
        ("timed out twice", 504, "broken/delay/300/bytes/3"),
    ] {
        case(bench, name, status, Request::get(format!("/{path}")));
    }
    case(bench, "a POST is not sent twice", 502, Request::post("/broken/early-close", 100));
    case(bench, "a POST that was refused is tried elsewhere", 200, Request::post("/refusing/echo", 100_000));
    family.finish()
}

/// nginx 1.22 takes any 1xx but 101 for the final answer, and what follows for its body.
#[test]
fn interim_answers() -> Result<()> {
    let mut family = Family::new("upstreams' interim answers")?;
    let mut bench = family.bench(|config| config)?;
    let send = |bench: &Bench<'_>, request: Request| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&request.close().bytes())?;
        client.read_for(SHORT)?;
        Ok(())
    };
    for (name, status, path) in [
        ("103 early hints, ended by the close", 103, "early-hints/close-delimited/50"),
        ("103 early hints, large, ended by the close", 103, "early-hints/close-delimited/90000"),
        ("100 continue, ended by the close", 100, "continue/close-delimited/50"),
        ("103 early hints, long before the answer", 103, "early-hints/think/60/close-delimited/50"),
    ] {
        bench
            .case(Case::visible(name).statuses(&[status]), |bench| send(bench, Request::get(format!("/alpha/{path}"))));
    }
    let kept = Case::inferred("103 early hints on a kept connection: the client goes", "client_closed_waiting");
    bench.case(kept.statuses(&[499]), |bench| send(bench, Request::get("/alpha/early-hints/bytes/50")));
    family.finish()
}
