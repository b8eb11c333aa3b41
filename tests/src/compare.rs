//! Compares the agent's `kong_*` counters with the sums of nginx's access log.
//!
//! Counts and bytes must be equal. Times: nginx cuts `$request_time` to milliseconds, and takes upstream times from
//! a clock that ticks every 4 ms (`CLOCK_MONOTONIC_COARSE` at HZ=250), so a single request tells little and the
//! mean over many tells much: see [`tolerance_ms`].

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::exposition::Exposition;
use crate::totals::{Services, Totals, of_all};

/// Largest error of a request's time.
pub const REQUEST_ERROR_MS: f64 = 2.0;
/// Largest mean error of the times of many requests.
pub const MEAN_ERROR_MS: f64 = 0.5;
/// So many requests are many: their mean is judged, not each.
pub const MANY_REQUESTS: u64 = 100;
/// What nginx cuts `$request_time` to.
pub const MILLISECOND: f64 = 1.0;
/// One step of the coarse clock, which the upstream times are taken from.
pub const TICK_MS: f64 = 4.0;

/// Histogram families and how their labels end: per service, and over all.
const LATENCY: &str = "kong_latency";
const LATENCY_TOTAL: &str = "kong_latency_total";

/// Families whose every series must be explained by the log.
const EXPLAINED: [&str; 6] = [
    "kong_http_status",
    "kong_http_status_total",
    "kong_bandwidth",
    "kong_bandwidth_total",
    "kong_latency_count",
    "kong_latency_total_count",
];

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Statuses, bytes and the number of latency samples.
    Counts,
    /// The latency sums as well.
    CountsAndTimes,
    /// The same, where a pass of nginx's event loop, in which its clock stands, may last so long.
    CountsAndTimesWithin(Duration),
}

impl Scope {
    /// The longest pass of nginx's event loop in ms; `None` where times are not compared.
    fn pass_ms(self) -> Option<f64> {
        match self {
            Scope::Counts => None,
            Scope::CountsAndTimes => Some(0.0),
            Scope::CountsAndTimesWithin(pass) => Some(pass.as_secs_f64() * 1e3),
        }
    }
}

/// Largest difference between two sums over `requests` times, in ms, where nginx's clock goes by `step_ms`.
///
/// The difference of two times that were cut to steps is right on average, and strays by a step's root of a sixth: the
/// sums that nginx logs do so by three times that and the root of their number in one of 370 cases.
pub fn tolerance_ms(requests: u64, step_ms: f64) -> f64 {
    let count = requests as f64;
    if requests >= MANY_REQUESTS {
        MEAN_ERROR_MS * count + 3.0 * step_ms * (count / 6.0).sqrt()
    } else {
        REQUEST_ERROR_MS * count + TICK_MS
    }
}

/// Compares `agent`, its counters' growth since before the traffic, with the `log`'s sums by service.
///
/// Error: a table of the series that differ, those that only one side has included.
pub fn compare(agent: &Exposition, log: &Services, scope: Scope) -> Result<()> {
    let rows = rows(agent, log, scope);
    let is_all_equal = rows.iter().all(Row::agrees);
    ensure!(is_all_equal, "{}\n{}", Table(&rows), agent.own());
    Ok(())
}

#[derive(Debug)]
struct Row {
    key: String,
    log: f64,
    agent: f64,
    tolerance: f64,
}

impl Row {
    fn agrees(&self) -> bool {
        (self.agent - self.log).abs() <= self.tolerance
    }
}

fn rows(agent: &Exposition, log: &Services, scope: Scope) -> Vec<Row> {
    let mut expected = Expected::default();
    for (service, totals) in log {
        expected.counts("kong_http_status", "kong_bandwidth", Some(service), totals);
        expected.latencies(LATENCY, Some(service), totals, scope);
    }
    let all = of_all(log);
    expected.counts("kong_http_status_total", "kong_bandwidth_total", None, &all);
    expected.latencies(LATENCY_TOTAL, None, &all, scope);

    for family in EXPLAINED {
        for (key, _) in agent.family(family) {
            expected.0.entry(key.to_owned()).or_insert((0.0, 0.0));
        }
    }
    let mut rows: Vec<Row> = expected
        .0
        .into_iter()
        .map(|(key, (log, tolerance))| Row { agent: agent.value(&key), key, log, tolerance })
        .collect();
    if scope.pass_ms().is_some() {
        rows.extend(log.iter().map(|(service, totals)| parts_row(agent, service, totals)));
    }
    rows
}

/// A request's time is the gateway's share and the upstream's together, whatever nginx logged.
fn parts_row(agent: &Exposition, service: &str, totals: &Totals) -> Row {
    let sum = |kind| agent.value(&latency_key(LATENCY, "sum", kind, Some(service)));
    Row {
        key: format!("kong + upstream = request, service {service}"),
        log: sum("request"),
        agent: sum("kong") + sum("upstream"),
        tolerance: 0.01 * totals.requests as f64,
    }
}

/// Value and tolerance by series.
#[derive(Debug, Default)]
struct Expected(BTreeMap<String, (f64, f64)>);

impl Expected {
    fn counts(&mut self, status: &str, bandwidth: &str, service: Option<&str>, totals: &Totals) {
        let service = service.map_or(String::new(), |name| format!(",service=\"{name}\""));
        for (code, count) in &totals.statuses {
            self.exactly(format!("{status}{{code=\"{code}\"{service}}}"), *count);
        }
        for (kind, bytes) in [("egress", totals.egress_bytes), ("ingress", totals.ingress_bytes)] {
            self.exactly(format!("{bandwidth}{{type=\"{kind}\"{service}}}"), bytes);
        }
    }

