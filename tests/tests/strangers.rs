//! Who strangers may pretend to be on the metrics' port.

use anyhow::{Context, Result};
use observer_tests::agent::{run, token};
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Client, Request};
use tempfile::TempDir;

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
fn tokens_count_in_their_own_headers_alone() -> Result<()> {
    let _alone = alone()?;
    let folder = TempDir::new()?;
    let users = folder.path().join("users");
    let file = users.to_str().context("a path in UTF-8")?;
    let (reader, admin) = (token("reader", "metrics", &users)?, token("admin", "admin", &users)?);
    let agent = agent(&["--auth-file", file])?;
    let ask = |path: &str, lines: &str| status_of(&agent, &get(path, lines));
    for line in [
        format!("Kong-Admin-Token: {reader}\r\n"),
        format!("Authorization: Bearer {reader}\r\n"),
        format!("authorization: bearer {reader}\r\n"),
        format!("Kong-Admin-Token: {admin}\r\n"),
    ] {
        assert_eq!(ask("/metrics", &line)?, 200);
    }
    let half = &reader[..reader.len() / 2];
    for line in [
        String::new(),
        format!("Kong-Admin-Token: {half}\r\n"),
        format!("Kong-Admin-Token: {reader}x\r\n"),
        format!("Kong-Admin-Token: Bearer {reader}\r\n"),
        "Kong-Admin-Token: \r\n".to_owned(),
        format!("Authorization: {reader}\r\n"),
        format!("Authorization: Token {reader}\r\n"),
        "Authorization: Basic !!!\r\n".to_owned(),
        format!("X-Token: {reader}\r\n"),
        format!("apikey: {reader}\r\n"),
        format!("Cookie: token={reader}\r\n"),
        format!("Proxy-Authorization: Bearer {reader}\r\n"),
    ] {
        assert_eq!(ask("/metrics", &line)?, 401, "{}", line.replace(&reader, "TOKEN"));
    }
    assert_eq!(ask(&format!("/metrics?token={reader}"), "")?, 401);
    let change = |token: &str| {
        let bytes = format!(
            "POST /plugins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nKong-Admin-Token: {token}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 15\r\n\r\nname=prometheus"
        );
        status_of(&agent, bytes.as_bytes())
    };
    assert_eq!((change(&reader)?, change(&admin)?), (403, 409));
    let failures = agent.ask(&Request::get("/metrics").header("Kong-Admin-Token", &reader).close())?;
    let failures = String::from_utf8(failures.body)?;
    assert!(failures.lines().any(|line| line.starts_with("observer_auth_failures_total{")), "{failures}");
    for secret in [&reader, &admin] {
        assert!(!agent.stderr().contains(secret.as_str()), "a token in the log");
    }
    Ok(())
}

#[test]
fn pages_of_other_origins_and_other_names_change_nothing() -> Result<()> {
    let _alone = alone()?;
    let folder = TempDir::new()?;
    let users = folder.path().join("users");
    let admin = token("admin", "admin", &users)?;
    let agent = agent(&["--auth-file", users.to_str().context("a path in UTF-8")?])?;
    let port = agent.address().port();
    let change = |host: &str, lines: &str| {
        let bytes = format!(
            "POST /plugins HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nKong-Admin-Token: {admin}\r\n{lines}\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 15\r\n\r\nname=prometheus"
        );
        status_of(&agent, bytes.as_bytes())
    };
    let own = format!("localhost:{port}");
    // 409: it is enabled already, so everything before that let the change pass.
    assert_eq!(change(&own, "")?, 409);
    assert_eq!(change(&own, &format!("Origin: http://{own}\r\n"))?, 409);
    for (host, lines) in [
        (own.as_str(), "Origin: http://evil.example\r\n"),
        (&own, "Origin: null\r\n"),
        (&own, &format!("Origin: https://{own}\r\n")),
        (&own, &format!("Origin: http://{own}\r\nOrigin: http://evil.example\r\n")),
        ("evil.example", ""),
        (&format!("evil.example:{port}"), ""),
        ("192.0.2.1", ""),
        ("", ""),
        (&own, &format!("Host: {own}\r\n")),
    ] {
        let status = change(host, lines)?;
        assert!(status == 403 || status == 400, "{status} for {host:?} {lines:?}");
    }
    let preflight = agent.ask(&Request::new("OPTIONS", "/plugins").header("Origin", "http://evil.example").close())?;
    assert_eq!(preflight.status, 405);
    assert_eq!(preflight.head.header("access-control-allow-origin"), None);
    Ok(())
}

#[test]
fn an_address_told_by_nobody_trusted_is_no_address() -> Result<()> {
    let _alone = alone()?;
    let port = free_port()?;
    let listen = format!("127.0.0.1:{port},allow=10.0.0.0/24");
    let agent = agent(&["--listen", &listen])?;
    let ask = |port: u16, lines: &str| -> Result<u16> {
        let mut client = Client::connect(([127, 0, 0, 1], port).into())?;
        client.send(&get("/metrics", lines))?;
        Ok(client.response(false)?.status)
    };
    for line in [
        "",
        "X-Forwarded-For: 10.0.0.5\r\n",
        "X-Forwarded-For: 10.0.0.5, 10.0.0.6\r\n",
        "X-Real-IP: 10.0.0.5\r\n",
        "Forwarded: for=10.0.0.5\r\n",
        "X-Client-IP: 10.0.0.5\r\n",
        "True-Client-IP: 10.0.0.5\r\n",
    ] {
        assert_eq!(ask(port, line)?, 403, "{line}");
    }
    // A local client that speaks for another is not local.
    let own = agent.address().port();
    assert_eq!(ask(own, "")?, 200);
    for line in ["X-Forwarded-For: 127.0.0.1", "X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 kong"] {
        let (name, value) = line.split_once(": ").context("a header")?;
        for path in ["/nginx_status", "/plugins", "/"] {
            let status = agent.ask(&Request::get(path).header(name, value).close())?.status;
            assert_eq!(status, 404, "{path} with {line}");
        }
    }
    Ok(())
}

#[test]
fn networks_and_rules_that_cannot_be_read_end_the_start() -> Result<()> {
    for (option, value, word) in [
        ("--allow", "10.0.0.0/33", "10.0.0.0/24"),
        ("--allow", "10.0.0", "10.0.0.0/24"),
        ("--allow", "fd00::/129", "fd00::/8"),
        ("--allow", "", "10.0.0.0/24"),
        ("--allow", "10.0.0.0/24,10.1.0.0/24", "10.0.0.0/24"),
        ("--trust-proxy", "localhost", "10.0.0.0/24"),
        ("--listen", "127.0.0.1:0,allow=10.0.0.0/99", "allow="),
        ("--listen", "127.0.0.1:0,colour=red", "paths="),
        ("--listen", "127.0.0.1:0,paths=metrics", "/metrics"),
        ("--listen", "127.0.0.1:0,cert=a.pem", "key="),
        ("--listen", "127.0.0.1:0,mode=0600", "mode="),
        ("--listen", "unix:relative.sock", "unix:/PATH"),
    ] {
        let refused = run(&[option, value])?;
        assert_eq!(refused.code, Some(2), "{option} {value}: {}", refused.stderr);
        assert!(refused.stderr.contains(word), "{option} {value}: {}", refused.stderr);
    }
    let open = run(&["--listen", "0.0.0.0:0"])?;
    assert_eq!(open.code, Some(2));
    assert!(open.stderr.contains("--insecure") && open.stderr.contains("--allow"), "{}", open.stderr);
    Ok(())
}
