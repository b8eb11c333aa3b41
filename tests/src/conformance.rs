//! A family of cases: each drives nginx with hand-made bytes and compares what the agent counted for it with the lines
//! that nginx logged for it.
//!
//! Every case states its [`Class`]. The cases of a bench share one nginx and one agent and are told apart by the growth
//! of the counters; a case that fails does not stop the others.

mod case;
mod judge;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::agent::{Agent, FRESHNESS};
use crate::agent_config::AgentConfig;
use crate::exposition::Exposition;
use crate::nginx::Nginx;
use crate::nginx::access_log::Line;
use crate::nginx::config::Config;
use crate::upstream::Upstream;
use crate::wait::{Alone, PATIENCE, alone, until};

pub use case::{Case, Class};
pub use judge::{check_identity, check_unattributed, service_of};

use judge::{finished, judge};

/// The agent has counted a finished request long before this.
const COUNTING_LIMIT: Duration = Duration::from_secs(5);

/// Set to anything, it makes each case tell when it is done.
const PROGRESS: &str = "OBSERVER_TESTS_PROGRESS";

/// Where nginx speaks TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Link {
    /// With clients, in these versions (`ssl_protocols`).
    pub client_tls: Option<&'static str>,
    /// With upstreams.
    pub upstream_tls: bool,
}

/// TLS wherever it can be.
pub const TLS: Link = Link { client_tls: Some("TLSv1.3"), upstream_tls: true };

/// One family, its benches run one after the other.
#[derive(Debug)]
pub struct Family {
    name: &'static str,
    link: Link,
    outcomes: Vec<(Case, Result<()>)>,
    _alone: Alone,
}

/// An nginx, an agent that watches it, and the cases run on them.
#[derive(Debug)]
pub struct Bench<'a> {
    family: &'a mut Family,
    /// The upstream behind `/alpha/`.
    pub upstream: Upstream,
    /// The agent; dropped before nginx, whose end it would follow.
    pub agent: Agent,
    /// The nginx under observation.
    pub nginx: Nginx,
    services: Vec<&'static str>,
    logged: usize,
    _folder: TempDir,
}

impl Family {
    /// Waits until no other test runs.
    pub fn new(name: &'static str) -> Result<Self> {
        Self::over(name, Link::default())
    }

    /// The same over TLS.
    pub fn over(name: &'static str, link: Link) -> Result<Self> {
        Ok(Self { name, link, outcomes: Vec::new(), _alone: alone()? })
    }

    /// What nginx speaks.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Starts nginx with `directives` in its server, a scripted upstream behind `/alpha/`, and an agent. Requests under
    /// `/own/` and `/static/` that nginx answers itself are those services', and so are the files in their folders.
    pub fn bench(&mut self, configure: impl FnOnce(Config) -> Config) -> Result<Bench<'_>> {
        let upstream = if self.link.upstream_tls { Upstream::tls()? } else { Upstream::ipv4()? };
        let mut config = Config::new()?.service("alpha", upstream.address());
        if let Some(versions) = self.link.client_tls {
            config = config.tls(versions);
        }
        if self.link.upstream_tls {
            config = config.upstream_tls();
        }
        let nginx = configure(config).start()?;
        for folder in ["own", "static"] {
            fs::create_dir(nginx.files().join(folder))?;
        }
        // Nothing is ever sent to port 1.
        let nowhere = "127.0.0.1:1".to_owned();
        let services = [("alpha", upstream.address().to_string()), ("own", nowhere.clone()), ("static", nowhere)];
        self.observe(nginx, upstream, &services, &[])
    }

    /// Starts an agent that watches `nginx` and knows these services: each has its name, its server's address, and the
    /// requests under `/NAME`. The agent gets further `arguments`.
    pub fn observe(
        &mut self,
        nginx: Nginx,
        upstream: Upstream,
        services: &[(&'static str, String)],
        arguments: &[&str],
    ) -> Result<Bench<'_>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("services.yaml");
        let known = services
            .iter()
            .fold(AgentConfig::new(), |known, (name, address)| known.service(name, address, &format!("/{name}")));
        fs::write(&file, known.own())?;
        let arguments = [&["--config", file.to_str().context("path")?], arguments].concat();
        let logged = nginx.log_so_far()?.len();
        let agent = Agent::start(&[nginx.selector()], &arguments)?;
        let services = services.iter().map(|(name, _)| *name).collect();
        Ok(Bench { family: self, upstream, agent, nginx, services, logged, _folder: folder })
    }

    /// Adds the outcome of a case that has a gateway and an agent of its own.
    pub fn claim(&mut self, case: Case, outcome: Result<()>) {
        self.outcomes.push((case, outcome));
    }

    fn keep(&mut self, case: Case, outcome: Result<()>) {
        if std::env::var_os(PROGRESS).is_some() {
            let _ = writeln!(io::stderr(), "{}: {}", case.name, if outcome.is_ok() { "pass" } else { "FAIL" });
        }
        self.outcomes.push((case, outcome));
    }

    /// Prints what passed. Error if a case failed.
    pub fn finish(self) -> Result<()> {
        let failed: Vec<String> = self
            .outcomes
            .iter()
            .filter_map(|(case, outcome)| Some(format!("{}: {:#}", case.name, outcome.as_ref().err()?)))
            .collect();
        // Past the test runner's capture: the table is wanted when all is well, too.
        io::stderr().write_all(self.table().as_bytes())?;
        ensure!(failed.is_empty(), "{} of {} cases failed:\n{}", failed.len(), self.outcomes.len(), failed.join("\n"));
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = format!("\n{}\n", self.name);
        for (case, outcome) in &self.outcomes {
            let verdict = if outcome.is_ok() { "pass" } else { "FAIL" };
            let _ = writeln!(table, "  {verdict}  {:<44} {}", case.class.to_string(), case.name);
        }
        let mut classes: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (case, outcome) in &self.outcomes {
            let (passed, all) = classes.entry(case.class.kind()).or_default();
            *passed += usize::from(outcome.is_ok());
            *all += 1;
        }
        for (kind, (passed, all)) in classes {
            let _ = writeln!(table, "  {kind}: {passed} of {all} passed");
        }
        table
    }
}

