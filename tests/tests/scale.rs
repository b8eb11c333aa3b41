//! What the agent takes with much to look after: 1,000 services, 2,000 routes and 10,000 open connections.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result, ensure};
use observer_tests::nginx::config::Config;
use observer_tests::process::allow_open_files;
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Request, Upstream};

const SERVICES: usize = 1_000;
const CONNECTIONS: usize = 10_000;
const MIB: f64 = 1_048_576.0;
const RESIDENT_MIB_MAX: f64 = 64.0;
const TABLES_MIB_MAX: f64 = 32.0;

/// The sum of the named limits is at most so much above what the kernel charges for the tables.
const TABLES_MIB_SPARE: f64 = 1.0;

/// For the clients, and what a test has besides.
const OPEN_FILES: u64 = CONNECTIONS as u64 + 1_000;

fn services() -> String {
    let mut text = "services:\n".to_owned();
    for n in 0..SERVICES {
        let _ = writeln!(
            text,
            "- {{name: service-{n}, url: 'http://10.77.{}.{}:8080', routes: [{{name: a{n}, paths: [/s{n}/]}}, \
             {{name: b{n}, hosts: [h{n}.test], paths: ['{}'], methods: [GET, POST]}}]}}",
            n / 250,
            n % 250,
            if n % 10 == 0 { r"~/v\d+/x" } else { "/v1/x" }
        );
    }
    text
}

/// Bytes of the agent's kernel tables, each counted once.
fn tables_bytes(pid: u32) -> Result<u64> {
    let mut tables = std::collections::BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
        tables.extend(value("map_id:").zip(value("memlock:")));
    }
    Ok(tables.into_values().sum())
}

/// Bytes of the agent in memory, besides the ring, which the kernel maps there twice, and the program's own pages, which
/// depend on how it was built.
fn resident_bytes(pid: u32) -> Result<u64> {
    let program = fs::read_link(format!("/proc/{pid}/exe"))?.display().to_string();
    let (mut bytes, mut is_left_out) = (0, false);
    for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
        if line.split(' ').next().is_some_and(|range| range.contains('-')) {
            is_left_out = line.ends_with("anon_inode:bpf-map") || line.ends_with(&program);
        } else if let Some(rss) = line.strip_prefix("Rss:").filter(|_| !is_left_out) {
            bytes += rss.trim().trim_end_matches(" kB").parse::<u64>()? << 10;
        }
    }
    Ok(bytes)
}

/// The number before ` MiB` behind a word of the agent's first lines.
fn said(stderr: &str, word: &str) -> Result<f64> {
    let rest = stderr.split_once(word).with_context(|| format!("no {word:?} in {stderr}"))?.1;
    Ok(rest.split(" MiB").next().unwrap_or_default().trim().parse()?)
}

/// The number in `(at most N)` behind a word of the agent's first lines.
fn said_at_most(stderr: &str, word: &str) -> Result<f64> {
    let rest = stderr.split_once(word).with_context(|| format!("no {word:?} in {stderr}"))?.1;
    let number = rest.split_once("(at most ").with_context(|| format!("no limit behind {word:?} in {stderr}"))?.1;
    Ok(number.split(')').next().unwrap_or_default().parse()?)
}

#[test]
fn a_thousand_services_and_ten_thousand_connections_keep_the_limits_of_memory() -> Result<()> {
    let _alone = alone()?;
    allow_open_files(OPEN_FILES)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    fs::write(&file, services())?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?
        .connections(CONNECTIONS + 1_000)
        .server("location ~ ^/s { return 401; }")
        .service("alpha", upstream.address())
        .start()?;
    let agent = Agent::start(&[nginx.selector()], &["--config", &file.display().to_string()])?;
    let tables = tables_bytes(agent.pid())? as f64 / MIB;
    let stderr = agent.stderr();
    ensure!((said(&stderr, "kernel tables and ring:")? - tables).abs() < 0.1, "{tables} MiB; {stderr}");
    ensure!(said(&stderr, "resident besides the ring:")? < RESIDENT_MIB_MAX, "{stderr}");
    let at_most = said_at_most(&stderr, "kernel tables and ring:")?;
    ensure!((tables..=TABLES_MIB_MAX).contains(&at_most), "{tables} MiB of tables; {stderr}");
    ensure!(at_most - tables < TABLES_MIB_SPARE, "{tables} MiB of tables: the limits are not theirs; {stderr}");
    ensure!(said_at_most(&stderr, "resident besides the ring:")? == RESIDENT_MIB_MAX, "{stderr}");

    let mut clients = Vec::with_capacity(CONNECTIONS);
    for n in 0..CONNECTIONS {
        let mut client = Client::connect(nginx.address())?;
        let answer = client.exchange(&Request::get(format!("/s{}/", n % SERVICES)))?;
        ensure!(answer.status == 401 && !answer.is_last, "{answer:?}");
        clients.push(client);
    }
    let now = agent.settled_scrape(CONNECTIONS)?;
    ensure!(now.family("kong_http_status").count() == SERVICES, "{}", now.own());
    ensure!(now.sum("kong_http_status") == CONNECTIONS as f64, "{}", now.own());
    let active = now.value("kong_nginx_http_current_connections{state=\"active\"}");
    ensure!(active == CONNECTIONS as f64, "{active} connections");
    let resident = resident_bytes(agent.pid())? as f64 / MIB;
    let tables = tables_bytes(agent.pid())? as f64 / MIB;
    println!("resident {resident:.1} MiB, tables and ring {tables:.1} MiB");
    ensure!(resident < RESIDENT_MIB_MAX, "{resident} MiB resident");
    ensure!(tables < TABLES_MIB_MAX, "{tables} MiB of tables");
    Ok(())
}
