//! The last snapshots.

use std::collections::VecDeque;

use super::rates::Rates;
use crate::snapshot::Snapshot;

/// Seconds that rates can be of. More would take much memory with a thousand services.
pub const WINDOWS: [usize; 2] = [10, 1];

/// Snapshots of the last seconds, one a second.
#[derive(Debug, Default)]
pub struct History {
    snapshots: VecDeque<Snapshot>,
}

impl History {
    /// The newest. One that is no newer than the last is left out.
    pub fn add(&mut self, snapshot: Snapshot) {
        if self.snapshots.back().is_some_and(|last| last.started_ms != snapshot.started_ms) {
            self.snapshots.clear();
        }
        if self.snapshots.back().is_none_or(|last| last.time_ms < snapshot.time_ms) {
            self.snapshots.push_back(snapshot);
        }
        while self.snapshots.len() > WINDOWS[0] + 1 {
            self.snapshots.pop_front();
        }
    }

    /// Over the last `window` snapshots, or as many as there are; before the second one, since the agent's start.
    pub fn rates(&self, window: usize) -> Option<Rates> {
        let now = self.snapshots.back()?;
        let first = self.snapshots.len().saturating_sub(window + 1);
        match self.snapshots.get(first).filter(|first| first.time_ms < now.time_ms) {
            Some(before) => Some(Rates::between(before, now)),
            None => Some(Rates::between(&Snapshot { started_ms: now.started_ms + 1, ..Snapshot::default() }, now)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rates::tests::snapshot;

    #[test]
    fn rates_are_of_the_window_as_far_as_it_is_known() {
        let mut history = History::default();
        assert_eq!(history.rates(10), None);
        history.add(snapshot(5));
        let seconds = |history: &History, window| history.rates(window).unwrap().seconds;
        assert_eq!(seconds(&history, 10), 5.0, "since the start");
        (6..9).for_each(|second| history.add(snapshot(second)));
        history.add(snapshot(8));
        assert_eq!((seconds(&history, 10), seconds(&history, 1)), (3.0, 1.0));
        (9..30).for_each(|second| history.add(snapshot(second)));
        assert_eq!((seconds(&history, 10), history.snapshots.len()), (10.0, 11));
        history.add(Snapshot { started_ms: 1_020_000, ..snapshot(31) });
        assert_eq!(seconds(&history, 10), 11.0, "of a new agent nothing is older than its start");
    }
}
