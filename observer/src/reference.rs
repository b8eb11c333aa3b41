//! What each family means, for people: names, HELP texts, types and labels as the code has them, and beside them unit,
//! source, and when a number is a lower bound.

mod families;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::event::Endpoint;
use crate::exposition::auth;
use crate::metrics::{
    self, ConnectionGauge, Culprit, Histograms, Labels, Measured, Metrics, Options, ProcessMetrics, Reading, Registry,
    Source, Switches, TargetHealth, Try, Values,
};
use crate::pairing::Evidence;
use crate::tail::Hub;
use families::{FAMILIES, Family};

/// All families as a page in Markdown, the same on every host.
pub fn page() -> String {
    let gathered = registry().gather();
    let gathered: BTreeMap<&str, &Reading> = gathered.iter().map(|reading| (&*reading.name, reading)).collect();
    let mut page = families::INTRODUCTION.to_owned();
    for (heading, text) in families::GROUPS {
        let _ = write!(page, "\n## {heading}\n\n{text}\n");
        for told in FAMILIES.iter().filter(|told| told.group == *heading) {
            match gathered.get(told.name) {
                Some(reading) => page += &section(told, reading),
                None => log::error!("{} is described and is no family any more", told.name),
            }
        }
    }
    page
}

/// Every family with a series, so that its type and its labels show. Nothing was measured.
fn registry() -> Registry {
    let mut metrics = Metrics::new(Options { today: Some(Switches::ALL), ..Options::default() });
    let service: Arc<str> = "service".into();
    metrics.count(&measured(&service));
    let target = Endpoint::Ip(([127, 0, 0, 1], 80).into());
    let tried = Try { target: &target, status: 200, is_broken: false, phases_us: [Some(1_000); 4] };
    metrics.tried(&service, [tried.clone(), tried].into_iter());
    metrics.failed(&service, Culprit::Client);
    metrics.unattributed(404);
    metrics.inferred("rule");
    metrics.uncertain("reason");
    metrics.filtered("reason", 1);
    metrics.unobserved("reason", 1);
    metrics.lost("reason", 1);
    metrics.pair(Evidence::RequestId, 1);
    metrics.connections(&ConnectionGauge::default());
    metrics.datastore(Some(true));
    metrics.handshake("443", "done", Some(1));
    metrics.protocol("http/1");
    metrics.config_ages().set("source", Duration::ZERO);
    if let Some(node) = metrics.kong_node() {
        node.version("3".into());
        let [upstream, target, address] = ["upstream", "target", "address"].map(str::to_owned);
        node.targets(vec![TargetHealth { upstream, target, address, state: "healthy".into() }]);
    }
    let registry = metrics.registry().clone();
    metrics::register_info(&registry, &[]);
    auth::failures(&registry);
    Hub::new(&registry);
    registry.register(Box::new(ProcessMetrics::default())).expect("each family is registered once");
    registry
}

fn measured(service: &Arc<str>) -> Measured {
    Measured {
        service: Arc::clone(service),
        gateway: None,
        route: None,
        source: Source::Service,
        consumer: None,
        status: 200,
        request_bytes: 1,
        response_bytes: 1,
        request_ms: 1,
        upstream_ms: Some(1),
        kong_ms: 0,
    }
}

fn section(told: &Family, reading: &Reading) -> String {
    let labels = reading.labels.iter().take(1).flat_map(Labels::names);
    let labels: Vec<String> = labels.map(|name| format!("`{name}`")).collect();
    let labels = if labels.is_empty() { "no labels".to_owned() } else { labels.join(", ") };
    let mut text = format!("\n### `{}`\n\n{}.\n\n", told.name, reading.help.trim_end_matches('.'));
    let _ = writeln!(text, "- {}, in {}; {labels}", reading.values.kind(), told.unit);
    if let Values::Histograms(Histograms { bounds, .. }) = &reading.values {
        let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
        let _ = writeln!(text, "- bounds: {}", bounds.join(" "));
    }
    let _ = writeln!(text, "- from: {}", told.source);
    if !told.bound.is_empty() {
        let _ = writeln!(text, "- lower bound: {}", told.bound);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_described_and_nothing_else_is() {
        let gathered: Vec<String> = registry().gather().iter().map(|reading| reading.name.to_string()).collect();
        for name in &gathered {
            let told = FAMILIES.iter().filter(|told| told.name == name).count();
            assert_eq!(told, 1, "{name} is described {told} times in reference/families.rs");
        }
        for told in FAMILIES {
            assert!(gathered.iter().any(|name| name == told.name), "{} is no family", told.name);
            assert!(families::GROUPS.iter().any(|(heading, _)| *heading == told.group), "{}", told.group);
            assert!(!told.unit.is_empty() && !told.source.is_empty(), "{}", told.name);
        }
        assert!(gathered.len() > 45, "{gathered:?}");
    }

    #[test]
    fn a_section_has_all_that_is_asked_for() {
        let page = page();
        let (_, section) = page.split_once("### `observer_tls_handshake_seconds`\n").unwrap();
        let section = section.split("\n#").next().unwrap();
        for part in ["- histogram, in seconds; `listener`\n", "- bounds: 0.0005 0.001 ", "- from: ", "- lower bound: "]
        {
            assert!(section.contains(part), "{part} is not in {section}");
        }
    }
}
