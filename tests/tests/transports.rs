//! The ways that bytes come and go: address families, files, split and gathered reads and writes.

use std::fs;

use anyhow::{Context, Result};
use observer_tests::agent_config::AgentConfig;
use observer_tests::compare::{Scope, compare};
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::Config;
use observer_tests::request::content;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Body, Client, Nginx, Request, Upstream, totals};

/// Compares all that the agent counted with the given lines, whose paths begin with the service's name.
fn check(agent: &Agent, lines: &[Line]) -> Result<()> {
    let now = agent.settled_scrape(lines.len())?;
    let services = totals::by_prefix(lines);
    compare(&now, &services, Scope::CountsAndTimes)
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))?;
    assert_eq!(now.get("kong_nginx_metric_errors_total"), Some(0.0));
    Ok(())
}

/// An nginx in front of `upstream`, and an agent that watches it and has no configuration.
fn observed(upstream: &Upstream) -> Result<(Nginx, Agent)> {
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    Ok((nginx, agent))
}

#[test]
fn ipv6_clients_and_upstreams_are_counted() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv6()?;
    let (nginx, agent) = observed(&upstream)?;
    let mut client = Client::connect(nginx.address_v6())?;
    client.exchange(&Request::get("/alpha/bytes/2000"))?;
    client.exchange(&Request::post("/alpha/echo", 100))?;
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/status/404"))?;
    check(&agent, &nginx.log(3)?)
}

#[test]
fn a_configured_ipv6_service_has_its_name() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv6()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    fs::write(&file, AgentConfig::new().service("six", upstream.address(), "/alpha").own())?;
    let arguments = ["--config", file.to_str().context("path")?];
    let agent = Agent::start(&[nginx.selector()], &arguments)?;
    Client::connect(nginx.address_v6())?.exchange(&Request::get("/alpha/bytes/10"))?;

    let services = totals::by_service(&nginx.log(1)?, |_| Some("six".to_owned()));
    compare(&agent.settled_scrape(1)?, &services, Scope::CountsAndTimes)
}

#[test]
fn unix_socket_upstreams_are_counted() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    for keepalive in [true, false] {
        let upstream = Upstream::unix(&folder.path().join(format!("{keepalive}.sock")))?;
        let nginx = Config::new()?.keepalive(keepalive).service("alpha", upstream.address()).start()?;
        let agent = Agent::watching(&[nginx.selector()])?;
        for path in ["bytes/10", "delay/20/bytes/100000", "status/503"] {
            let request = Request::post(format!("/alpha/{path}"), 50);
            Client::connect(nginx.address())?.exchange(&request)?;
        }
        check(&agent, &nginx.log(3)?)?;
    }
    Ok(())
}

#[test]
fn a_configured_unix_socket_has_its_services_name() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::unix(&folder.path().join("backend.sock"))?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let file = folder.path().join("services.yaml");
    let names = AgentConfig::new().service("local", upstream.address(), "/elsewhere");
    fs::write(&file, names.own())?;
    let arguments = ["--config", file.to_str().context("path")?];
    let agent = Agent::start(&[nginx.selector()], &arguments)?;
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/bytes/10"))?;

    let services = totals::by_service(&nginx.log(1)?, |_| Some("local".to_owned()));
    compare(&agent.settled_scrape(1)?, &services, Scope::CountsAndTimes)
}

#[test]
fn files_sent_by_sendfile_are_counted_whole() -> Result<()> {
    let _alone = alone()?;
    let nginx = Config::new()?.location("/static/", "sendfile on; tcp_nopush on;").start()?;
    fs::create_dir(nginx.files().join("static"))?;
    fs::write(nginx.files().join("static/large"), content(5_000_000))?;
    fs::write(nginx.files().join("static/empty"), "")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("services.yaml");
    let unused = format!("127.0.0.1:{}", free_port()?);
    fs::write(&file, AgentConfig::new().service("static", unused, "/static").own())?;
    let arguments = ["--config", file.to_str().context("path")?];
    let agent = Agent::start(&[nginx.selector()], &arguments)?;

    let mut client = Client::connect(nginx.address())?;
    for path in ["large", "empty", "missing", "large"] {
        client.exchange(&Request::get(format!("/static/{path}")))?;
    }
    let range = Request::get("/static/large").header("Range", "bytes=1000-999999");
    assert_eq!(client.exchange(&range)?.status, 206);
    check(&agent, &nginx.log(5)?)
}