    fn latencies(&mut self, family: &str, service: Option<&str>, totals: &Totals, scope: Scope) {
        let kinds = [
            ("kong", totals.requests, None),
            ("request", totals.requests, Some(totals.request_ms)),
            ("upstream", totals.upstream_requests, Some(totals.upstream_ms)),
        ];
        for (kind, count, sum_ms) in kinds.into_iter().filter(|(_, count, _)| *count > 0) {
            self.exactly(latency_key(family, "count", kind, service), count);
            let last_bucket = latency_key(family, "bucket", kind, service).replace('}', "");
            self.exactly(format!("{last_bucket},le=\"+Inf\"}}"), count);
            if let (Some(sum_ms), Some(pass_ms)) = (sum_ms, scope.pass_ms()) {
                let key = latency_key(family, "sum", kind, service);
                // Over many requests what a long pass adds here it takes away there.
                let pass_ms = if count >= MANY_REQUESTS { 0.0 } else { pass_ms };
                let step_ms = if kind == "request" { MILLISECOND } else { TICK_MS };
                self.0.insert(key, (sum_ms, tolerance_ms(count, step_ms) + pass_ms));
            }
        }
    }

    fn exactly(&mut self, key: String, value: u64) {
        self.0.insert(key, (value as f64, 0.0));
    }
}

fn latency_key(family: &str, part: &str, kind: &str, service: Option<&str>) -> String {
    let service = service.map_or(String::new(), |name| format!(",service=\"{name}\""));
    format!("{family}_{part}{{type=\"{kind}\"{service}}}")
}

struct Table<'a>(&'a [Row]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differing: Vec<&Row> = self.0.iter().filter(|row| !row.agrees()).collect();
        writeln!(f, "the agent's numbers differ from nginx's access log:")?;
        writeln!(f, "{:<60} {:>14} {:>14} {:>12} {:>10}", "series", "log", "agent", "difference", "allowed")?;
        for row in &differing {
            let Row { key, log, agent, tolerance } = row;
            writeln!(f, "{key:<60} {log:>14.3} {agent:>14.3} {:>12.3} {tolerance:>10.3}", agent - log)?;
        }
        write!(f, "{} further series agree", self.0.len() - differing.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_request() -> Services {
        let totals = Totals {
            requests: 1,
            statuses: BTreeMap::from([(200, 1)]),
            ingress_bytes: 80,
            egress_bytes: 300,
            request_ms: 10.0,
            upstream_requests: 1,
            upstream_ms: 8.0,
        };
        Services::from([("a".to_owned(), totals)])
    }

    fn exposition(services: &Services, request_ms: f64) -> Exposition {
        let mut expected = Expected::default();
        let totals = &services["a"];
        for (family, service) in [(LATENCY, Some("a")), (LATENCY_TOTAL, None)] {
            expected.latencies(family, service, totals, Scope::CountsAndTimes);
            let sums = [("request", request_ms), ("upstream", 8.0), ("kong", request_ms - 8.0)];
            for (kind, sum_ms) in sums {
                let key = latency_key(family, "sum", kind, service);
                expected.0.insert(key, (sum_ms, 0.0));
            }
        }
        expected.counts("kong_http_status", "kong_bandwidth", Some("a"), totals);
        expected.counts("kong_http_status_total", "kong_bandwidth_total", None, totals);
        let text: String = expected.0.iter().map(|(key, (value, _))| format!("{key} {value}\n")).collect();
        Exposition::parse(&text).unwrap()
    }

    #[test]
    fn equal_numbers_agree_and_times_may_differ_a_little() {
        let log = one_request();
        compare(&exposition(&log, 11.5), &log, Scope::CountsAndTimes).unwrap();
    }

    #[test]
    fn a_time_off_by_more_is_shown() {
        let log = one_request();
        let agent = exposition(&log, 10.0 + REQUEST_ERROR_MS + TICK_MS + 0.1);
        compare(&agent, &log, Scope::Counts).unwrap();
        let error = compare(&agent, &log, Scope::CountsAndTimes).unwrap_err();
        assert!(error.to_string().contains("kong_latency_sum{type=\"request\",service=\"a\"}"));
    }

    #[test]
    fn the_mean_of_many_is_judged_the_sharper_the_more_there_are() {
        let mean_ms = |requests: u64, step_ms| tolerance_ms(requests, step_ms) / requests as f64;
        assert!((0.98..1.0).contains(&mean_ms(100, TICK_MS)));
        assert!((0.50..0.55).contains(&mean_ms(10_000, TICK_MS)));
        assert!((0.50..0.63).contains(&mean_ms(100, MILLISECOND)));
    }

    #[test]
    fn one_byte_or_one_unknown_service_is_shown() {
        let log = one_request();
        let mut larger = log.clone();
        larger.get_mut("a").unwrap().egress_bytes += 1;
        let agent = exposition(&larger, 10.0);
        let error = compare(&agent, &log, Scope::Counts).unwrap_err().to_string();
        assert!(error.contains("kong_bandwidth{type=\"egress\",service=\"a\"}"));

        let agent = exposition(&log, 10.0);
        let error = compare(&agent, &Services::new(), Scope::Counts).unwrap_err().to_string();
        assert!(error.contains("kong_http_status{code=\"200\",service=\"a\"}"));
    }
}
