//! What is counted: everything, or some services.

use std::sync::Arc;

use rustc_hash::FxHashSet;

/// Where the plugin is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    /// For every service, and for requests without one.
    pub everywhere: bool,
    /// For these.
    pub services: FxHashSet<Arc<str>>,
}

impl Default for Enabled {
    /// Everywhere.
    fn default() -> Self {
        Enabled { everywhere: true, services: FxHashSet::default() }
    }
}

impl Enabled {
    /// Whether an exchange with this service, or with none, is counted.
    pub fn counts(&self, service: Option<&str>) -> bool {
        self.everywhere || service.is_some_and(|service| self.services.contains(service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_of_their_own_count_where_not_everything_does() {
        let some = Enabled { everywhere: false, services: [Arc::from("a")].into_iter().collect() };
        assert!(some.counts(Some("a")));
        assert!(!some.counts(Some("b")) && !some.counts(None));
        assert!(Enabled::default().counts(Some("b")) && Enabled::default().counts(None));
    }
}
