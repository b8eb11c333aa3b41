//! The harness against nginx alone: what the clients count is what nginx logs. Without this the other tests would
//! compare the agent with a log that is read wrongly.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use observer_tests::compare::{Scope, compare};
use observer_tests::exposition::Exposition;
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::{BINARY, Config};
use observer_tests::request::content;
use observer_tests::wait::{PATIENCE, alone, until};
use observer_tests::{Body, Client, Nginx, Request, Upstream, totals, traffic};

/// Runs `request` on a connection of its own; gives what nginx logged about it, after the check that both ends
/// counted the same bytes.
fn logged(nginx: &Nginx, request: &Request) -> Result<Line> {
    let before = nginx.log_so_far()?.len();
    let response = Client::connect(nginx.address())?
        .exchange(request)
        .with_context(|| format!("{request:?}; {}", nginx.error_log()))?;
    let line = nginx.log(before + 1)?.pop().context("no line")?;
    assert_eq!(line.status, response.status, "{line:?}");
    assert_eq!(line.bytes_sent, response.wire_bytes as u64, "{line:?}");
    assert_eq!(line.request_length, request.bytes().len() as u64, "{line:?}");
    Ok(line)
}

#[test]
fn bytes_and_statuses_equal_the_log_for_each_scripted_answer() -> Result<()> {
    let _alone = alone()?;
    for keepalive in [true, false] {
        let upstream = Upstream::ipv4()?;
        let nginx = Config::new()?.keepalive(keepalive).service("alpha", upstream.address()).start()?;
        let answers = [
            ("bytes/0", 200),
            ("bytes/100000", 200),
            ("chunked/5x1000", 200),
            ("close-delimited/2000", 200),
            ("status/201", 201),
            ("status/301", 301),
            ("status/404/bytes/10", 404),
            ("status/503", 503),
            ("no-content", 204),
            ("not-modified", 304),
            ("early-close", 502),
            ("reset", 502),
        ];
        for (path, status) in answers {
            for method in ["GET", "HEAD"] {
                let request = Request::new(method, format!("/alpha/{path}")).case(path);
                let line = logged(&nginx, &request)?;
                assert_eq!(line.status, status, "{path}");
                assert_eq!(line.case.as_deref(), Some(path));
                assert_eq!(line.service(), "alpha");
            }
        }
    }
    Ok(())
}

#[test]
fn request_bodies_are_counted_with_their_framing() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.stripped_service("beta", upstream.address()).start()?;
    let chunked = Body::Chunked { chunks: 7, chunk_bytes: 3_000 };
    for body in [Body::None, Body::Sized(0), Body::Sized(1 << 20), chunked] {
        let request = Request::new("POST", "/beta/echo").body(body);
        logged(&nginx, &request)?;
    }
    let response = Client::connect(nginx.address())?.exchange(&Request::new("PUT", "/beta/echo").body(chunked))?;
    let expected: Vec<u8> = (0..7).flat_map(|_| content(3_000)).collect();
    assert_eq!(response.body, expected);
    Ok(())
}

#[test]
fn concurrent_traffic_equals_the_log_request_by_request() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let plan: Vec<Request> = (0..400)
        .map(|index| Request::post(format!("/alpha/bytes/{}", index * 37), index * 11).case(&index.to_string()))
        .collect();
    let outcomes = traffic::run(nginx.address(), &plan, 8)?;

    let lines = nginx.log(plan.len())?;
    let by_case: HashMap<&str, &Line> = lines.iter().filter_map(|line| Some((line.case.as_deref()?, line))).collect();
    for outcome in &outcomes {
        let line = by_case[outcome.index.to_string().as_str()];
        assert_eq!(line.request_length, outcome.sent_bytes as u64);
        assert_eq!(line.bytes_sent, outcome.received_bytes as u64);
        assert_eq!(line.status, outcome.status);
    }
    let alpha = &totals::by_prefix(&lines)["alpha"];
    assert_eq!(alpha.statuses[&200], 400);
    assert_eq!(alpha.upstream_requests, 400);
    assert_eq!(upstream.requests(), 400);
    let connections: std::collections::HashSet<u64> = lines.iter().map(|line| line.connection).collect();
    assert!(connections.len() <= 8, "{} connections", connections.len());
    Ok(())
}

