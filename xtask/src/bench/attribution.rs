//! Telling an exchange's service, alone: `observer/benches/attribution.rs`.

use anyhow::{Context, Result, ensure};

use super::Bench;
use super::row::{Family, Findings, Run, Spec, Unit};
use super::stats::Judge;
use crate::job;
use crate::project::{Project, quiet_unless_terminal};
use crate::signals;

/// With 1,000 services and 2,000 routes.
pub const ATTRIBUTION: Family = Family {
    name: "attribution",
    rows: &[Spec {
        name: "attribution",
        title: "attribution of an exchange: 1,000 services, 2,000 routes, by the slowest way of telling",
        limit: 1.0,
        unit: Unit::Microseconds,
        judge: Judge::Median,
    }],
    measure,
};

fn measure(bench: &Bench) -> Result<Findings> {
    let project = Project::here()?;
    let mut findings = Findings::default();
    for round in 0..bench.pairs {
        signals::check()?;
        let mut cargo = project.cargo("bench");
        quiet_unless_terminal(&mut cargo).args(["--locked", "--package", "observer", "--bench", "attribution"]);
        let mut lines = Vec::new();
        let status = job::lines(&mut cargo, |line| lines.push(line.to_owned()))?;
        ensure!(status.success(), "`cargo bench` failed ({status}); its messages are above");
        findings.runs.push(Run { round, arm: "attribution", readings: readings(&lines)? });
    }
    let slowest = |run: &Run| run.readings.iter().map(|(_, ns)| ns / 1e3).fold(0.0, f64::max);
    findings.measured("attribution", findings.each("attribution", slowest));
    Ok(findings)
}

/// The ways of telling, as the program names them.
const WAYS: [&str; 7] = ["address", "name", "ingress-host", "ingress-route", "route", "host-alone", "refused"];

/// Nanoseconds by way.
fn readings(lines: &[String]) -> Result<Vec<(&'static str, f64)>> {
    let reading = |way: &'static str| {
        let value = lines.iter().find_map(|line| line.strip_prefix(way)?.strip_prefix(' ')?.parse().ok());
        Ok((way, value.with_context(|| format!("the program told no nanoseconds for {way}"))?))
    };
    WAYS.into_iter().map(reading).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_to_be_told() {
        let mut lines: Vec<String> = WAYS.iter().map(|way| format!("{way} 250")).collect();
        assert_eq!(readings(&lines).unwrap()[3], ("ingress-route", 250.0));
        lines.remove(4);
        assert!(readings(&lines).unwrap_err().to_string().contains("route"));
    }
}
