//! Debian's Prometheus, with its own folder and port.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::Client;
use crate::netstat;
use crate::process::Process;
use crate::request::Request;
use crate::wait::{free_port, until, until_true};

/// It replays its empty log and looks at its disk before it serves.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Prometheus. Dropping it kills it; its folder goes with it.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    listen: SocketAddr,
    _folder: TempDir,
}

/// One series of an instant query's result.
#[derive(Debug, Clone)]
pub struct Sample {
    /// All labels, as JSON.
    pub labels: Value,
    /// Its value; NaN where there is none.
    pub value: f64,
}

impl Prometheus {
    /// Starts one that scrapes by these `scrape_configs` (YAML) every second, and waits until it serves. Other parts of its
    /// configuration, as `rule_files`, may follow them.
    pub fn start(scrape_configs: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let config = folder.path().join("prometheus.yml");
        let global = "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n";
        fs::write(&config, format!("{global}scrape_configs:\n{scrape_configs}"))?;
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let mut command = Command::new("prometheus");
        command.arg("--config.file").arg(&config).arg("--storage.tsdb.path").arg(folder.path().join("data"));
        command.args(["--web.listen-address", &listen.to_string(), "--log.level", "warn"]);
        let mut started = Self { process: Process::spawn(&mut command)?, listen, _folder: folder };
        started.until_ready()?;
        Ok(started)
    }

    fn until_ready(&mut self) -> Result<()> {
        until_true("Prometheus is ready", START_LIMIT, || {
            let ended = self.process.ended()?;
            ensure!(ended.is_none(), "it ended at once: {ended:?}");
            Ok(netstat::listens(self.listen.port())? && self.get("/-/ready")?.0 == 200)
        })
        .with_context(|| format!("Prometheus's stderr:\n{}", self.process.stderr()))
    }

    /// The result of an instant query.
    pub fn query(&self, query: &str) -> Result<Vec<Sample>> {
        let (status, body) = self.get(&format!("/api/v1/query?query={}", percent_encoded(query)))?;
        ensure!(status == 200, "{query} is answered with {status}: {body}");
        let answer: Value = serde_json::from_str(&body)?;
        let result = answer["data"]["result"].as_array().context("no list of results")?;
        let sample = |series: &Value| {
            let value = series["value"][1].as_str()?.parse().ok()?;
            Some(Sample { labels: series["metric"].clone(), value })
        };
        result.iter().map(|series| sample(series).context("no instant vector")).collect()
    }

    /// Queries until `is_enough` says so. Error after `limit`, with the last result.
    pub fn query_until(
        &self,
        query: &str,
        limit: Duration,
        is_enough: impl Fn(&[Sample]) -> bool,
    ) -> Result<Vec<Sample>> {
        let mut last = Vec::new();
        until(query, limit, || {
            last = self.query(query)?;
            Ok(is_enough(&last).then(|| last.clone()))
        })
        .with_context(|| format!("targets: {:?}", self.get("/api/v1/targets")))
    }

    /// What one of its pages of JSON says (`/api/v1/rules`).
    pub fn page(&self, path: &str) -> Result<Value> {
        let (status, body) = self.get(path)?;
        ensure!(status == 200, "{path} is answered with {status}: {body}");
        Ok(serde_json::from_str(&body)?)
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        let response = Client::connect(self.listen)?.exchange(&Request::get(path).close())?;
        Ok((response.status, String::from_utf8(response.body)?))
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
