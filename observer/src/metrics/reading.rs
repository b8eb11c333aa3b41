//! A family's numbers, read at one moment.

use std::borrow::Cow;
use std::sync::Arc;

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::labels::Labels;

/// A family's series, read at one moment; nothing of it changes any more.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The family's full name.
    pub name: Cow<'static, str>,
    /// Its HELP text, unescaped.
    pub help: Cow<'static, str>,
    /// Of each series, in byte order.
    pub labels: Arc<[Labels]>,
    /// Of each series, in the order of the labels.
    pub values: Values,
}

/// The values of a family's series. Counters are `f64` as in the `prometheus` crate: above 2^53 (nine petabytes) they
/// lose their last digits.
#[derive(Clone, Debug)]
pub enum Values {
    /// Of counters.
    Counters(Vec<f64>),
    /// Of gauges.
    Gauges(Vec<f64>),
    /// Of histograms.
    Histograms(Histograms),
}

/// The values of histograms with the same bounds.
#[derive(Clone, Debug)]
pub struct Histograms {
    /// Upper bounds; `+Inf` follows them.
    pub bounds: Cow<'static, [f64]>,
    /// For each histogram the observations up to each bound, then all.
    pub(super) counts: Vec<u64>,
    pub(super) sums: Vec<f64>,
}

impl Reading {
    /// A family of the `prometheus` crate. Its kinds beside these three are in no metric that the crate offers.
    pub fn of(family: &MetricFamily) -> Reading {
        let labels = |metric: &Metric| {
            let pairs = metric.get_label().iter().map(|pair| (pair.name(), pair.value()));
            Labels::new(family.name(), pairs)
        };
        let mut series: Vec<_> = family.get_metric().iter().map(|metric| (labels(metric), metric)).collect();
        series.sort_by(|(a, _), (b, _)| a.cmp(b));
        let metrics = series.iter().map(|(_, metric)| *metric);
        Reading {
            name: Cow::Owned(family.name().to_owned()),
            help: Cow::Owned(family.help().to_owned()),
            values: match family.get_field_type() {
                MetricType::COUNTER => {
                    Values::Counters(metrics.map(|metric| metric.get_counter().get_value()).collect())
                }
                MetricType::HISTOGRAM => Values::Histograms(Histograms::of(metrics)),
                MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => {
                    Values::Gauges(metrics.map(|metric| metric.get_gauge().get_value()).collect())
                }
            },
            labels: series.into_iter().map(|(labels, _)| labels).collect(),
        }
    }

    /// The values of counters or gauges, each with its labels.
    pub fn numbers(&self) -> impl Iterator<Item = (&Labels, f64)> {
        let values = match &self.values {
            Values::Counters(values) | Values::Gauges(values) => values.as_slice(),
            Values::Histograms(_) => &[],
        };
        self.labels.iter().zip(values.iter().copied())
    }
}

impl Values {
    /// As a TYPE line has it.
    pub fn kind(&self) -> &'static str {
        match self {
            Values::Counters(_) => "counter",
            Values::Gauges(_) => "gauge",
            Values::Histograms(_) => "histogram",
        }
    }
}

impl Histograms {
    pub(super) fn with_capacity(bounds: &'static [f64], histograms: usize) -> Histograms {
        Histograms {
            bounds: Cow::Borrowed(bounds),
            counts: Vec::with_capacity(histograms * (bounds.len() + 1)),
            sums: Vec::with_capacity(histograms),
        }
    }

    fn of<'a>(metrics: impl Iterator<Item = &'a Metric>) -> Histograms {
        let mut all = Histograms { bounds: Cow::default(), counts: Vec::new(), sums: Vec::new() };
        for histogram in metrics.map(Metric::get_histogram) {
            let buckets = histogram.get_bucket();
            all.bounds = buckets.iter().map(|bucket| bucket.upper_bound()).collect();
            all.counts.extend(buckets.iter().map(|bucket| bucket.cumulative_count()));
            all.counts.push(histogram.get_sample_count());
            all.sums.push(histogram.get_sample_sum());
        }
        all
    }

    /// Of one histogram: the observations up to each bound, then all.
    pub fn counts(&self, at: usize) -> &[u64] {
        let length = self.bounds.len() + 1;
        &self.counts[at * length..][..length]
    }

    /// Of one histogram: all observations.
    pub fn count(&self, at: usize) -> u64 {
        self.counts(at).last().copied().unwrap_or_default()
    }

    /// Of one histogram: what was observed, added up.
    pub fn sum(&self, at: usize) -> f64 {
        self.sums[at]
    }
}
