//! Rows of the table: what each asks, and what was found.

use super::json::Json;
use super::stats::{Judge, Verdict, verdict};

/// What a row asks.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// For `--row`.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// The greatest value that is good enough.
    pub limit: f64,
    /// Of values and limit.
    pub unit: Unit,
    /// Which value has to keep it.
    pub judge: Judge,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// With the observer to without.
    Ratio,
    /// A share of one.
    Percent,
    /// Microseconds.
    Microseconds,
    /// Milliseconds.
    Milliseconds,
    /// 2^20 bytes.
    Mebibytes,
    /// Things.
    Count,
}

impl Unit {
    /// A value with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Ratio => format!("{value:.3}"),
            Unit::Percent => format!("{:.2} %", value * 100.0),
            Unit::Microseconds => format!("{value:.2} µs"),
            Unit::Milliseconds => format!("{value:.1} ms"),
            Unit::Mebibytes => format!("{value:.1} MiB"),
            Unit::Count => format!("{value}"),
        }
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A value for each run or pair.
    Measured(Vec<f64>),
    /// It was tried, and why it gave nothing.
    Undecided(String),
}

impl Outcome {
    /// As the table says it.
    pub fn verdict(&self, spec: &Spec) -> String {
        match self {
            Outcome::Measured(values) => verdict(values, spec.limit, spec.judge).to_string(),
            Outcome::Undecided(why) => format!("{}: {why}", Verdict::Undecided),
        }
    }
}

/// One run of a load, or one try.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Which pair or round it belongs to, from 0.
    pub round: usize,
    /// With what, as in `bare`.
    pub arm: &'static str,
    /// What was read, by name.
    pub readings: Vec<(&'static str, f64)>,
}

impl Run {
    /// A reading; NaN, which no verdict passes, when there is none of this name.
    pub fn reading(&self, name: &str) -> f64 {
        self.readings.iter().find(|(reading, _)| *reading == name).map_or(f64::NAN, |(_, value)| *value)
    }

    /// One reading by another.
    pub fn per(&self, name: &str, divisor: &str) -> f64 {
        self.reading(name) / self.reading(divisor)
    }

    /// For the file.
    pub fn json(&self) -> Json {
        let mut members = vec![("round".to_owned(), (self.round as f64).into()), ("arm".to_owned(), self.arm.into())];
        members.extend(self.readings.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
        Json::Object(members)
    }
}

/// All that a family found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// What became of its rows, by their names.
    pub outcomes: Vec<(&'static str, Outcome)>,
    /// Every run.
    pub runs: Vec<Run>,
    /// Bars for the picture: what they stand for, and a value in µs a request for each round.
    pub stages: Vec<(&'static str, Vec<f64>)>,
    /// What a reader should know beside the numbers.
    pub notes: Vec<String>,
}

impl Findings {
    /// `value` of each run of an arm, in the order of the rounds.
    pub fn each(&self, arm: &str, value: impl Fn(&Run) -> f64) -> Vec<f64> {
        self.runs.iter().filter(|run| run.arm == arm).map(value).collect()
    }

    /// `value` in one arm to that in another, pair by pair.
    pub fn ratios(&self, with: &str, without: &str, value: impl Fn(&Run) -> f64) -> Vec<f64> {
        let (with, without) = (self.each(with, &value), self.each(without, &value));
        with.iter().zip(&without).map(|(with, without)| with / without).collect()
    }

    /// Adds a row's values.
    pub fn measured(&mut self, row: &'static str, values: Vec<f64>) {
        self.outcomes.push((row, Outcome::Measured(values)));
    }
}

/// Rows that are measured together.
#[derive(Debug)]
pub struct Family {
    /// Its name in the file.
    pub name: &'static str,
    /// Its rows.
    pub rows: &'static [Spec],
    /// Measures all of them. An error leaves each undecided for that reason.
    pub measure: fn(&super::Bench) -> anyhow::Result<Findings>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(round: usize, arm: &'static str, cpu: f64, requests: f64) -> Run {
        Run { round, arm, readings: vec![("cpu", cpu), ("requests", requests)] }
    }

    #[test]
    fn pairs_are_compared_by_cost_per_request() {
        let findings = Findings {
            runs: vec![
                run(0, "bare", 10.0, 5.0),
                run(0, "full", 12.0, 4.0),
                run(1, "full", 8.0, 4.0),
                run(1, "bare", 4.0, 4.0),
            ],
            ..Findings::default()
        };
        assert_eq!(findings.ratios("full", "bare", |run| run.per("cpu", "requests")), [1.5, 2.0]);
    }

    #[test]
    fn a_reading_that_is_missing_passes_nothing() {
        let values = vec![run(0, "bare", 1.0, 1.0).reading("delay"); 15];
        for judge in [Judge::Median, Judge::Worst] {
            assert_eq!(verdict(&values, 1.0, judge), Verdict::Undecided, "{judge:?}");
        }
    }

    #[test]
    fn units_are_written_after_their_values() {
        assert_eq!(Unit::Ratio.show(1.0824), "1.082");
        assert_eq!(Unit::Percent.show(0.002), "0.20 %");
        assert_eq!(Unit::Microseconds.show(0.35), "0.35 µs");
        assert_eq!(Unit::Count.show(0.0), "0");
    }
}
