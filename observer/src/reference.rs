//! What each family means, for people: names, HELP texts, types and labels as the code has them, and beside them unit,
//! source, and when a number is a lower bound.

mod families;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use prometheus::proto::{MetricFamily, MetricType};

use crate::event::Endpoint;
use crate::exposition::auth;
use crate::metrics::{
    self, ConnectionGauge, Culprit, Measured, Metrics, Options, ProcessMetrics, Source, Switches, TargetHealth, Try,
};
use crate::pairing::Evidence;
use crate::tail::Hub;
use families::{FAMILIES, Family};

/// All families as a page in Markdown, the same on every host.
pub fn page() -> String {
    let gathered: BTreeMap<String, MetricFamily> =
        registry().gather().into_iter().map(|family| (family.name().to_owned(), family)).collect();
    let mut page = families::INTRODUCTION.to_owned();
    for (heading, text) in families::GROUPS {
        let _ = write!(page, "\n## {heading}\n\n{text}\n");
        for told in FAMILIES.iter().filter(|told| told.group == *heading) {
            match gathered.get(told.name) {
                Some(family) => page += &section(told, family),
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

fn section(told: &Family, family: &MetricFamily) -> String {
    let kind = match family.get_field_type() {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY | MetricType::UNTYPED => "untyped",
    };
    let metric = family.get_metric().first();
    let labels: Vec<String> = metric
        .map(|metric| metric.get_label().iter().map(|label| format!("`{}`", label.name())).collect())
        .unwrap_or_default();
    let labels = if labels.is_empty() { "no labels".to_owned() } else { labels.join(", ") };
    let mut text = format!("\n### `{}`\n\n{}.\n\n", told.name, family.help().trim_end_matches('.'));
    let _ = writeln!(text, "- {kind}, in {}; {labels}", told.unit);
    if let Some(bounds) = metric.filter(|_| kind == "histogram").map(bounds) {
        let _ = writeln!(text, "- bounds: {bounds}");
    }
    let _ = writeln!(text, "- from: {}", told.source);
    if !told.bound.is_empty() {
        let _ = writeln!(text, "- lower bound: {}", told.bound);
    }
    text
}

fn bounds(metric: &prometheus::proto::Metric) -> String {
    let bounds = metric.get_histogram().get_bucket().iter().map(|bucket| bucket.upper_bound());
    bounds.filter(|bound| bound.is_finite()).map(|bound| bound.to_string()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_described_and_nothing_else_is() {
        let gathered: Vec<String> = registry().gather().iter().map(|family| family.name().to_owned()).collect();
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
