//! Every example of docs, run as it stands there but for its ports and folders.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{binary, finish};
use observer_tests::kong_admin::{KongAdmin, KongService};
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::wire::{Framing, Wire};
use observer_tests::{Client, Nginx, Request, Upstream};
use tempfile::TempDir;

/// A page's name and its text.
type Page = (&'static str, &'static str);

const PAGES: [Page; 9] = [
    ("configure.md", include_str!("../../docs/configure.md")),
    ("how-it-works.md", include_str!("../../docs/how-it-works.md")),
    ("http.md", include_str!("../../docs/http.md")),
    ("install.md", include_str!("../../docs/install.md")),
    ("live.md", include_str!("../../docs/live.md")),
    ("metrics.md", include_str!("../../docs/metrics.md")),
    ("prometheus.md", include_str!("../../docs/prometheus.md")),
    ("questions.md", include_str!("../../docs/questions.md")),
    ("secure.md", include_str!("../../docs/secure.md")),
];

/// A fenced block: its kind and its text.
type Block<'a> = (&'a str, &'a str);

/// Headings with the blocks below them.
fn sections(page: &'static str) -> Vec<(&'static str, Vec<Block<'static>>)> {
    let sections = page.split("\n## ").skip(1);
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
    /// The line whose output the block below it shows.
    last: String,
}

impl Place {
    fn new(nginx: &Nginx, upstream: &Upstream, admin: &KongAdmin) -> Result<Self> {
        let folder = TempDir::new()?;
        fs::create_dir(folder.path().join("etc"))?;
        let within = |name: &str| folder.path().join(name).display().to_string();
        let (port, second) = (free_port()?, free_port()?);
        let replaced = [
            ("9542", port.to_string()),
            ("9543", second.to_string()),
            ("8000", nginx.port().to_string()),
            ("127.0.0.1:7000", upstream.address().to_string()),
            ("http://127.0.0.1:8001", admin.url()),
            ("/etc/observer", within("etc")),
            ("/var/lib/observer", within("state")),
            ("/run/observer.sock", within("observer.sock")),
        ];
        let replaced = replaced.map(|(from, to)| (from.to_owned(), to)).to_vec();
        std::os::unix::fs::symlink(binary()?, folder.path().join("observer"))?;
        std::os::unix::fs::symlink(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"), folder.path().join("deploy"))?;
        std::os::unix::fs::symlink(nginx.conf(), folder.path().join("nginx.conf"))?;
        Ok(Self { folder, replaced, port, agents: Vec::new(), last: String::new() })
    }

    /// In one pass: what stands for something may itself look like something to replace, as the port 28000 does.
    fn here(&self, text: &str) -> String {
        let (mut here, mut rest) = (String::new(), text);
        while let Some((at, from, to)) = self.next_replaced(rest) {
            here += &rest[..at];
            here += to;
            rest = &rest[at + from.len()..];
        }
        here + rest
    }

    fn next_replaced(&self, text: &str) -> Option<(usize, &str, &str)> {
        let found = self.replaced.iter().filter_map(|(from, to)| Some((text.find(from.as_str())?, &**from, &**to)));
        found.min_by_key(|(at, ..)| *at)
    }

    /// Runs a block line by line; agents stay.
    fn run(&mut self, block: &str) -> Result<()> {
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
            self.last = line;
            fs::write(self.folder.path().join("printed"), done.stdout)?;
        }
        Ok(())
    }

    /// Fails unless the last line has printed all of these lines. A page that is read right after a request may need
    /// to be read again.
    fn shows(&mut self, lines: &str) -> Result<()> {
        let here = self.here(lines);
        let mut printed = String::new();
        until_true("the output is as shown", PATIENCE, || {
            printed = fs::read_to_string(self.folder.path().join("printed"))?;
            if here.lines().all(|line| printed.contains(line)) {
                return Ok(true);
            }
            let reads = ["curl ", "observer top "].iter().any(|reader| self.last.starts_with(reader))
                && !self.last.contains(" -d ");
            ensure!(reads, "not printed");
            let again = self.last.clone();
            self.run(&again)?;
            Ok(false)
        })
        .with_context(|| format!("{lines:?} is not in what {:?} has printed:\n{printed}", self.last))
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
    let admin = KongAdmin::start(KongService { name: "alpha".into(), address: upstream.address().to_string() })?;
    for (name, page) in PAGES {
        let mut lines = 0;
        for (heading, blocks) in sections(page) {
            let mut place = Place::new(&nginx, &upstream, &admin)?;
            let kong = Kong::start()?;
            place.replaced.push(("localhost:8001".into(), format!("localhost:{}", kong.port)));
            for (kind, block) in blocks {
                try_block(&mut place, kind, block).with_context(|| format!("in {name}, section {heading:?}"))?;
                lines += block.lines().count();
            }
            kong.check(&place, heading)?;
        }
        ensure!(lines > 3 || !page.contains("```sh"), "{name}: the page's blocks were not found");
    }
    Ok(())
}

fn try_block(place: &mut Place, kind: &str, block: &str) -> Result<()> {
    match kind.split_once(' ').unwrap_or((kind, "")) {
        ("sh", "") => place.run(block),
        // What needs what is not here; the page says so. `package.rs` runs the others.
        ("sh", "unrun" | "package" | "tarball") => Ok(()),
        ("text", "") if place.last.is_empty() => Ok(()),
        ("text", "") => place.shows(block),
        ("yaml", "") => check_prometheus(place, block),
        ("yaml", file) => Ok(fs::write(place.folder.path().join(file), place.here(block))?),
        ("nginx", "") => check_route(place, block),
        _ => anyhow::bail!("nobody runs blocks of the kind {kind:?}"),
    }
}

/// What is not run is said to be unrun, where it stands.
#[test]
fn what_no_test_runs_is_said_to_be_unrun() {
    for (name, page) in PAGES {
        for section in page.split("\n## ").skip(1) {
            let text: String = section.split("```").step_by(2).collect();
            let is_unrun = section.contains("```sh unrun");
            assert!(!is_unrun || text.contains("Unrun"), "{name}: {section}");
        }
    }
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
fn the_readme_points_to_every_page() -> Result<()> {
    let readme = include_str!("../../README.md");
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(readme.contains(&format!("(docs/{name})")), "{name} is not in the README");
        let is_page = name.ends_with(".md");
        assert!(!is_page || PAGES.iter().any(|(page, _)| *page == name), "{name} is run by no test");
    }
    Ok(())
}
