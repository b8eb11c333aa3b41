//! Every example of docs/http.md, run as it stands there but for its ports and folders.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{binary, finish};
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::wire::{Framing, Wire};
use observer_tests::{Client, Nginx, Request, Upstream};
use tempfile::TempDir;

const PAGE: &str = include_str!("../../docs/http.md");

/// A fenced block: its kind and its text.
type Block<'a> = (&'a str, &'a str);

/// Headings with the blocks below them.
fn sections() -> Vec<(&'static str, Vec<Block<'static>>)> {
    let sections = PAGE.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (heading, text) = section.split_once('\n').unwrap_or((section, ""));
            let blocks = text.split("```").skip(1).step_by(2);
            (heading, blocks.map(|block| block.split_once('\n').unwrap_or((block, ""))).collect())
        })
        .collect()
}

/// Where the examples run: their ports and folders stand for others here.
struct Place {
    folder: TempDir,
    replaced: Vec<(String, String)>,
    port: u16,
    agents: Vec<Process>,
}

impl Place {
    fn new(nginx: &Nginx) -> Result<Self> {
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("etc"))?;
        let within = |name: &str| folder.path().join(name).display().to_string();
        let (port, second) = (free_port()?, free_port()?);
        let replaced = [
            ("9542", port.to_string()),
            ("9543", second.to_string()),
            ("8000", nginx.port().to_string()),
            ("/etc/observer", within("etc")),
            ("/var/lib/observer", within("state")),
            ("/run/observer.sock", within("observer.sock")),
        ];
        let replaced = replaced.map(|(from, to)| (from.to_owned(), to)).to_vec();
        std::os::unix::fs::symlink(binary()?, folder.path().join("observer"))?;
        Ok(Self { folder, replaced, port, agents: Vec::new() })
    }

    fn here(&self, text: &str) -> String {
        self.replaced.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }

    /// Runs a block line by line; agents stay. Gives what its last line has printed.
    fn run(&mut self, block: &str) -> Result<String> {
        let mut printed = String::new();
        for line in block.lines() {
            let is_agent = line.starts_with("observer --");
            let listens = if line.contains("--listen") { "" } else { " --listen 127.0.0.1:9542" };
            let line = if is_agent { format!("exec {line}{listens}") } else { line.to_owned() };
            let mut shell = Command::new("sh");
            shell.arg("-ec").arg(self.here(&line)).current_dir(self.folder.path()).env("PATH", self.path()?);
            if is_agent {
                ensure!(self.agents.is_empty(), "two agents in one section would want the same port");
                self.agents.push(Process::spawn(&mut shell)?);
                self.until_ready()?;
                continue;
            }
            let done = finish(&mut shell)?;
            ensure!(done.code == Some(0), "{line}: {:?} {}", done.code, done.stderr);
            printed = done.stdout;
        }
        Ok(printed)
    }

    fn path(&self) -> Result<String> {
        let others = std::env::var("PATH").context("a PATH")?;
        Ok(format!("{}:{others}", self.folder.path().display()))
    }

    fn until_ready(&mut self) -> Result<()> {
        let (port, agent) = (self.port, self.agents.last_mut().context("an agent")?);
        until_true("the agent is ready", PATIENCE, || {
            ensure!(agent.ended()?.is_none(), "the agent ended at once: {}", agent.stderr());
            let Ok(mut client) = Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))) else {
                return Ok(false);
            };
            // A listener with a list of its own refuses even this; it serves all the same.
            Ok([200, 403].contains(&client.exchange(&Request::get("/ready").close())?.status))
        })
    }
}

#[test]
fn every_example_runs_and_prints_what_stands_below_it() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let mut lines = 0;
    for (heading, blocks) in sections() {
        let mut place = Place::new(&nginx)?;
        let kong = Kong::start()?;
        place.replaced.push(("localhost:8001".into(), format!("localhost:{}", kong.port)));
        let mut printed = String::new();
        for (kind, block) in blocks {
            let mut run = || -> Result<()> {
                match kind {
                    "sh" => printed = place.run(block)?,
                    "text" => {
                        for line in block.lines() {
                            ensure!(printed.contains(line), "{line:?} is not in what was printed:\n{printed}");
                        }
                    }
                    "yaml" => check_prometheus(&place, block)?,
                    "nginx" => check_route(&place, block)?,
                    _ => anyhow::bail!("nobody runs blocks of the kind {kind:?}"),
                }
                Ok(())
            };
            run().with_context(|| format!("in the section {heading:?}"))?;
            lines += block.lines().count();
        }
        kong.check(&place, heading)?;
    }
    assert!(lines > 50, "the page's blocks were not found");
    Ok(())
}

/// Prometheus takes it, with the files that it names.
fn check_prometheus(place: &Place, block: &str) -> Result<()> {
    for file in ["token", "cert.pem"] {
        fs::write(place.folder.path().join("etc").join(file), "")?;
    }
    let file = place.folder.path().join("prometheus.yml");
    fs::write(&file, place.here(block))?;
    let checked = finish(Command::new("promtool").args(["check", "config", "--syntax-only"]).arg(&file))?;
    ensure!(checked.code == Some(0), "promtool: {}{}", checked.stdout, checked.stderr);
    Ok(())
}

/// nginx takes it, and refuses this host, which is not on its list.
fn check_route(place: &Place, block: &str) -> Result<()> {
    let nginx = Config::new()?.server(&place.here(block)).start()?;
    let answer = Client::connect(nginx.address())?.exchange(&Request::get("/metrics").close())?;
    ensure!(answer.status == 403, "the route answers {}", answer.status);
    Ok(())
}

/// A stand-in for Kong's Admin API that makes everything and keeps what it was asked.
struct Kong {
    port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Kong {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let (port, asked) = (listener.local_addr()?.port(), Arc::default());
        let kept: Arc<Mutex<Vec<String>>> = Arc::clone(&asked);
        // It ends with the test's process.
        thread::spawn(move || -> Result<()> {
            for stream in listener.incoming() {
                let mut wire = Wire::new(stream?);
                let Some(head) = wire.head()? else { continue };
                let body = wire.body(head.framing(Framing::Length(0)))?;
                let text = format!("{} {}", head.start_line, String::from_utf8_lossy(&body));
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(text);
                wire.stream().write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")?;
            }
            Ok(())
        });
        Ok(Self { port, asked })
    }

    /// The recipe's service leads to the observer's metrics.
    fn check(&self, place: &Place, heading: &str) -> Result<()> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if heading != "Behind the gateway" {
            ensure!(asked.is_empty(), "{heading} asked Kong: {asked:?}");
            return Ok(());
        }
        let expected = [
            format!("POST /services HTTP/1.1 name=prometheusEndpoint&url=http://localhost:{}/metrics", place.port),
            "POST /services/prometheusEndpoint/routes HTTP/1.1 paths[]=/metrics".to_owned(),
            "POST /services/prometheusEndpoint/plugins HTTP/1.1 name=ip-restriction&config.whitelist=10.0.0.0/24"
                .to_owned(),
        ];
        ensure!(*asked == expected, "Kong was asked {asked:#?}");
        Ok(())
    }
}

#[test]
fn the_readme_points_to_the_page() {
    let readme = include_str!("../../README.md");
    assert!(readme.contains("docs/http.md"));
    assert!(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/http.md")).exists());
}
