//! What strangers may send to the metrics' port, byte by byte.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use observer_tests::agent::token;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Client, Request};
use tempfile::TempDir;

/// For a whole head, and for a whole body.
const PATIENCE_OF_THE_SERVER: Duration = Duration::from_secs(10);

fn agent(arguments: &[&str]) -> Result<Agent> {
    // Nobody listens there: these tests are about the port alone.
    Agent::start(&[format!("port:{}", free_port()?)], arguments)
}

/// The status line's number of whatever answers these bytes; 0 for a connection that is closed without an answer.
fn status_of(agent: &Agent, bytes: &[u8]) -> Result<u16> {
    let mut client = Client::connect(agent.address())?;
    // A server that refuses early may close before all is sent.
    let _ = client.send(bytes);
    Ok(client.response(false).map_or(0, |response| response.status))
}

fn get(path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\r\n").into_bytes()
}

#[test]
fn only_reading_methods_are_allowed_on_pages_that_are_read() -> Result<()> {
    let _alone = alone()?;
    let agent = agent(&[])?;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"] {
        for path in ["/metrics", "/", "/ready", "/nginx_status"] {
            let response = agent.ask(&Request::new(method, path).close())?;
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.head.header("allow"), Some("GET, HEAD"), "{method} {path}");
        }
    }
    let head = agent.ask(&Request::new("HEAD", "/metrics").close())?;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.head.header("content-length").is_some());
    Ok(())
}

#[test]
fn what_is_no_http_or_two_things_at_once_is_refused() -> Result<()> {
    let _alone = alone()?;
    let agent = agent(&[])?;
    for bytes in [
        "\0\0\0\0\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7c\x03\x03\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET /metrics HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET /metrics\r\n\r\n",
        "GET  /metrics HTTP/1.1\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost : localhost\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHo\0st: localhost\r\n\r\n",
        "POST /plugins HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "POST /plugins HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        "POST /plugins HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let status = status_of(&agent, bytes.as_bytes())?;
        assert!(status == 0 || status == 400, "{status} for {bytes:?}");
    }
    // A length beside chunks: whoever reads it otherwise must not see a second request in the rest.
    let smuggled = "POST /plugins HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
                    0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut client = Client::connect(agent.address())?;
    client.send(smuggled.as_bytes())?;
    client.finish_sending()?;
    let answers = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!answers.contains("kong_"), "{answers}");
    assert_eq!(agent.get("/ready")?.status, 200, "it serves on");
    Ok(())
}

#[test]
fn oversize_requests_are_refused() -> Result<()> {
    let _alone = alone()?;
    let folder = TempDir::new()?;
    let users = folder.path().join("users");
    let admin = token("admin", "admin", &users)?;
    let agent = agent(&["--auth-file", users.to_str().context("a path in UTF-8")?])?;
    let long = "x".repeat(9 * 1024);
    for bytes in [
        get(&format!("/{long}"), ""),
        get("/metrics", &format!("X-Long: {long}\r\n")),
        get("/metrics", &"a: b\r\n".repeat(3_000)),
    ] {
        let status = status_of(&agent, &bytes)?;
        // hyper answers a long target by 414, all else by 431.
        assert!([431, 414].contains(&status), "{status}");
    }
    let body = "x".repeat(65 * 1024);
    let form = |length: usize, body: &str| {
        format!(
            "POST /plugins HTTP/1.1\r\nHost: localhost\r\nKong-Admin-Token: {admin}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    assert_eq!(status_of(&agent, &form(body.len(), &body))?, 413);
    assert_eq!(status_of(&agent, &form(usize::MAX / 2, "name=prometheus"))?, 413);
    let chunked = format!(
        "POST /plugins HTTP/1.1\r\nHost: localhost\r\nKong-Admin-Token: {admin}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(20)
    );
    assert_eq!(status_of(&agent, chunked.as_bytes())?, 413);
    Ok(())
}

#[test]
fn slow_requests_are_cut_off_and_hold_up_nobody() -> Result<()> {
    let _alone = alone()?;
    let agent = agent(&[])?;
    let start = Instant::now();
    let mut slow = Vec::new();
    for bytes in ["", "GET /metrics HTTP/1.1\r\nHo", "POST /metrics HTTP/1.1\r\nHost: localhost\r\n"] {
        let mut client = Client::connect(agent.address())?;
        client.send(bytes.as_bytes())?;
        slow.push(client);
    }
    assert_eq!(agent.get("/metrics")?.status, 200);
    for mut client in slow {
        // An answer, if any, is a refusal.
        let answer = String::from_utf8_lossy(&client.rest()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }
    let elapsed = start.elapsed();
    assert!(elapsed >= PATIENCE_OF_THE_SERVER, "cut off after {elapsed:?} already");
    Ok(())
}

#[test]
fn paths_are_taken_as_they_are_written() -> Result<()> {
    let _alone = alone()?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port},paths=/metrics");
    let agent = agent(&["--listen", &listen])?;
    let ask = |port: u16, path: &str| -> Result<u16> {
        let mut client = Client::connect(([127, 0, 0, 1], port).into())?;
        client.send(&get(path, ""))?;
        Ok(client.response(false).map_or(0, |response| response.status))
    };
    let own = agent.address().port();
    assert_eq!(ask(own, "/plugins")?, 200, "the other listener has no rules");
    for path in ["/metrics", "/metrics?", "/metrics?x=/plugins"] {
        assert_eq!(ask(port, path)?, 200, "{path}");
    }
    for path in [
        "/",
        "/plugins",
        "/ready",
        "/metrics/",
        "/metrics/x",
        "/metrics/../plugins",
        "/metrics/..",
        "/metrics/%2e%2e/plugins",
        "/metrics%2f..%2fplugins",
        "/metrics;/plugins",
        "/metrics%00",
        "/metrics\\..\\plugins",
        "//plugins",
        "/./plugins",
        "//metrics",
        "/%6detrics",
        "/METRICS",
        "/Plugins",
    ] {
        let status = ask(port, path)?;
        assert!([0, 400, 404].contains(&status), "{status} for {path}");
        if path != "/" && path != "/plugins" && path != "/ready" {
            let status = ask(own, path)?;
            assert!([0, 400, 404].contains(&status), "{status} for {path} without rules");
        }
    }
    // The whole address is the proxy's way to write it; its path counts.
    assert_eq!(ask(port, "http://localhost/plugins")?, 404);
    Ok(())
}