#[test]
fn an_agent_that_counts_nothing_differs_from_the_log_in_every_series() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    logged(&nginx, &Request::get("/alpha/delay/20/status/404"))?;
    let services = totals::by_prefix(&nginx.log(1)?);
    let error = compare(&Exposition::default(), &services, Scope::CountsAndTimes)
        .expect_err("an empty exposition must differ")
        .to_string();
    for series in [
        "kong_http_status{code=\"404\",service=\"alpha\"}",
        "kong_http_status_total{code=\"404\"}",
        "kong_bandwidth{type=\"ingress\",service=\"alpha\"}",
        "kong_bandwidth_total{type=\"egress\"}",
        "kong_latency_count{type=\"kong\",service=\"alpha\"}",
        "kong_latency_sum{type=\"request\",service=\"alpha\"}",
        "kong_latency_total_sum{type=\"upstream\"}",
    ] {
        assert!(error.contains(series), "{series} is not in:\n{error}");
    }
    Ok(())
}

#[test]
fn times_of_a_delayed_answer_are_in_the_log() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let line = logged(&nginx, &Request::get("/alpha/delay/50"))?;
    assert!(line.request_ms >= 49.0, "{line:?}");
    // The coarse clock may lag by a tick at either end.
    assert!(line.upstream_ms().context("no upstream")? >= 45.0, "{line:?}");
    assert_eq!(line.upstream_addr, [upstream.address().to_string()]);
    Ok(())
}

#[test]
fn retries_are_logged_try_by_try() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let refusing = format!("127.0.0.1:{} max_fails=0", observer_tests::wait::free_port()?);
    let nginx = Config::new()?
        .upstream("tried", &[&refusing, upstream.address()])
        .location("/tried/", "proxy_pass http://tried;")
        .start()?;
    // Round robin begins with the first server.
    let line = logged(&nginx, &Request::get("/tried/bytes/5"))?;
    assert_eq!(line.upstream_status, [Some(502), Some(200)]);
    assert_eq!(line.upstream_addr.len(), 2);
    Ok(())
}

#[test]
fn split_sends_reach_nginx_in_separate_reads() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv6()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let request = Request::get("/alpha/bytes/3").bytes();
    let mut client = Client::connect(nginx.address_v6())?;
    client.send_split(&request, &[1, 5, 20])?;
    assert_eq!(client.response(false)?.body, b"the");
    let line = nginx.log(1)?.pop().context("no line")?;
    assert_eq!(line.request_length, request.len() as u64);
    assert_eq!(line.upstream_addr, [upstream.address().to_string()]);
    Ok(())
}

#[test]
fn pipelined_requests_are_answered_in_order() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    // Else nginx takes the half-close for a client that went away, and asks no upstream for it.
    let nginx = Config::new()?.http("proxy_ignore_client_abort on;").service("alpha", upstream.address()).start()?;
    let mut client = Client::connect(nginx.address())?;
    let bytes: Vec<u8> = (1..=6).flat_map(|length| Request::get(format!("/alpha/bytes/{length}")).bytes()).collect();
    client.send(&bytes)?;
    client.finish_sending()?;
    for length in 1..=6 {
        assert_eq!(client.response(false)?.body.len(), length);
    }
    client.until_closed()?;
    let lines = nginx.log(6)?;
    let numbers: Vec<u64> = lines.iter().map(|line| line.connection_requests).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
    let logged: u64 = lines.iter().map(|line| line.request_length).sum();
    assert_eq!(logged, bytes.len() as u64);
    Ok(())
}

#[test]
fn a_client_that_resets_while_the_upstream_works_is_logged_as_499() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let mut client = Client::connect(nginx.address())?;
    client.send(&Request::get("/alpha/hold").bytes())?;
    upstream.until_held(1)?;
    client.reset()?;
    let line = nginx.log(1)?.pop().context("no line")?;
    assert_eq!((line.status, line.bytes_sent), (499, 0));
    assert_eq!(line.upstream_ms(), None);
    Ok(())
}

