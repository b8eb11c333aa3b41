//! `observer tail` on a gateway at work, beside the gateway's own log.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{command, finish, run, token};
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, free_port, until, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream};
use serde_json::Value;
use tempfile::TempDir;

/// A gateway, its agent, and the private socket of that.
struct Stage {
    nginx: Nginx,
    agent: Agent,
    url: String,
    _upstream: Upstream,
    _folder: TempDir,
}

impl Stage {
    fn start(arguments: &[&str]) -> Result<Self> {
        let upstream = Upstream::ipv4()?;
        let dead = format!("127.0.0.1:{}", free_port()?);
        let nginx = Config::new()?
            .upstream("pool", &[&dead, upstream.address()])
            .location("/pool/", "proxy_pass http://pool;")
            .service("alpha", upstream.address())
            .start()?;
        let folder = TempDir::new()?;
        let url = format!("unix:{}", folder.path().join("observer.sock").display());
        let mut all = vec!["--listen", url.as_str()];
        all.extend(arguments);
        let agent = Agent::start(&[nginx.selector()], &all)?;
        Ok(Self { nginx, agent, url, _upstream: upstream, _folder: folder })
    }

    fn ask(&self, target: &str) -> Result<u16> {
        Ok(Client::connect(self.nginx.address())?.exchange(&Request::get(target).close())?.status)
    }

    /// Starts to listen, and asks for `/alpha/first` until that is told: all later requests will be.
    fn tail(&self, arguments: &[&str]) -> Result<Process> {
        let mut command = command()?;
        let mut tail = Process::spawn(command.args(["tail", "--url", &self.url]).args(arguments))?;
        until_true("the tail is told something", PATIENCE, || {
            let ended = tail.ended()?;
            ensure!(ended.is_none(), "it ended: {ended:?}: {}", tail.stderr());
            self.ask("/alpha/first")?;
            Ok(tail.stdout().contains("/alpha/first"))
        })?;
        Ok(tail)
    }
}

fn until_printed(tail: &Process, mark: &str) -> Result<String> {
    until(&format!("{mark} is printed"), PATIENCE, || {
        let text = tail.stdout();
        Ok(text.lines().rev().find(|line| line.contains(mark)).map(str::to_owned))
    })
}

#[test]
fn each_exchange_is_one_line_as_the_gateway_logs_it() -> Result<()> {
    let _alone = alone()?;
    let stage = Stage::start(&[])?;
    let tail = stage.tail(&["--format", "json"])?;
    stage.ask("/alpha/bytes/5000?token=secret")?;
    stage.ask("/pool/delay/60")?;
    let line: Value = serde_json::from_str(&until_printed(&tail, "/alpha/bytes/5000")?)?;
    assert_eq!(
        (&line["method"], &line["path"], &line["status"]),
        (&"GET".into(), &"/alpha/bytes/5000".into(), &200.into())
    );
    assert_eq!((&line["service"], &line["client"], &line["minor"]), (&"alpha".into(), &"127.0.0.1".into(), &1.into()));
    assert_eq!(line["body_bytes"], 5000, "{line}");
    let retried: Value = serde_json::from_str(&until_printed(&tail, "/pool/delay/60")?)?;
    assert_eq!((&retried["service"], &retried["retries"]), (&"pool".into(), &1.into()), "{retried}");
    assert!(retried["upstream_ms"].as_u64() >= Some(60), "{retried}");
    let text = tail.stdout();
    assert!(!text.contains("secret"), "{text}");
    let logged = stage.nginx.log_so_far()?;
    let of = logged.iter().find(|line| line.bytes_sent > 5000).context("a line of the log")?;
    assert_eq!(
        (of.bytes_sent, of.request_length),
        (line["response_bytes"].as_u64().context("bytes")?, line["request_bytes"].as_u64().context("bytes")?,)
    );
    Ok(())
}

#[test]
fn filters_and_formats_choose_what_is_printed() -> Result<()> {
    let _alone = alone()?;
    let stage = Stage::start(&[])?;
    let all = stage.tail(&["--with-query"])?;
    let mut bad = {
        let mut command = command()?;
        let tail = ["tail", "--url", &stage.url, "--status", "5xx", "--service", "alpha", "-n", "1"];
        Process::spawn(command.args(tail).args(["--format", "combined", "--client", "127.0.0.0/8"]))?
    };
    let mut none = {
        let mut command = command()?;
        Process::spawn(command.args(["tail", "--url", &stage.url, "--slower-than", "10s"]))?
    };
    // Which of the two listens first is open: one that is told ends by itself.
    let status = until("the filtered tail is told", PATIENCE, || {
        stage.ask("/pool/status/503")?;
        stage.ask("/alpha/status/503?a=b")?;
        bad.ended()
    })?;
    assert!(status.success(), "{}", bad.stderr());
    let line = bad.stdout();
    assert!(
        line.starts_with("127.0.0.1 - - [") && line.contains("] \"GET /alpha/status/503 HTTP/1.1\" 503 "),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1, "{line}");
    let with_query = until_printed(&all, "/alpha/status/503?a=b")?;
    assert!(with_query.contains(" 503 service=alpha "), "{with_query}");
    assert_eq!(none.stdout(), "", "nothing took so long");
    assert!(none.ended()?.is_none(), "it listens on: {}", none.stderr());
    Ok(())
}

#[test]
fn a_tail_ends_with_its_agent_and_says_so() -> Result<()> {
    let _alone = alone()?;
    let mut stage = Stage::start(&[])?;
    let mut tail = stage.tail(&[])?;
    stage.agent.end(nix::sys::signal::Signal::SIGTERM)?;
    assert_eq!(tail.wait(PATIENCE)?.code(), Some(1));
    assert!(tail.stderr().contains("has ended the stream"), "{}", tail.stderr());
    Ok(())
}

#[test]
fn who_may_not_listen_is_told_what_to_do() -> Result<()> {
    let _alone = alone()?;
    let folder = TempDir::new()?;
    let (users, file) = (folder.path().join("users"), folder.path().join("token"));
    std::fs::write(&file, token("reader", "metrics", &users)?)?;
    let text = |path: &std::path::Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let agent = Agent::start(&[format!("port:{}", free_port()?)], &["--auth-file", &text(&users)?])?;
    let url = format!("http://{}", agent.address());
    for (arguments, expected) in [
        (vec![], "give the file of a token by --token-file"),
        (vec!["--token-file".to_owned(), text(&file)?], "role admin"),
    ] {
        let mut command: Command = command()?;
        let ended = finish(command.args(["tail", "--url", &url]).args(arguments))?;
        assert_eq!((ended.code, ended.stderr.lines().count()), (Some(1), 1), "{}", ended.stderr);
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(expected), "{}", ended.stderr);
    }
    let away = run(&["tail", "--url", &format!("http://127.0.0.1:{}", free_port()?)])?;
    assert!(away.stderr.contains("is not to be reached") && away.stderr.contains("--url"), "{}", away.stderr);
    Ok(())
}