#[test]
fn heads_spread_over_several_reads_are_put_together() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let (nginx, agent) = observed(&upstream)?;
    let mut client = Client::connect(nginx.address())?;

    let short = Request::get("/alpha/bytes/3").bytes();
    let every_byte: Vec<usize> = (1..short.len()).collect();
    client.send_split(&short, &every_byte)?;
    client.response(false)?;

    let long = Request::get("/alpha/bytes/4").header("X-Long", &"l".repeat(7_000)).bytes();
    client.send_split(&long, &[5, 900, 1_100, 5_000, long.len() - 1])?;
    client.response(false)?;

    let post = Request::post("/alpha/echo", 300).bytes();
    let head_end = post.len() - 300;
    client.send_split(&post, &[head_end - 2, head_end, head_end + 1])?;
    client.response(false)?;
    check(&agent, &nginx.log(3)?)
}

#[test]
fn heads_and_bodies_in_many_buffers_of_one_write_are_counted() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    // Small buffers make nginx gather many of them in each writev.
    let nginx = Config::new()?
        .http("proxy_buffers 64 1k; proxy_buffer_size 16k; proxy_busy_buffers_size 32k;")
        .service("alpha", upstream.address())
        .start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let mut client = Client::connect(nginx.address())?;
    for path in ["headers/100/bytes/40000", "chunked/100x100", "headers/60/chunked/9x900"] {
        client.exchange(&Request::get(format!("/alpha/{path}")))?;
    }
    check(&agent, &nginx.log(3)?)
}

#[test]
fn connections_open_before_the_agent_are_met_in_the_middle() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let mut client = Client::connect(nginx.address())?;
    client.exchange(&Request::get("/alpha/bytes/100"))?;
    client.exchange(&Request::get("/alpha/bytes/200"))?;
    let mut unused = Client::connect(nginx.address())?;
    nginx.log(2)?;

    let agent = Agent::watching(&[nginx.selector()])?;
    client.exchange(&Request::get("/alpha/bytes/300"))?;
    client.exchange(&Request::post("/alpha/status/201", 50))?;
    unused.exchange(&Request::get("/alpha/status/404"))?;
    let connections = upstream.connections();
    assert_eq!(connections, 1, "the upstream connection was not reused");
    check(&agent, &nginx.log(5)?[2..])
}

#[test]
fn request_bodies_buffered_in_memory_or_in_a_file_are_counted() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.http("client_body_buffer_size 8k;").service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let mut client = Client::connect(nginx.address())?;
    let chunked = Body::Chunked { chunks: 50, chunk_bytes: 5_000 };
    for body in [Body::Sized(1_000), Body::Sized(500_000), chunked] {
        client.exchange(&Request::new("PUT", "/alpha/echo").body(body))?;
    }
    check(&agent, &nginx.log(3)?)
}

#[test]
fn a_body_sent_after_100_continue_is_counted_with_the_interim_response() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let (nginx, agent) = observed(&upstream)?;
    let mut client = Client::connect(nginx.address())?;
    let request = Request::post("/alpha/echo", 400).header("Expect", "100-continue");
    let bytes = request.bytes();
    let (head, body) = bytes.split_at(bytes.len() - 400);
    client.send(head)?;
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    assert_eq!(client.bytes(interim.len())?, interim);
    client.send(body)?;
    let response = client.response(false)?;

    let lines = nginx.log(1)?;
    let sent = interim.len() + response.wire_bytes;
    assert_eq!(lines[0].bytes_sent, sent as u64);
    check(&agent, &lines)
}

#[test]
fn pipelined_requests_of_one_segment_are_told_apart() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let (nginx, agent) = observed(&upstream)?;
    let mut client = Client::connect(nginx.address())?;
    let bytes: Vec<u8> = ["bytes/10", "status/404", "no-content", "bytes/70000", "chunked/3x9", "echo"]
        .iter()
        .flat_map(|path| Request::get(format!("/alpha/{path}")).bytes())
        .collect();
    client.send(&bytes)?;
    for _ in 0..6 {
        client.response(false)?;
    }
    check(&agent, &nginx.log(6)?)
}

#[test]
fn a_request_retried_on_the_next_server_is_one_request() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let refusing = format!("127.0.0.1:{} max_fails=0", free_port()?);
    let nginx = Config::new()?
        .upstream("alpha", &[&refusing, upstream.address()])
        .location("/alpha/", "proxy_pass http://alpha;")
        .start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    for _ in 0..4 {
        Client::connect(nginx.address())?.exchange(&Request::get("/alpha/delay/20/bytes/9"))?;
    }
    let lines = nginx.log(4)?;
    assert!(lines.iter().any(|line| line.upstream_addr.len() == 2));
    check(&agent, &lines)
}
