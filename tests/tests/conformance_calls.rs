//! Gateways whose calls show nothing of their bytes: each exchange is told of for its reason, and none is guessed at.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_tests::conformance::{Case, Family, check_identity};
use observer_tests::exposition::Exposition;
use observer_tests::netstat::listens;
use observer_tests::process::Process;
use observer_tests::tools::compile;
use observer_tests::wait::{PATIENCE, free_port, until_true};
use observer_tests::{Agent, Client, Request};

const CONNECTIONS: usize = 2;
/// On each connection.
const REQUESTS: usize = 3;
const ALL: usize = CONNECTIONS * REQUESTS;

const UNSEEN: &str = "unseen_bytes";
const UNSAMPLED: &str = "unsampled_call";

/// No host for 64 bits needs a library for 32 then.
const FOR_32_BITS: [&str; 7] =
    ["-m32", "-static", "-nostdlib", "-ffreestanding", "-fno-pie", "-no-pie", "-fno-stack-protector"];

#[test]
fn conformance() -> Result<()> {
    let mut family = Family::new("calls that show no bytes")?;
    let folder = tempfile::tempdir()?;
    let calls = compile("calls.c", &[], folder.path())?;
    let calls_32 = compile("calls32.c", &FOR_32_BITS, folder.path())?;
    family.claim(
        Case::visible("recv and send").lines(ALL),
        drive(&calls, "plain", None).and_then(|now| {
            let counted = now.value("kong_http_status_total{code=\"200\"}");
            ensure!(counted == ALL as f64 && errors(&now) == 0.0, "{counted} counted:\n{}", now.own());
            Ok(())
        }),
    );
    for (name, program, way, reason, loss) in [
        ("a body by splice", &calls, "splice", UNSEEN, None),
        ("a body by splice, and the gateway closes", &calls, "splice-close", UNSEEN, None),
        ("io_uring", &calls, "ring", UNSAMPLED, Some("io_uring")),
        ("io_uring, done at another call's end", &calls, "ring-work", UNSAMPLED, Some("io_uring")),
        ("io_uring on a thread of the kernel's", &calls, "ring-thread", UNSAMPLED, Some("io_uring")),
        ("a process of 32 bits", &calls_32, "", UNSAMPLED, Some("compat_call")),
    ] {
        let outcome = drive(program, way, loss).and_then(|now| is_told(&now, reason, loss));
        family.claim(Case::unobserved(name, reason).times(ALL), outcome);
    }
    family.finish()
}

/// What the agent shows behind requests to the program, which moves its bytes in this way.
fn drive(program: &Path, way: &str, loss: Option<&str>) -> Result<Exposition> {
    let port = free_port()?;
    let mut gateway = Process::spawn(Command::new(program).arg(port.to_string()).arg(way))?;
    until_true("the program listens", PATIENCE, || {
        let ended = gateway.ended()?;
        ensure!(ended.is_none(), "it ended: {ended:?}, {}", gateway.stderr());
        listens(port)
    })?;
    let agent = Agent::start(&[format!("pid:{}", gateway.pid())], &["--count-unmatched"])?;
    for _ in 0..CONNECTIONS {
        let mut client = None;
        for _ in 0..REQUESTS {
            let mut connected = client.take().map_or_else(|| Client::connect(([127, 0, 0, 1], port).into()), Ok)?;
            let is_last = request(&mut connected, way.starts_with("splice")).with_context(|| way.to_owned())?;
            client = Some(connected).filter(|_| !is_last);
        }
    }
    // What the kernel part counts is asked for now and then.
    agent.scrape_when(|now| {
        let ended = now.sum("observer_exchanges_counted_total") + now.sum("observer_exchanges_unobserved_total");
        let is_told = loss.is_none_or(|name| lost(now, name) > 0.0);
        ended >= ALL as f64 && now.sum("observer_exchanges_open") == 0.0 && is_told
    })
}

/// Returns whether the gateway closes behind the answer.
fn request(client: &mut Client, has_body: bool) -> Result<bool> {
    if !has_body {
        return Ok(client.exchange(&Request::get("/a"))?.is_last);
    }
    let bytes = Request::post("/a", 5_000).bytes();
    let (head, body) = bytes.split_at(bytes.len() - 5_000);
    client.send(head)?;
    client.until_read()?;
    client.send(body)?;
    Ok(client.response(false)?.is_last)
}

fn errors(now: &Exposition) -> f64 {
    now.value("kong_nginx_metric_errors_total")
}

fn lost(now: &Exposition, name: &str) -> f64 {
    now.value(&format!("observer_capture_lost_total{{reason=\"{name}\"}}"))
}

fn is_told(now: &Exposition, reason: &str, loss: Option<&str>) -> Result<()> {
    check_identity(now)?;
    let told = now.value(&format!("observer_exchanges_unobserved_total{{reason=\"{reason}\"}}"));
    let counted = now.sum("kong_http_status_total");
    ensure!(told == ALL as f64 && counted == 0.0, "{told} told of, {counted} counted:\n{}", now.own());
    ensure!(errors(now) >= told, "{} errors", errors(now));
    ensure!(loss.is_none_or(|name| lost(now, name) > 0.0), "{loss:?} is not told:\n{}", now.own());
    Ok(())
}
