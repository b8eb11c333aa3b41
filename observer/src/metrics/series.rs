//! The series of one family as a collector of the `prometheus` crate.
//!
//! The crate's own vectors find a series by a hash over its joined label values, so that `code="30",service="1x"`
//! and `code="301",service="x"` would share one. Here the caller's tables, keyed by the values themselves, decide
//! what is a new series.

use std::sync::{Arc, RwLock};

use prometheus::core::{Collector, Desc, Metric};
use prometheus::proto::{LabelPair, MetricFamily, MetricType};
use prometheus::{IntGauge, Opts, Registry};

use super::cells::{Counter, Histogram};
use super::families::Family;

/// A family's series of kind `M`, one for each [`Series::add`]. Clones share the series.
#[derive(Clone)]
pub(super) struct Series<M> {
    family: &'static Family,
    labels: Arc<[&'static str]>,
    desc: Arc<Desc>,
    members: Arc<RwLock<Vec<M>>>,
}

/// What a family of [`Series`] can consist of.
pub(super) trait Member: Metric + Clone + Sized + 'static {
    const TYPE: MetricType;
    fn build(family: &'static Family, labels: Vec<LabelPair>) -> Self;
}

impl Member for Counter {
    const TYPE: MetricType = MetricType::COUNTER;

    fn build(_family: &'static Family, labels: Vec<LabelPair>) -> Self {
        Counter::new(labels)
    }
}

impl Member for IntGauge {
    const TYPE: MetricType = MetricType::GAUGE;

    fn build(family: &'static Family, labels: Vec<LabelPair>) -> Self {
        let pairs = labels.iter().map(|pair| (pair.name().to_owned(), pair.value().to_owned()));
        let opts = Opts::new(family.name, family.help).const_labels(pairs.collect());
        IntGauge::with_opts(opts).expect("the family's name and labels are valid")
    }
}

impl Member for Histogram {
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn build(family: &'static Family, labels: Vec<LabelPair>) -> Self {
        Histogram::new(labels, family.bounds)
    }
}

impl<M: Member> Series<M> {
    pub(super) fn register(family: &'static Family, per_gateway: bool, registry: &Registry) -> Series<M> {
        let labels = family.label_names(per_gateway);
        let series =
            Series { family, desc: Arc::new(family.desc(&labels)), labels: labels.into(), members: Arc::default() };
        registry.register(Box::new(series.clone())).expect("each family is registered once");
        series
    }

    /// Adds a series with these label values, in print order. The same values must not be added twice.
    pub(super) fn add(&self, values: &[&str]) -> M {
        debug_assert_eq!(values.len(), self.labels.len());
        let label = |(name, value): (&&str, &&str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        };
        let mut labels: Vec<LabelPair> = self.labels.iter().zip(values).map(label).collect();
        // As the crate has them.
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        let member = M::build(self.family, labels);
        self.members.write().unwrap_or_else(|poisoned| poisoned.into_inner()).push(member.clone());
        member
    }
}

impl<M: Member> Collector for Series<M> {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        // The handles are copied out so that a scrape holds up a new series for as short as possible.
        let members = self.members.read().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let mut family = MetricFamily::default();
        family.set_name(self.family.name.to_owned());
        family.set_help(self.family.help.to_owned());
        family.set_field_type(M::TYPE);
        family.set_metric(members.iter().map(Metric::metric).collect());
        vec![family]
    }
}
