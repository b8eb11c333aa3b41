//! Counters and histograms that one thread adds to and any other reads.
//!
//! The `prometheus` crate's own may be added to by many threads at once and pay for it with locked instructions, four an
//! observation. The pipeline is the only one to add to these, so plain loads and stores of atomics do.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use prometheus::core::Metric;
use prometheus::proto::{self, LabelPair};

/// Sums are kept in thousandths, so that they do not depend on the order of what is added up.
pub(super) const THOUSANDTHS: u64 = 1_000;

/// A counter. Clones share it; only one of them may add.
#[derive(Clone)]
pub(super) struct Counter(Arc<CounterCell>);

struct CounterCell {
    labels: Vec<LabelPair>,
    value: AtomicU64,
}

impl Counter {
    pub(super) fn new(labels: Vec<LabelPair>) -> Self {
        Counter(Arc::new(CounterCell { labels, value: AtomicU64::new(0) }))
    }

    pub(super) fn inc(&self) {
        self.inc_by(1);
    }

    pub(super) fn inc_by(&self, more: u64) {
        add(&self.0.value, more);
    }
}

impl Metric for Counter {
    fn metric(&self) -> proto::Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(self.0.value.load(Ordering::Relaxed) as f64);
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_counter(counter);
        metric
    }
}

/// A histogram. Clones share it; only one of them may observe.
#[derive(Clone)]
pub(super) struct Histogram(Arc<HistogramCell>);

struct HistogramCell {
    labels: Vec<LabelPair>,
    bounds: &'static [f64],
    /// Odd while an observation is being added.
    version: AtomicU64,
    /// Observations up to each bound and above the one before, and those above all.
    buckets: Box<[AtomicU64]>,
    sum_thousandths: AtomicU64,
}

impl Histogram {
    pub(super) fn new(labels: Vec<LabelPair>, bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let (version, sum_thousandths) = Default::default();
        Histogram(Arc::new(HistogramCell { labels, bounds, version, buckets, sum_thousandths }))
    }

    /// Adds a value of so many thousandths.
    pub(super) fn observe(&self, thousandths: u64) {
        let Self(cell) = self;
        let value = thousandths as f64 / THOUSANDTHS as f64;
        let at = cell.bounds.iter().position(|bound| value <= *bound).unwrap_or(cell.bounds.len());
        // A reader that sees some of what follows sees that the version is odd, or another one than before.
        add(&cell.version, 1);
        fence(Ordering::Release);
        add(&cell.buckets[at], 1);
        add(&cell.sum_thousandths, thousandths);
        fence(Ordering::Release);
        add(&cell.version, 1);
    }

    /// Buckets and sum of the same observations.
    fn read(&self) -> (Vec<u64>, u64) {
        let Self(cell) = self;
        loop {
            let before = cell.version.load(Ordering::Acquire);
            let buckets = cell.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
            let sum = cell.sum_thousandths.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && cell.version.load(Ordering::Relaxed) == before {
                return (buckets, sum);
            }
            hint::spin_loop();
        }
    }
}

impl Metric for Histogram {
    fn metric(&self) -> proto::Metric {
        let (buckets, sum_thousandths) = self.read();
        let mut count = 0;
        let mut up_to = buckets.iter().zip(self.0.bounds).map(|(observations, bound)| {
            count += observations;
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(count);
            bucket.set_upper_bound(*bound);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(up_to.by_ref().collect());
        drop(up_to);
        histogram.set_sample_count(count + buckets.last().copied().unwrap_or(0));
        histogram.set_sample_sum(sum_thousandths as f64 / THOUSANDTHS as f64);
        let mut metric = proto::Metric::from_label(self.0.labels.clone());
        metric.set_histogram(histogram);
        metric
    }
}

/// Not for a cell that another thread adds to.
fn add(cell: &AtomicU64, more: u64) {
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_counter_adds_up() {
        let counter = Counter::new(Vec::new());
        counter.inc();
        counter.clone().inc_by(41);
        assert_eq!(counter.metric().get_counter().get_value(), 42.0);
    }

    #[test]
    fn a_value_counts_in_its_bucket_and_all_above() {
        let histogram = Histogram::new(Vec::new(), &[1.0, 2.5]);
        for thousandths in [0, 1_000, 1_001, 2_500, 2_501, 9_000] {
            histogram.observe(thousandths);
        }
        let metric = histogram.metric();
        let told = metric.get_histogram();
        let buckets: Vec<_> = told.get_bucket().iter().map(|b| (b.upper_bound(), b.cumulative_count())).collect();
        assert_eq!(buckets, [(1.0, 2), (2.5, 4)]);
        assert_eq!((told.get_sample_count(), told.get_sample_sum()), (6, 16.002));
    }

    #[test]
    fn a_reader_sees_whole_observations_only() {
        const ROUNDS: u64 = 200_000;
        let histogram = Histogram::new(Vec::new(), &[1.0]);
        let reader = histogram.clone();
        let reading = thread::spawn(move || {
            let mut seen = 0;
            while seen < ROUNDS {
                let (buckets, sum) = reader.read();
                seen = buckets.iter().sum();
                assert_eq!(sum, seen * 500, "each observation is of 500");
            }
        });
        (0..ROUNDS).for_each(|_| histogram.observe(500));
        reading.join().unwrap();
    }
}