#[test]
fn an_answer_cut_short_ends_the_clients_connection() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    for path in ["/alpha/truncate/500", "/alpha/reset-after/500"] {
        let mut client = Client::connect(nginx.address())?;
        assert!(client.exchange(&Request::get(path)).is_err(), "{path}");
    }
    for line in nginx.log(2)? {
        assert_eq!(line.status, 200, "{line:?}");
        assert!(line.bytes_sent > 0, "{line:?}");
    }
    Ok(())
}

#[test]
fn an_answer_that_is_not_http1_is_passed_on_as_http09() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let mut client = Client::connect(nginx.address())?;
    client.send(&Request::get("/alpha/garbage/100").bytes())?;
    assert_eq!(client.bytes(100)?, content(100));
    let line = nginx.log(1)?.pop().context("no line")?;
    assert_eq!((line.status, line.bytes_sent), (9, 100));
    Ok(())
}

#[test]
fn unix_socket_upstreams_and_files_are_served() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let upstream = Upstream::unix(&folder.path().join("backend.sock"))?;
    let nginx = Config::new()?.service("local", upstream.address()).location("/static/", "sendfile on;").start()?;
    let line = logged(&nginx, &Request::get("/local/bytes/9"))?;
    assert_eq!(line.upstream_addr, [upstream.address().to_string()]);

    fs::create_dir(nginx.files().join("static"))?;
    fs::write(nginx.files().join("static/large"), content(5_000_000))?;
    let line = logged(&nginx, &Request::get("/static/large"))?;
    assert!(line.bytes_sent > 5_000_000);
    assert_eq!(line.upstream_addr, [""; 0]);
    Ok(())
}

#[test]
fn stub_status_counts_grow_by_the_traffic_and_the_asking() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let before = nginx.stub_status()?;
    assert_eq!((before.active, before.accepted, before.requests), (0, 1, 1));

    let mut client = Client::connect(nginx.address())?;
    client.exchange(&Request::get("/alpha/"))?;
    client.exchange(&Request::get("/alpha/"))?;
    let after = nginx.stub_status()?;
    assert_eq!((after.active, after.waiting, after.writing), (1, 1, 0));
    assert_eq!(after.accepted - before.accepted, 1 + 1);
    assert_eq!(after.requests - before.requests, 2 + 1);
    Ok(())
}

#[test]
fn workers_are_replaced_on_reload_and_after_a_kill() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let mut nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let first = nginx.workers()?;
    assert_eq!(first.len(), 2);

    let background = traffic::Background::start(nginx.address(), &Request::get("/alpha/"), 2);
    nginx.reload()?;
    let second = nginx.workers()?;
    assert!(second.iter().all(|pid| !first.contains(pid)));
    let exchanges = background.stop()?;
    assert_eq!(nginx.log(exchanges)?.len(), exchanges);

    let killed = nginx.kill_worker()?;
    assert!(second.contains(&killed));
    logged(&nginx, &Request::get("/alpha/bytes/1"))?;

    let pid = nginx.pid();
    nginx.crash()?;
    nginx.start_again()?;
    assert_ne!(nginx.pid(), pid);
    logged(&nginx, &Request::get("/alpha/bytes/1"))?;
    Ok(())
}

#[test]
fn an_nginx_of_another_name_runs_and_ends() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let binary = folder.path().join("gateway-copy");
    fs::copy(BINARY, &binary)?;
    let nginx = Config::new()?.binary(&binary).start()?;
    let (pid, port) = (nginx.pid(), nginx.port());
    let name = fs::read_to_string(format!("/proc/{pid}/comm"))?;
    assert_eq!(name.trim(), "gateway-copy");
    drop(nginx);
    assert!(!fs::exists(format!("/proc/{pid}"))?);
    assert!(!observer_tests::netstat::listens(port)?);
    Ok(())
}

#[test]
fn a_wait_that_is_in_vain_ends_with_what_it_waited_for() {
    let limit = Duration::from_millis(20);
    let error = until::<()>("pigs fly", limit, || Ok(None)).unwrap_err();
    assert!(error.to_string().contains("pigs fly"));
    assert!(limit < PATIENCE);
}
