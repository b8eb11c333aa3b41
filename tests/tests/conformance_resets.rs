//! Resets in states of a connection that other suites have no reset in: the client's, the upstream's, and those that nginx
//! finds with everything else when it comes to look.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use observer_tests::conformance::{Bench, Case, Family, Link, TLS, gauge_is_nginxs};
use observer_tests::nginx::config::Config;
use observer_tests::process::signal_pid;
use observer_tests::tls::Tls;
use observer_tests::wait::{PATIENCE, until_true};
use observer_tests::{Body, Client, Nginx, Request, Upstream};

mod breaking;

use breaking::{IN_THE_REQUEST, PAUSED, PLACES, READ_OF_A_BODY, SILENT};

#[test]
fn by_the_client() -> Result<()> {
    run(Family::new("resets by the client")?)
}

#[test]
fn by_the_client_over_tls() -> Result<()> {
    run(Family::over("resets by the client, over TLS on both sides", TLS)?)
}

fn run(mut family: Family) -> Result<()> {
    let mut bench = family.bench(|config: Config| {
        config
            .server("lingering_timeout 300ms;")
            .location("/own/", "return 200 done;")
            .location("/alpha/unbuffered/", "proxy_request_buffering off; proxy_pass http://alpha;")
            .location("/alpha/ignoring/", "proxy_ignore_client_abort on; proxy_pass http://alpha;")
    })?;
    within_requests(&mut bench);
    while_it_stands_still(&mut bench);
    let gauge = gauge_is_nginxs(&bench.agent, &bench.nginx);
    drop(bench);
    family.claim(Case::visible("the gauge equals stub_status"), gauge);
    family.finish()
}

/// nginx logs the status of an answer that it could not send any more. A call in the clear shows that status; over TLS it is
/// the upstream's, by `rule`, and nothing tells the status of nginx's own.
fn answered(link: Link, name: &str, rule: Option<&'static str>) -> Case {
    match (link.client_tls, rule) {
        (None, _) => Case::visible(name),
        (Some(_), Some(rule)) => Case::inferred(name, rule),
        (Some(_), None) => Case::unobserved(name, "boundary_not_sampled"),
    }
}

/// Sends, waits until all is read, and resets.
fn send_and_reset(nginx: &Nginx, bytes: &[u8]) -> Result<()> {
    let mut client = Client::connect(nginx.address())?;
    client.send(bytes)?;
    client.until_read()?;
    client.reset()
}

fn within_requests(bench: &mut Bench<'_>) {
    let chunked = Request::post("/alpha/echo", 0).body(Body::Chunked { chunks: 3, chunk_bytes: 100 }).bytes();
    // Ends of the head, of a chunk's size, within a chunk, between two, before the last line's end.
    let head = chunked.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    for (name, end) in [
        ("behind a chunked request's head", head),
        ("in a chunk's size", head + 1),
        ("in a chunk", head + 40),
        ("between chunks", head + 106),
        ("before the last byte of the chunks", chunked.len() - 1),
    ] {
        let case = Case::inferred(name, "client_closed_in_body").statuses(&[400]);
        bench.case(case, |bench| send_and_reset(&bench.nginx, &chunked[..end]));
    }
    let case = Case::inferred("in the head behind an answered request", "client_closed_in_head");
    bench.case(case.statuses(&[200, 400]).refused_behind(), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.exchange(&Request::get("/alpha/bytes/10"))?;
        client.send(b"GET /alpha/by")?;
        client.until_read()?;
        client.reset()
    });
    let case = Case::inferred("between 100 Continue and the body", "client_closed_in_body");
    bench.case(case.statuses(&[400]), |bench| {
        let bytes = Request::post("/alpha/echo", 500).header("Expect", "100-continue").bytes();
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&bytes[..bytes.len() - 500])?;
        client.bytes(b"HTTP/1.1 100 Continue\r\n\r\n".len())?;
        client.reset()
    });
    let case = Case::inferred("in a body that is passed on unbuffered", "client_closed_in_body");
    bench.case(case.statuses(&[400]), |bench| {
        let bytes = Request::post("/alpha/unbuffered/echo", 90_000).bytes();
        send_and_reset(&bench.nginx, &bytes[..bytes.len() - 500])
    });
    let case = answered(bench.link(), "while the upstream is asked and nginx ignores it", Some("answer_unsent"));
    bench.case(case.statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/alpha/ignoring/hold/bytes/3").bytes())?;
        bench.upstream.until_held(1)?;
        client.reset()?;
        thread::sleep(Duration::from_millis(20));
        bench.upstream.release();
        Ok(())
    });
}

/// Stops the worker, calls `drive`, and lets the worker go on: it finds all that happened at once.
fn stopped<T>(nginx: &Nginx, drive: impl FnOnce() -> Result<T>) -> Result<T> {
    let worker = *nginx.workers()?.first().context("no worker")?;
    signal_pid(worker, Signal::SIGSTOP)?;
    let stat = Path::new("/proc").join(worker.to_string()).join("stat");
    let outcome =
        until_true("the worker stands still", PATIENCE, || Ok(std::fs::read_to_string(&stat)?.contains(") T ")))
            .and_then(|()| drive());
    signal_pid(worker, Signal::SIGCONT)?;
    outcome
}

