//! What heads hold, TLS included, is in the agent's memory as long as its exchange is under way, and no longer.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result, ensure};
use memchr::memmem;
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream};

/// Told back by the gateway in a cookie.
const ECHOING: &str = "add_header Set-Cookie \"id=$http_x_id\";";

/// How secrets begin and end: unlike any text in the agent's program and in what else it reads.
const MARKS: [&str; 2] = ["zq7-", "-0af31c9e0af31c9e"];

fn secret(of: &str) -> String {
    let [begin, end] = MARKS;
    format!("{begin}{of}{end}")
}

fn request(of: &str) -> Request {
    Request::get(format!("/alpha/bytes/500?token={}", secret(of)))
        .header("Authorization", &format!("Bearer {}", secret(of)))
        .header("X-Id", &secret(of))
}

/// Whose secrets are in what the process can write to. The ring is none of it: the kernel maps it read-only.
fn held(process: u32) -> Result<BTreeSet<String>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).context("read the agent's mappings")?;
    let memory = File::open(format!("/proc/{process}/mem")).context("read the agent's memory; the tests need root")?;
    let [begin, end] = MARKS;
    let mut whose = BTreeSet::new();
    for line in maps.lines().filter(|line| line.split(' ').nth(1).is_some_and(|mode| mode.starts_with("rw"))) {
        let (first, behind) = line.split(' ').next().and_then(|range| range.split_once('-')).context("a mapping")?;
        let (first, behind) = (u64::from_str_radix(first, 16)?, u64::from_str_radix(behind, 16)?);
        let mut bytes = vec![0; (behind - first) as usize];
        // A mapping may have gone since.
        if memory.read_exact_at(&mut bytes, first).is_err() {
            continue;
        }
        for at in memmem::find_iter(&bytes, begin) {
            let text = String::from_utf8_lossy(&bytes[at + begin.len()..bytes.len().min(at + 40)]).into_owned();
            whose.extend(text.split_once(&end[..4]).map(|(whose, _)| whose.to_owned()));
        }
    }
    Ok(whose)
}

fn until_held(agent: &Agent, of: &str) -> Result<()> {
    until_true("the agent holds what was sent", PATIENCE, || Ok(held(agent.pid())?.contains(of)))
}

/// Half of a head is held, as the other half may come: so the search does find what is there.
fn send_halves(nginx: &Nginx, agent: &Agent, of: &str) -> Result<Client> {
    let mut client = Client::connect(nginx.address())?;
    let bytes = request(of).bytes();
    let (half, rest) = bytes.split_at(bytes.len() - 10);
    client.send(half)?;
    until_held(agent, of)?;
    client.send(rest)?;
    client.response(false)?;
    Ok(client)
}

#[test]
fn nothing_of_a_head_outlives_its_exchange() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::tls()?;
    let config = Config::new()?.tls("TLSv1.2 TLSv1.3").server(ECHOING);
    let nginx = config.service("alpha", upstream.address()).upstream_tls().start()?;
    let agent = Agent::watching(&[nginx.selector()])?;

    // Kept open: a connection must not keep what its last exchange held.
    let mut whole = Client::connect(nginx.address())?;
    for _ in 0..3 {
        whole.exchange(&request("whole"))?;
    }
    let _halves = send_halves(&nginx, &agent, "halves")?;
    let mut pipelining = Client::connect(nginx.address())?;
    pipelining.send(&request("pipelined").bytes().repeat(4))?;
    for _ in 0..4 {
        pipelining.response(false)?;
    }
    let mut long = Client::connect(nginx.address())?;
    long.exchange(&request("long").header("X-Long", &format!("{}{}", "a".repeat(6000), secret("long"))))?;
    let mut refused = Client::connect(nginx.address())?;
    refused.send(format!("GET /alpha?token={} HTTP/7.0\r\nX: {0}\r\n\r\n", secret("refused")).as_bytes())?;
    refused.rest();
    let mut abandoned = Client::connect(nginx.address())?;
    abandoned.send(format!("GET /alpha?token={} HTTP/1.1\r\nX: {0}\r\n", secret("abandoned")).as_bytes())?;
    until_held(&agent, "abandoned")?;
    drop(abandoned);

    let ended = nginx.log(11)?.len() as f64;
    let told = |now: &Exposition| now.sum("kong_http_status_total") + now.sum("observer_unattributed_requests_total");
    let now = agent.scrape_when(|now| told(now) >= ended)?;
    ensure!(told(&now) == ended, "{}", now.own());
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    let held = held(agent.pid())?;
    ensure!(held.is_empty(), "secrets in the agent's memory: {held:?}");
    Ok(())
}
