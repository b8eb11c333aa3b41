//! Where all families are.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;

use super::reading::Reading;
use super::series::Readable;

/// All families: those with many series, which are read as they are, and the others in a registry of the `prometheus` crate,
/// which copies names and labels with each number. Clones share them.
#[derive(Clone, Default)]
pub struct Registry {
    few: prometheus::Registry,
    many: Arc<Mutex<Vec<Box<dyn Readable>>>>,
}

impl Registry {
    /// Without families.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Adds families of the `prometheus` crate.
    ///
    /// # Errors
    /// A family of this name is there already.
    pub fn register(&self, families: Box<dyn Collector>) -> prometheus::Result<()> {
        self.few.register(families)
    }

    pub(super) fn register_series(&self, family: Box<dyn Readable>) {
        self.many.lock().unwrap_or_else(PoisonError::into_inner).push(family);
    }

    /// Reads all families that have a series, by their names. It takes a copy of the numbers, so that a page is of this
    /// moment however long it takes to send.
    pub fn gather(&self) -> Vec<Reading> {
        let mut readings: Vec<Reading> = self.few.gather().iter().map(Reading::of).collect();
        let many = self.many.lock().unwrap_or_else(PoisonError::into_inner);
        readings.extend(many.iter().map(|family| family.read()).filter(|reading| !reading.labels.is_empty()));
        readings.sort_by(|a, b| a.name.cmp(&b.name));
        readings
    }
}
