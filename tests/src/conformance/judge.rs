//! What the agent counted for a case against what nginx logged for it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Case, Class};
use crate::compare::{Scope, compare};
use crate::exposition::Exposition;
use crate::nginx::access_log::Line;
use crate::totals::{self, Services};

const UNATTRIBUTED: &str = "observer_unattributed_requests_total";

/// Exchanges begun are counted, filtered, unobserved or open.
pub fn check_identity(now: &Exposition) -> Result<()> {
    let sum = |part: &str| now.sum(&format!("observer_exchanges_{part}"));
    let ended = sum("counted_total") + sum("filtered_total") + sum("unobserved_total");
    let (begun, open) = (sum("begun_total"), sum("open"));
    ensure!(begun == ended + open, "{begun} exchanges begun, {ended} ended, {open} open:\n{}", now.own());
    Ok(())
}

pub(super) fn judge(
    case: &Case,
    known: &[&str],
    lines: &[Line],
    grown: &Exposition,
    longest_pass: Duration,
) -> Result<()> {
    let statuses: Vec<u16> = lines.iter().map(|line| line.status).collect();
    ensure!(case.statuses.is_empty() || case.statuses == statuses, "nginx logged {statuses:?}");
    check_identity(grown)?;
    if let Class::Unobserved(reason, times) = case.class {
        return check_loss(lines, grown, reason, times);
    }
    let (routed, refused) = lines.split_at(case.refused_from.min(lines.len()));
    let service = |line: &Line| service_of(line).filter(|name| known.contains(name)).map(str::to_owned);
    let mut services = totals::by_service(routed, service);
    if let Class::Undecidable(..) = case.class {
        take_lower_bounds(&mut services, grown)?;
    }
    let grown = &changed(grown);
    compare(grown, &services, Scope::CountsAndTimesWithin(longest_pass))?;
    check_unattributed(routed.iter().filter(|line| service(line).is_none()).chain(refused), grown)?;
    check_uses(case.class, grown)?;
    ensure!(grown.value("kong_nginx_metric_errors_total") == 0.0, "something was lost:\n{}", grown.own());
    Ok(())
}

fn check_loss(lines: &[Line], grown: &Exposition, reason: &str, times: usize) -> Result<()> {
    let all = totals::of_all(&totals::by_service(lines, |_| Some(String::new())));
    let lost = grown.value(&format!("observer_exchanges_unobserved_total{{reason=\"{reason}\"}}"));
    ensure!(lost == times as f64 && lost == grown.value("kong_nginx_metric_errors_total"), "{}", grown.own());
    let bytes = |kind: &str| grown.value(&format!("kong_bandwidth_total{{type=\"{kind}\"}}")) as u64;
    let is_bound = bytes("ingress") <= all.ingress_bytes && bytes("egress") <= all.egress_bytes;
    ensure!(is_bound && finished(grown) + lost == lines.len() as f64, "no lower bound:\n{}", grown.own());
    Ok(())
}

/// The service of a path's first segment; of an absolute-form target, too.
pub fn service_of(line: &Line) -> Option<&str> {
    let target = line.request.split_whitespace().nth(1)?;
    let path = target.split('?').next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    path.split('/').nth(1)
}

/// Series that did not grow say nothing about a case.
fn changed(grown: &Exposition) -> Exposition {
    grown.clone().without_zeros()
}

/// Takes the agent's ingress where it is below nginx's.
fn take_lower_bounds(services: &mut Services, grown: &Exposition) -> Result<()> {
    for (service, totals) in services {
        let agent = grown.value(&format!("kong_bandwidth{{type=\"ingress\",service=\"{service}\"}}")) as u64;
        ensure!(agent <= totals.ingress_bytes, "ingress {agent} is no lower bound of {}", totals.ingress_bytes);
        totals.ingress_bytes = agent;
    }
    Ok(())
}

/// The lines that belong to no service are counted as such, by their status.
pub fn check_unattributed<'a>(lines: impl Iterator<Item = &'a Line>, grown: &Exposition) -> Result<()> {
    let mut expected: BTreeMap<String, f64> = BTreeMap::new();
    for line in lines {
        *expected.entry(format!("{UNATTRIBUTED}{{code=\"{}\"}}", line.status)).or_default() += 1.0;
    }
    let agent = grown.family(UNATTRIBUTED).map(|(key, value)| (key.to_owned(), value)).collect();
    ensure!(expected == agent, "without a service: log {expected:?}, agent {agent:?}\n{}", grown.own());
    Ok(())
}

fn check_uses(class: Class, grown: &Exposition) -> Result<()> {
    let (inferred, uncertain) = ("observer_inferred_total", "observer_uncertain_total");
    let expected = match class {
        Class::Visible | Class::Unobserved(..) => BTreeMap::new(),
        Class::Inferred(rule, uses) => BTreeMap::from([(format!("{inferred}{{rule=\"{rule}\"}}"), uses as f64)]),
        Class::Undecidable(reason, uses) => {
            BTreeMap::from([(format!("{uncertain}{{reason=\"{reason}\"}}"), uses as f64)])
        }
    };
    let grown: BTreeMap<String, f64> = [inferred, uncertain]
        .iter()
        .flat_map(|name| grown.family(name))
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    ensure!(expected == grown, "rules and defaults: expected {expected:?}, used {grown:?}");
    Ok(())
}

pub(super) fn finished(grown: &Exposition) -> f64 {
    grown.sum("kong_http_status_total") + grown.sum(UNATTRIBUTED)
}
