//! The series of one family as a collector of the `prometheus` crate.
//!
//! The crate's own vectors find a series by a hash over its joined label values, so that `code="30",service="1x"`
//! and `code="301",service="x"` would share one. Here the caller's tables, keyed by the values themselves, decide
//! what is a new series.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use prometheus::core::{Collector, Desc, Metric};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

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
    fn build(opts: Opts, bounds: &[f64]) -> prometheus::Result<Self>;
}

impl Member for IntCounter {
    const TYPE: MetricType = MetricType::COUNTER;

    fn build(opts: Opts, _bounds: &[f64]) -> prometheus::Result<Self> {
        IntCounter::with_opts(opts)
    }
}

impl Member for IntGauge {
    const TYPE: MetricType = MetricType::GAUGE;

    fn build(opts: Opts, _bounds: &[f64]) -> prometheus::Result<Self> {
        IntGauge::with_opts(opts)
    }
}

impl Member for Histogram {
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn build(opts: Opts, bounds: &[f64]) -> prometheus::Result<Self> {
        let opts = HistogramOpts::from(opts).buckets(bounds.to_vec());
        Histogram::with_opts(opts)
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
        let labels: HashMap<String, String> =
            self.labels.iter().zip(values).map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let opts = Opts::new(self.family.name, self.family.help).const_labels(labels);
        let member = M::build(opts, self.family.bounds).expect("the family's name and labels are valid");
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