impl Bench<'_> {
    /// What its nginx speaks.
    pub fn link(&self) -> Link {
        self.family.link
    }

    /// Runs a case: `drive` sends the bytes and ends its connections or leaves them idle.
    pub fn case(&mut self, case: Case, drive: impl FnOnce(&Self) -> Result<()>) {
        let outcome = self.run(&case, drive).map(drop);
        self.family.keep(case, outcome);
    }

    /// As [`Bench::case`], and hands on the lines that nginx logged, for a proof.
    pub fn case_with_lines(&mut self, case: Case, drive: impl FnOnce(&Self) -> Result<()>) -> Vec<Line> {
        let outcome = self.run(&case, drive);
        let lines = outcome.as_ref().map_or_else(|_| Vec::new(), Clone::clone);
        self.family.keep(case, outcome.map(drop));
        lines
    }

    /// Adds the outcome of something that is no traffic.
    pub fn claim(&mut self, case: Case, holds: bool, otherwise: impl Into<String>) {
        let outcome = if holds { Ok(()) } else { Err(anyhow::anyhow!(otherwise.into())) };
        self.family.keep(case, outcome);
    }

    fn run(&mut self, case: &Case, drive: impl FnOnce(&Self) -> Result<()>) -> Result<Vec<Line>> {
        let before = self.agent.scrape()?;
        let not_idle = self.nginx.time_not_idle()?;
        let began = Instant::now();
        let driven = drive(self);
        let waited = if case.waits_for_disk { began.elapsed() } else { Duration::ZERO };
        let expected = self.logged + case.lines;
        let lines = self.nginx.log(expected).map(|lines| lines[self.logged..].to_vec());
        let _ = until("the agent has counted all", COUNTING_LIMIT, || {
            let grown = self.agent.scrape()?.since(&before);
            let ended = finished(&grown) + grown.sum("observer_exchanges_unobserved_total");
            Ok((ended >= case.lines as f64).then_some(()))
        });
        let longest_pass = self.nginx.time_not_idle()?.saturating_sub(not_idle).max(waited);
        thread::sleep(FRESHNESS);
        let grown = self.agent.scrape()?.since(&before);
        // Whatever went wrong, the next case begins with the lines behind.
        self.logged = self.nginx.log_so_far()?.len();
        driven?;
        let lines = lines?;
        let judged = judge(case, &self.services, &lines, &grown, longest_pass);
        judged.with_context(|| format!("{}\nthe agent's stderr:\n{}", briefly(&lines), self.agent.stderr()))?;
        Ok(lines)
    }
}

/// The gauge equals stub_status, where both see the same connections. The counts since the start are compared by the
/// caller, who knows when nginx's began.
pub fn gauge_is_nginxs(agent: &Agent, nginx: &Nginx) -> Result<()> {
    gauge_is_nginxs_but_for(agent, nginx, 0.0)
}

/// The same where nginx may count so many connections as writing that the observer takes for waiting: those of workers that
/// were killed behind an answer.
pub fn gauge_is_nginxs_but_for(agent: &Agent, nginx: &Nginx, uncertain: f64) -> Result<()> {
    let state =
        |now: &Exposition, name: &str| now.value(&format!("kong_nginx_http_current_connections{{state=\"{name}\"}}"));
    let mut seen = String::new();
    until("the gauge equals stub_status", PATIENCE, || {
        let status = nginx.stub_status()?;
        let expected = [status.active, status.reading, status.writing, status.waiting].map(|value| value as f64);
        let now = agent.scrape()?;
        let shown = ["active", "reading", "writing", "waiting"].map(|name| state(&now, name));
        seen = format!("{shown:?} shown, {expected:?} expected");
        let moved = expected[2] - shown[2];
        let is_equal = shown[..2] == expected[..2] && shown[3] - expected[3] == moved;
        Ok((is_equal && (0.0..=uncertain).contains(&moved)).then_some(()))
    })
    .with_context(|| seen)
}

/// The first lines of a log, in short.
fn briefly(lines: &[Line]) -> String {
    const SHOWN: usize = 12;
    let mut text = format!("nginx logged {} lines:", lines.len());
    for line in lines.iter().take(SHOWN) {
        let Line { status, request_length, bytes_sent, request_ms, request, .. } = line;
        let upstream_ms = line.upstream_ms();
        let _ = write!(text, "\n{status} {request_length} {bytes_sent} {request_ms} ms {upstream_ms:?} {request:.80}");
    }
    text
}
