//! The table for people, and the file with every run.

use std::fmt::Write as _;

use super::json::Json;
use super::machine::Machine;
use super::row::{Family, Findings, Outcome, Spec, Unit};
use super::stats::{Judge, estimate};

/// A family and what it found.
pub struct Part {
    /// The family.
    pub family: &'static Family,
    /// Its findings, or why there are none.
    pub findings: Result<Findings, String>,
    /// How long it took.
    pub seconds: f64,
    /// The host's load averages before and after.
    pub load: [String; 2],
}

impl Part {
    /// What became of one of its rows.
    pub fn outcome(&self, spec: &Spec) -> Outcome {
        match &self.findings {
            Ok(findings) => findings
                .outcomes
                .iter()
                .find(|(name, _)| *name == spec.name)
                .map_or_else(|| Outcome::Undecided("nothing was measured".into()), |(_, outcome)| outcome.clone()),
            Err(why) => Outcome::Undecided(why.clone()),
        }
    }
}

/// The table: value, 95 % interval, limit and verdict of each wanted row, in Markdown.
pub fn table(parts: &[Part], wanted: impl Fn(&Spec) -> bool) -> String {
    let mut cells = vec![["row", "value", "95 % interval", "at most", "verdict", "what"].map(str::to_owned)];
    for part in parts {
        for spec in part.family.rows.iter().filter(|spec| wanted(spec)) {
            cells.push(row(spec, &part.outcome(spec)));
        }
    }
    let widths: [usize; 6] = std::array::from_fn(|i| cells.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for (i, row) in cells.iter().enumerate() {
        let padded: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "| {} |", padded.join(" | "));
        if i == 0 {
            let _ = writeln!(text, "|{}|", widths.map(|width| "-".repeat(width + 2)).join("|"));
        }
    }
    text
}

fn row(spec: &Spec, outcome: &Outcome) -> [String; 6] {
    let (value, interval) = match outcome {
        Outcome::Measured(values) => value_and_interval(spec, values),
        Outcome::Undecided(_) => ("-".into(), "-".into()),
    };
    // An error may have several lines, a cell has one.
    let verdict = outcome.verdict(spec).replace('\n', " ").replace('|', "/");
    [spec.name.to_owned(), value, interval, spec.unit.show(spec.limit), verdict, spec.title.to_owned()]
}

fn value_and_interval(spec: &Spec, values: &[f64]) -> (String, String) {
    let show = |value| spec.unit.show(value);
    match spec.judge {
        Judge::Worst => {
            let worst = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (show(worst), format!("the worst of {}", values.len()))
        }
        Judge::Median => match estimate(values) {
            Some(estimate) => {
                let interval = estimate.interval.map_or_else(
                    || format!("{} runs give none", values.len()),
                    |(lower, upper)| format!("{} to {}", show(lower), show(upper)),
                );
                (show(estimate.median), interval)
            }
            None => ("-".into(), "-".into()),
        },
    }
}

/// The file: machine, rows with all their values, and every run.
pub fn json(machine: &Machine, pairs: usize, parts: &[Part], wanted: impl Fn(&Spec) -> bool) -> Json {
    let rows = parts.iter().flat_map(|part| {
        part.family.rows.iter().filter(|spec| wanted(spec)).map(|spec| row_json(spec, &part.outcome(spec)))
    });
    Json::object([
        ("machine", machine.json()),
        ("pairs", (pairs as f64).into()),
        ("rows", Json::List(rows.collect())),
        ("families", Json::List(parts.iter().map(part_json).collect())),
    ])
}

fn row_json(spec: &Spec, outcome: &Outcome) -> Json {
    let values = match outcome {
        Outcome::Measured(values) => values.as_slice(),
        Outcome::Undecided(_) => &[],
    };
    let (median, interval) = estimate(values).map_or((Json::Null, None), |e| (e.median.into(), e.interval));
    Json::object([
        ("row", spec.name.into()),
        ("what", spec.title.into()),
        ("unit", unit(spec.unit).into()),
        ("limit", spec.limit.into()),
        ("judged", if spec.judge == Judge::Worst { "worst" } else { "median" }.into()),
        ("median", median),
        ("interval_95", interval.map_or(Json::Null, |(lower, upper)| Json::numbers(&[lower, upper]))),
        ("verdict", outcome.verdict(spec).as_str().into()),
        ("values", Json::numbers(values)),
    ])
}

/// Values are kept as they were measured: a share as a fraction.
fn unit(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "ratio",
        Unit::Percent => "share",
        Unit::Microseconds => "us",
        Unit::Milliseconds => "ms",
        Unit::Mebibytes => "MiB",
        Unit::Count => "count",
    }
}

fn part_json(part: &Part) -> Json {
    let (runs, notes, error) = match &part.findings {
        Ok(findings) => (
            findings.runs.iter().map(super::row::Run::json).collect(),
            findings.notes.iter().map(|note| note.as_str().into()).collect(),
            Json::Null,
        ),
        Err(why) => (Vec::new(), Vec::new(), why.as_str().into()),
    };
    Json::object([
        ("family", part.family.name.into()),
        ("seconds", part.seconds.into()),
        ("load_average_before", part.load[0].as_str().into()),
        ("load_average_after", part.load[1].as_str().into()),
        ("error", error),
        ("notes", Json::List(notes)),
        ("runs", Json::List(runs)),
    ])
}

#[cfg(test)]
mod tests {
    use super::super::gateway_cpu::{LUA, TLS};
    use super::*;

    fn parts() -> Vec<Part> {
        let load = [String::new(), String::new()];
        let mut found = Findings::default();
        found.measured("gateway-25us", (0..15).map(|i| 1.01 + 0.001 * f64::from(i)).collect());
        vec![
            Part { family: &LUA, findings: Ok(found), seconds: 1.0, load: load.clone() },
            Part { family: &TLS, findings: Err("no\nTLS | yet".into()), seconds: 0.0, load },
        ]
    }

    #[test]
    fn the_table_has_value_interval_limit_and_verdict() {
        let text = table(&parts(), |_| true);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines[2].starts_with("| gateway-25us  | 1.017 | 1.013 to 1.021 | 1.050   | pass"), "{text}");
        assert!(lines[3].contains("| undecided: no TLS / yet |"), "{text}");
        let width = |line: &str| line.chars().count();
        assert!(lines.iter().all(|line| width(line) == width(lines[0])), "{text}");
    }

    #[test]
    fn rows_that_were_not_asked_for_are_left_out() {
        assert!(!table(&parts(), |spec| spec.name == "nginx-tls").contains("gateway-25us"));
    }

    #[test]
    fn the_file_keeps_every_value() {
        let text = json(&Machine::default(), 15, &parts(), |_| true).to_string();
        assert!(text.contains("\"verdict\": \"pass\"") && text.contains("1.024"), "{text}");
        assert!(text.contains("\"error\": \"no\\u000aTLS | yet\""), "{text}");
    }
}
