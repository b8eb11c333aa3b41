//! What Kong's Admin API says of Kong itself, in the families of Kong 3's plugin.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::families::{Family, TODAY_NODE_INFO, TODAY_TARGET_HEALTH};
use super::registry::Registry;

/// The states of a target, in the plugin's order of setting them.
const STATES: [&str; 4] = ["healthchecks_off", "healthy", "unhealthy", "dns_error"];

/// An address of a target of an upstream, as Kong's balancer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetHealth {
    /// The upstream's name.
    pub upstream: String,
    /// The target as configured, `HOST:PORT`.
    pub target: String,
    /// `IP:PORT`; empty where the name does not resolve.
    pub address: String,
    /// `healthy`, `unhealthy`, `healthchecks_off` or `dns_error`.
    pub state: String,
}

/// For whoever reads Kong's Admin API. Clones share what they tell.
#[derive(Debug, Clone)]
pub struct KongNode {
    told: Arc<RwLock<Told>>,
    descriptions: Arc<[Desc; 2]>,
    node_id: Arc<str>,
    tells_health: bool,
}

#[derive(Debug, Default)]
struct Told {
    version: Option<String>,
    targets: Vec<TargetHealth>,
}

impl KongNode {
    pub(super) fn register(registry: &Registry, node_id: Arc<str>, tells_health: bool) -> KongNode {
        let descriptions = [&TODAY_NODE_INFO, &TODAY_TARGET_HEALTH].map(|family| family.desc(family.labels));
        let node = KongNode { told: Arc::default(), descriptions: Arc::new(descriptions), node_id, tells_health };
        registry.register(Box::new(node.clone())).expect("each family is registered once");
        node
    }

    /// Whether [`KongNode::targets`] are wanted.
    pub fn tells_health(&self) -> bool {
        self.tells_health
    }

    /// Sets `kong_node_info`; it stays when Kong is away.
    pub fn version(&self, version: String) {
        self.write().version = Some(version);
    }

    /// Sets `kong_upstream_target_health`; without any the family is absent.
    pub fn targets(&self, targets: Vec<TargetHealth>) {
        self.write().targets = targets;
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Told> {
        self.told.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for KongNode {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let told = self.told.read().unwrap_or_else(PoisonError::into_inner);
        let mut families = Vec::new();
        if let Some(version) = &told.version {
            families.push(gauges(&TODAY_NODE_INFO, vec![gauge(&TODAY_NODE_INFO, &[&self.node_id, version], 1.0)]));
        }
        if self.tells_health && !told.targets.is_empty() {
            let states = told.targets.iter().flat_map(|target| STATES.map(|state| health(target, state)));
            families.push(gauges(&TODAY_TARGET_HEALTH, states.collect()));
        }
        families
    }
}

fn health(of: &TargetHealth, state: &str) -> Metric {
    let labels = [&of.upstream, &of.target, &of.address, state, "http"];
    gauge(&TODAY_TARGET_HEALTH, &labels, f64::from(u8::from(of.state == state)))
}

fn gauges(family: &Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut gathered = MetricFamily::default();
    gathered.set_name(family.name.to_owned());
    gathered.set_help(family.help.to_owned());
    gathered.set_field_type(MetricType::GAUGE);
    gathered.set_metric(metrics);
    gathered
}

fn gauge(family: &Family, values: &[&str], value: f64) -> Metric {
    let pair = |(name, value): (&&str, &&str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::default();
    metric.set_label(family.labels.iter().zip(values).map(pair).collect());
    metric.set_gauge(gauge);
    metric
}
