//! The series of one family.
//!
//! The `prometheus` crate's own vectors find a series by a hash over its joined label values, so that
//! `code="30",service="1x"` and `code="301",service="x"` would share one. Here the caller's tables, keyed by the values
//! themselves, decide what is a new series.

use std::borrow::Cow;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::cells::{Counter, Gauge, Histogram};
use super::families::Family;
use super::labels::Labels;
use super::reading::{Histograms, Reading, Values};
use super::registry::Registry;

/// A family's series of kind `M`, one for each [`Series::add`]. Clones share the series.
pub(super) struct Series<M>(Arc<Shared<M>>);

struct Shared<M> {
    family: &'static Family,
    label_names: Vec<&'static str>,
    /// Since the last reading. Whoever adds waits for no more than this list to change hands.
    added: Mutex<Vec<(Labels, M)>>,
    /// Locked by readers alone.
    sorted: Mutex<Sorted<M>>,
}

/// Series in the order of the page.
struct Sorted<M> {
    members: Vec<(Labels, M)>,
    /// Of the members, for readings to share.
    labels: Arc<[Labels]>,
}

/// What can be read at any time, from any thread.
pub(super) trait Readable: Send + Sync {
    fn read(&self) -> Reading;
}

/// What a family of [`Series`] can consist of.
pub(super) trait Member: Clone + Send + Sync + 'static {
    fn new(family: &'static Family) -> Self;

    fn read<'a>(family: &'static Family, members: impl ExactSizeIterator<Item = &'a Self>) -> Values;
}

impl<M> Clone for Series<M> {
    fn clone(&self) -> Self {
        Series(Arc::clone(&self.0))
    }
}

impl<M: Member> Series<M> {
    pub(super) fn register(family: &'static Family, per_gateway: bool, registry: &Registry) -> Series<M> {
        let (added, sorted) = (Mutex::default(), Mutex::new(Sorted { members: Vec::new(), labels: Arc::default() }));
        let series = Series(Arc::new(Shared { family, label_names: family.label_names(per_gateway), added, sorted }));
        registry.register_series(Box::new(series.clone()));
        series
    }

    /// Adds a series with these label values, in the order of the family's labels. The same values must not be added twice.
    pub(super) fn add(&self, values: &[&str]) -> M {
        let Shared { family, label_names, added, .. } = &*self.0;
        debug_assert_eq!(values.len(), label_names.len());
        let mut pairs: Vec<_> = label_names.iter().copied().zip(values.iter().copied()).collect();
        // As the crate has them.
        pairs.sort_by_key(|(name, _)| *name);
        let (labels, member) = (Labels::new(family.name, pairs.into_iter()), M::new(family));
        lock(added).push((labels, member.clone()));
        member
    }
}

impl<M: Member> Readable for Series<M> {
    fn read(&self) -> Reading {
        let Shared { family, added, sorted, .. } = &*self.0;
        let mut sorted = lock(sorted);
        let added = mem::take(&mut *lock(added));
        if !added.is_empty() {
            sorted.take(added);
        }
        Reading {
            name: Cow::Borrowed(family.name),
            help: Cow::Borrowed(family.help),
            labels: Arc::clone(&sorted.labels),
            values: M::read(family, sorted.members.iter().map(|(_, member)| member)),
        }
    }
}

impl<M> Sorted<M> {
    fn take(&mut self, added: Vec<(Labels, M)>) {
        self.members.extend(added);
        self.members.sort_by(|(a, _), (b, _)| a.cmp(b));
        self.labels = self.members.iter().map(|(labels, _)| labels.clone()).collect();
    }
}

impl Member for Counter {
    fn new(_family: &'static Family) -> Self {
        Counter::default()
    }

    fn read<'a>(_family: &'static Family, members: impl ExactSizeIterator<Item = &'a Self>) -> Values {
        Values::Counters(members.map(|counter| counter.get() as f64).collect())
    }
}

impl Member for Gauge {
    fn new(_family: &'static Family) -> Self {
        Gauge::default()
    }

    fn read<'a>(_family: &'static Family, members: impl ExactSizeIterator<Item = &'a Self>) -> Values {
        Values::Gauges(members.map(|gauge| gauge.get() as f64).collect())
    }
}

impl Member for Histogram {
    fn new(family: &'static Family) -> Self {
        Histogram::new(family.bounds)
    }

    fn read<'a>(family: &'static Family, members: impl ExactSizeIterator<Item = &'a Self>) -> Values {
        let mut histograms = Histograms::with_capacity(family.bounds, members.len());
        members.for_each(|member| histograms.push(member));
        Values::Histograms(histograms)
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::HTTP_STATUS;

    #[test]
    fn series_that_come_between_readings_find_their_place() {
        let registry = Registry::new();
        let series: Series<Counter> = Series::register(&HTTP_STATUS, false, &registry);
        assert!(registry.gather().is_empty());
        let add = |code, service, value| series.add(&[code, service]).inc_by(value);
        add("404", "a", 1);
        add("200", "b", 2);
        let first = series.read();
        add("200", "a", 3);
        add("499", "a", 4);
        let told = |reading: &Reading| -> Vec<(String, f64)> {
            reading.numbers().map(|(labels, value)| (labels.to_string(), value)).collect()
        };
        let line = |code: &str, service: &str, value| (format!("code=\"{code}\",service=\"{service}\""), value);
        let expected = [line("200", "a", 3.0), line("200", "b", 2.0), line("404", "a", 1.0), line("499", "a", 4.0)];
        assert_eq!(told(&series.read()), expected);
        assert_eq!(told(&first), [line("200", "b", 2.0), line("404", "a", 1.0)]);
        assert_eq!(told(&registry.gather()[0]), expected);
    }
}
