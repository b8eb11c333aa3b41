//! `observer top` in a pseudo-terminal, on a gateway at work.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::agent::{command, run, token};
use observer_tests::nginx::config::Config;
use observer_tests::terminal::Terminal;
use observer_tests::tools::Certificate;
use observer_tests::traffic::Background;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Request, Upstream};
use tempfile::TempDir;

const ENTER: &str = "\r";
const ESCAPE: &str = "\u{1b}";
const DOWN: &str = "\u{1b}[B";

fn line<'a>(text: &'a str, start: &str) -> Result<&'a str> {
    text.lines().find(|line| line.starts_with(start)).with_context(|| format!("no line {start} in\n{text}"))
}

#[test]
fn a_person_on_call_sees_sorts_filters_and_opens_services() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).service("beta", upstream.address()).start()?;
    let folder = TempDir::new()?;
    let url = format!("unix:{}", folder.path().join("observer.sock").display());
    let mut agent = Agent::start(&[nginx.selector()], &["--listen", &url])?;
    let good = Background::start(nginx.address(), &Request::get("/alpha/delay/2"), 2);
    let bad = Background::start(nginx.address(), &Request::get("/beta/delay/30/status/503"), 1);

    let mut terminal = Terminal::run(command()?.args(["top", "--url", &url]), 80, 24)?;
    let busy = terminal.until("both services have rates", |text| {
        let has_rate = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)).is_some_and(|rate| rate != "0")
        };
        has_rate("alpha ") && has_rate("beta ")
    })?;
    assert!(terminal.has_own_screen());
    assert!(line(&busy, "observer ")?.contains(" req/s"), "{busy}");
    assert!(line(&busy, "gateway ")?.contains("nginx (pid "), "{busy}");
    assert!(line(&busy, "clients ")?.contains("3 connections"), "{busy}");
    assert!(line(&busy, "loss ")?.contains("none"), "{busy}");
    assert!(line(&busy, "observer   ")?.contains("% of a CPU"), "{busy}");
    let fields: Vec<&str> = line(&busy, "beta ")?.split_whitespace().collect();
    assert_eq!((fields.len(), fields[2], fields[5]), (12, "0", "100"), "shares of 2xx and 5xx: {busy}");
    let median: f64 = fields[6].parse()?;
    assert!((20.0..100.0).contains(&median), "30 ms and some: {busy}");

    // Sorted by 5xx the bad one is first, and the bar is on it.
    terminal.press("s")?;
    terminal.until("sorted by 5xx", |text| {
        let at = |name: &str| text.lines().position(|line| line.starts_with(name));
        text.contains(", by 5xx, most first") && at("beta ") < at("alpha ")
    })?;
    terminal.press(ENTER)?;
    let opened = terminal.until("the service is open", |text| text.contains("service beta"))?;
    for part in ["status ", "503 ", "target ", "request latency, ms", "█", "≤ "] {
        assert!(opened.contains(part), "{part} in\n{opened}");
    }
    assert!(opened.contains(&upstream.address().to_string()), "{opened}");
    terminal.press(ESCAPE)?;
    terminal.until("the table is back", |text| text.contains("2 services, by 5xx"))?;
    terminal.press("/alp")?;
    terminal.press(ENTER)?;
    let filtered = terminal.until("filtered", |text| text.contains("1 of 2 services with \"alp\""))?;
    assert!(!filtered.contains("\nbeta "), "{filtered}");

    terminal.resize(150, 40)?;
    terminal.until("a wide screen has all latencies", |text| text.contains("k50") && text.contains("u99"))?;
    terminal.press("p")?;
    let paused = terminal.until("paused", |text| text.contains("PAUSED"))?;
    good.stop()?;
    bad.stop()?;
    terminal.press(DOWN)?;
    assert_eq!(line(&terminal.text(), "alpha ")?, line(&paused, "alpha ")?, "nothing moves while it is paused");

    let mut other = Terminal::run(command()?.args(["top", "--url", &url]), 80, 24)?;
    other.until("another one shows the services", |text| text.contains("2 services"))?;
    other.signal(Signal::SIGTERM)?;
    assert!(other.wait()?.success());
    other.until_given_back()?;

    agent.end(Signal::SIGTERM)?;
    terminal.until("the agent's end is told", |text| text.contains("NO ANSWER"))?;
    terminal.press("q")?;
    assert!(terminal.wait()?.success());
    terminal.until_given_back()
}

#[test]
fn a_script_gets_a_plain_table_over_http_and_https() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let folder = TempDir::new()?;
    let certificate = Certificate::make(folder.path())?;
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let (users, file) = (folder.path().join("users"), folder.path().join("token"));
    std::fs::write(&file, token("reader", "metrics", &users)?)?;
    let port = free_port()?;
    let (cert, key) = (text(&certificate.cert)?, text(&certificate.key)?);
    let listen = format!("127.0.0.1:{port},cert={cert},key={key}");
    let agent = Agent::start(&[nginx.selector()], &["--auth-file", &text(&users)?, "--listen", &listen])?;
    let traffic = Background::start(nginx.address(), &Request::get("/alpha/delay/5"), 2);
    let plain = format!("http://{}", agent.address());
    let encrypted = format!("https://localhost:{port}");
    for url in [&plain, &encrypted] {
        let arguments = ["top", "--once", "--url", url, "--token-file", &text(&file)?];
        let ended = match url == &encrypted {
            true => run(&[&arguments[..], &["--ca", &cert]].concat())?,
            false => run(&arguments)?,
        };
        ensure!(ended.code == Some(0), "{}", ended.stderr);
        let lines: Vec<Vec<&str>> = ended.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!((lines.len(), lines[0][0], lines[0].len()), (2, "SERVICE", lines[1].len()), "{}", ended.stdout);
        let rate: f64 = lines[1][1].parse()?;
        assert!(lines[1][0] == "alpha" && rate > 10.0 && lines[1][2] == "100", "{}", ended.stdout);
    }
    traffic.stop()?;
    for (arguments, expected) in [
        (vec!["top", "--url", &plain], "--token-file"),
        (vec!["top", "--url", &encrypted], "--ca"),
        (vec!["top", "--once", "--url", "unix:/nowhere"], "is not to be reached"),
    ] {
        let ended = run(&arguments)?;
        assert_eq!((ended.code == Some(0), ended.stderr.lines().count()), (false, 1), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
    Ok(())
}
