//! Counters and histograms that one thread adds to and any other reads.
//!
//! The `prometheus` crate's own may be added to by many threads at once and pay for it with locked instructions, four an
//! observation. The pipeline is the only one to add to these, so plain loads and stores of atomics do.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use super::reading::Histograms;

/// Sums are kept in thousandths, so that they do not depend on the order of what is added up.
pub(super) const THOUSANDTHS: u64 = 1_000;

/// A counter. Clones share it; only one of them may add.
#[derive(Clone, Default)]
pub(super) struct Counter(Arc<AtomicU64>);

impl Counter {
    pub(super) fn inc(&self) {
        self.inc_by(1);
    }

    pub(super) fn inc_by(&self, more: u64) {
        add(&self.0, more);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A gauge of something that is counted. Clones share it; only one of them may change it.
#[derive(Clone, Default)]
pub(super) struct Gauge(Arc<AtomicU64>);

impl Gauge {
    pub(super) fn inc(&self) {
        add(&self.0, 1);
    }

    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram. Clones share it; only one of them may observe.
#[derive(Clone)]
pub(super) struct Histogram(Arc<HistogramCell>);

struct HistogramCell {
    bounds: &'static [f64],
    /// Odd while an observation is being added.
    version: AtomicU64,
    /// Observations up to each bound and above the one before, and those above all.
    buckets: Box<[AtomicU64]>,
    sum_thousandths: AtomicU64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        let (version, sum_thousandths) = Default::default();
        Histogram(Arc::new(HistogramCell { bounds, version, buckets, sum_thousandths }))
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

    /// Appends the observations up to each bound, and all; returns the sum of the same observations.
    fn read(&self, counts: &mut Vec<u64>) -> u64 {
        let Self(cell) = self;
        let start = counts.len();
        loop {
            let before = cell.version.load(Ordering::Acquire);
            let mut count = 0;
            counts.extend(cell.buckets.iter().map(|bucket| {
                count += bucket.load(Ordering::Relaxed);
                count
            }));
            let sum = cell.sum_thousandths.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && cell.version.load(Ordering::Relaxed) == before {
                return sum;
            }
            counts.truncate(start);
            hint::spin_loop();
        }
    }
}

impl Histograms {
    /// Appends what a histogram has now; its bounds are theirs.
    pub(super) fn push(&mut self, histogram: &Histogram) {
        let sum_thousandths = histogram.read(&mut self.counts);
        self.sums.push(sum_thousandths as f64 / THOUSANDTHS as f64);
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
        let counter = Counter::default();
        counter.inc();
        counter.clone().inc_by(41);
        assert_eq!(counter.get(), 42);
    }

    #[test]
    fn a_value_counts_in_its_bucket_and_all_above() {
        let histogram = Histogram::new(&[1.0, 2.5]);
        for thousandths in [0, 1_000, 1_001, 2_500, 2_501, 9_000] {
            histogram.observe(thousandths);
        }
        let mut told = Histograms::with_capacity(&[1.0, 2.5], 1);
        told.push(&histogram);
        assert_eq!((told.counts(0), told.count(0), told.sum(0)), (&[2, 4, 6][..], 6, 16.002));
    }

    #[test]
    fn a_reader_sees_whole_observations_only() {
        const ROUNDS: u64 = 200_000;
        let histogram = Histogram::new(&[1.0]);
        let reader = histogram.clone();
        let reading = thread::spawn(move || {
            let (mut seen, mut counts) = (0, Vec::new());
            while seen < ROUNDS {
                counts.clear();
                let sum = reader.read(&mut counts);
                seen = counts[1];
                assert_eq!(sum, seen * 500, "each observation is of 500");
            }
        });
        (0..ROUNDS).for_each(|_| histogram.observe(500));
        reading.join().unwrap();
    }
}