fn while_it_stands_still(bench: &mut Bench<'_>) {
    bench.case(Case::visible("nothing, before it is accepted").lines(0), |bench| {
        stopped(&bench.nginx, || Client::connect(bench.nginx.address())?.reset())
    });
    let whole = |path: &str| Request::get(path).bytes();
    let upload = Request::post("/alpha/echo", 500).bytes();
    for (name, bytes, rule, status) in [
        ("half a head", b"GET /alpha/by".to_vec(), Some("client_closed_in_head"), 400),
        ("answered by nginx", whole("/own/"), None, 200),
        ("proxied", whole("/alpha/bytes/10"), Some("client_closed_waiting"), 499),
        ("three proxied", whole("/alpha/bytes/10").repeat(3), Some("client_closed_waiting"), 499),
        ("with a body", upload.clone(), Some("client_closed_waiting"), 499),
        ("with a part of a body", upload[..200].to_vec(), Some("client_closed_in_body"), 400),
    ] {
        let link = bench.link();
        let case = |name: String| match rule {
            Some(rule) => Case::inferred(name, rule),
            None => answered(link, &name, None),
        };
        let first = case(format!("{name}, first of its connection")).statuses(&[status]);
        let second = case(format!("{name}, on a kept connection")).statuses(&[200, status]);
        let is_refused = rule == Some("client_closed_in_head");
        let (first, second) = if is_refused { (first.refused(), second.refused_behind()) } else { (first, second) };
        for (case, is_kept) in [(first, false), (second, true)] {
            bench.case(case, |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                // A gateway that stands still shakes no hands.
                client.tls().map_or(Ok(()), Tls::shake_hands)?;
                if is_kept {
                    client.exchange(&Request::get("/own/"))?;
                }
                stopped(&bench.nginx, || {
                    client.send(&bytes)?;
                    client.reset()
                })
            });
        }
    }
    behind_an_answer_of_the_upstream(bench);
}

fn behind_an_answer_of_the_upstream(bench: &mut Bench<'_>) {
    for is_answered_first in [false, true] {
        let case = match is_answered_first {
            true => answered(bench.link(), "behind the upstream's answer", Some("answer_unsent")).statuses(&[200]),
            false => Case::inferred("before the upstream's answer", "client_closed_waiting").statuses(&[499]),
        };
        bench.case(case, |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&Request::get("/alpha/hold/bytes/3").bytes())?;
            bench.upstream.until_held(1)?;
            stopped(&bench.nginx, || {
                if !is_answered_first {
                    client.reset()?;
                    bench.upstream.release();
                    thread::sleep(Duration::from_millis(20));
                    return Ok(());
                }
                bench.upstream.release();
                thread::sleep(Duration::from_millis(20));
                client.reset()
            })
        });
    }
}

#[test]
fn within_tls() -> Result<()> {
    let mut family = Family::over("resets within TLS", TLS)?;
    let mut bench = family.bench(|config| config.location("/own/", "return 200 done;"))?;
    let bench_ref = &mut bench;
    bench_ref.case(Case::visible("in the client's first message").lines(0), |bench| {
        let mut client = Client::connect_plainly(bench.nginx.address())?;
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")?;
        client.until_read()?;
        client.reset()
    });
    bench_ref.case(Case::visible("behind the handshake").lines(0), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.tls().context("TLS")?.shake_hands()?;
        client.until_read()?;
        client.reset()
    });
    bench_ref.case(Case::visible("while it stands still, behind the handshake").lines(0), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.tls().context("TLS")?.shake_hands()?;
        stopped(&bench.nginx, || client.reset())
    });
    bench_ref.case(Case::visible("and all is well").statuses(&[200]), |bench| {
        Client::connect(bench.nginx.address())?.exchange(&Request::get("/alpha/bytes/9")).map(drop)
    });
    let gauge = gauge_is_nginxs(&bench.agent, &bench.nginx);
    drop(bench);
    family.claim(Case::visible("the gauge equals stub_status"), gauge);
    family.finish()
}

#[test]
fn by_the_upstream() -> Result<()> {
    let mut family = Family::new("resets by the upstream")?;
    let upstream = Upstream::ipv4()?;
    let (breaking, unwilling) = (breaking::upstream()?, breaking::unwilling_upstream()?);
    let pass = |buffering: &str| {
        format!("proxy_pass http://broken; proxy_buffering {buffering}; proxy_request_buffering {buffering};")
    };
    let nginx = Config::new()?
        .service("broken", format!("{breaking} max_fails=0"))
        .service("unwilling", format!("{unwilling} max_fails=0"))
        .location("/broken/unbuffered/", &pass("off"))
        .start()?;
    let services = [("broken", breaking.to_string()), ("unwilling", unwilling.to_string())];
    let mut bench = family.observe(nginx, upstream, &services, &[])?;
    let ask = |bench: &Bench<'_>, request: Request| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&request.bytes())?;
        // Cut answers are errors here, and what is tested.
        let _ = client.response(false);
        Ok(())
    };
    for way in ["", "unbuffered/"] {
        for pause in ["", PAUSED] {
            for place in PLACES.iter().map(|(place, _)| *place).chain([SILENT]) {
                let path = format!("/broken/{way}{pause}/{place}");
                bench.case(Case::visible(&path), |bench| ask(bench, Request::get(&path)));
            }
            let path = format!("/broken/{way}{pause}/{IN_THE_REQUEST}");
            bench.case(Case::visible(&path).statuses(&[502]), |bench| {
                ask(bench, Request::post(&path, 10 * READ_OF_A_BODY))
            });
        }
    }
    bench.case(Case::visible("as soon as it is connected").statuses(&[502]), |bench| {
        ask(bench, Request::get("/unwilling/"))
    });
    bench.case(Case::visible("as soon as it is connected, with a body").statuses(&[502]), |bench| {
        ask(bench, Request::post("/unwilling/", 1_000_000))
    });
    let gauge = gauge_is_nginxs(&bench.agent, &bench.nginx);
    drop(bench);
    family.claim(Case::visible("the gauge equals stub_status"), gauge);
    family.finish()
}
