//! Load, by wrk.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::job;
use crate::project::find_program;

/// A load on the gateway: one thread of wrk, as fast as it can.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Kept-alive connections, each with one request under way.
    pub connections: u32,
    /// How long; wrk takes no fractions.
    pub seconds: u32,
    /// Paths `/s0000/x`, `/s0001/x` and on are asked for in turn, so many.
    pub services: usize,
    /// Each connection waits so long before each request.
    pub delay_ms: u32,
    /// By TLS.
    pub is_tls: bool,
}

impl Load {
    /// The load that the yardsticks are made with.
    pub const FULL: Self = Self { connections: 16, seconds: 2, services: 1, delay_ms: 0, is_tls: false };

    /// Runs to its end. Error when any answer was not a good one. `folder` is for wrk's script.
    pub fn run(&self, gateway: SocketAddr, folder: &Path) -> Result<Served> {
        let script = folder.join("load.lua");
        fs::write(&script, self.script()).with_context(|| format!("cannot write {}", script.display()))?;
        let mut wrk =
            Command::new(find_program("wrk").context("no wrk; install it, or run `cargo xtask bench` as root")?);
        wrk.args(["--threads", "1", "--latency", "--timeout", "10s"])
            .args(["--connections", &self.connections.to_string()])
            .args(["--duration", &format!("{}s", self.seconds)])
            .arg("--script")
            .arg(&script)
            .arg(format!("{}://{gateway}/s0000/x", if self.is_tls { "https" } else { "http" }));
        let mut text = String::new();
        let status = job::lines(&mut wrk, |line| {
            text += line;
            text.push('\n');
        })?;
        ensure!(status.success(), "wrk failed ({status}): {text}");
        Served::parse(&text)
    }

    /// One path needs no script: wrk then calls no Lua for each request.
    fn script(&self) -> String {
        let mut script = String::new();
        if self.services > 1 {
            script += &format!(
                "local requests, at = {{}}, 0\n\
                 function init()\n\
                 for i = 1, {0} do requests[i] = wrk.format('GET', string.format('/s%04d/x', i - 1)) end\n\
                 end\n\
                 function request()\n\
                 at = at % {0} + 1\n\
                 return requests[at]\n\
                 end\n",
                self.services
            );
        }
        if self.delay_ms > 0 {
            script += &format!("function delay() return {} end\n", self.delay_ms);
        }
        script
    }
}

/// What wrk saw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Served {
    /// Whole responses.
    pub requests: u64,
    /// Requests per second.
    pub per_second: f64,
    /// 99 % of them took at most this, in µs.
    pub p99_us: f64,
}

impl Served {
    fn parse(text: &str) -> Result<Self> {
        if let Some(line) = text.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx")) {
            bail!("the gateway did not answer well: {}", line.trim());
        }
        let after = |label: &str| text.lines().find_map(|line| line.trim().strip_prefix(label)).map(str::trim);
        let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).map(|(count, _)| count);
        let served = || {
            Some(Self {
                requests: requests?.parse().ok()?,
                per_second: after("Requests/sec:")?.parse().ok()?,
                p99_us: microseconds(after("99%")?)?,
            })
        };
        let served = served().with_context(|| format!("wrk's output is not as expected:\n{text}"))?;
        ensure!(served.requests > 0, "wrk got no response at all:\n{text}");
        Ok(served)
    }
}

/// A time as wrk prints it.
fn microseconds(text: &str) -> Option<f64> {
    let (number, factor) = [("us", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 6e7)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    Some(number.parse::<f64>().ok()? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "Running 2s test @ http://127.0.0.1:18080/\n  1 threads and 16 connections\n\
        \x20 Thread Stats   Avg      Stdev     Max   +/- Stdev\n    Latency   584.13us  271.26us   4.60ms   93.30%\n\
        \x20   Req/Sec    26.42k     4.10k   31.20k    55.00%\n  Latency Distribution\n     50%  575.00us\n\
        \x20    75%  649.00us\n     90%  754.00us\n     99%    1.52ms\n  52535 requests in 2.00s, 9.82MB read\n";
    const RATES: &str = "Requests/sec:  26263.27\nTransfer/sec:      4.91MB\n";

    #[test]
    fn requests_rate_and_tail_are_read() {
        let served = Served::parse(&format!("{OUTPUT}{RATES}")).unwrap();
        assert_eq!(served, Served { requests: 52_535, per_second: 26_263.27, p99_us: 1_520.0 });
    }

    #[test]
    fn a_run_with_bad_answers_is_no_run() {
        for line in ["  Socket errors: connect 0, read 3, write 0, timeout 0\n", "  Non-2xx or 3xx responses: 17\n"] {
            let error = Served::parse(&format!("{OUTPUT}{line}{RATES}")).unwrap_err();
            assert!(error.to_string().contains(line.trim()), "{error}");
        }
        assert!(Served::parse(OUTPUT).is_err());
        assert!(Served::parse(&format!("{OUTPUT}{RATES}").replace("52535", "0")).is_err());
    }

    #[test]
    fn times_come_in_four_units() {
        let read = ["575.00us", "1.52ms", "2.50s", "1.50m", "3.00h", ""].map(microseconds);
        assert_eq!(read, [Some(575.0), Some(1_520.0), Some(2_500_000.0), Some(90_000_000.0), None, None]);
    }

    #[test]
    fn one_path_without_delay_runs_no_lua() {
        assert_eq!(Load::FULL.script(), "");
        let script = Load { services: 200, delay_ms: 3, ..Load::FULL }.script();
        assert!(script.contains("at % 200 + 1") && script.ends_with("function delay() return 3 end\n"), "{script}");
    }
}
