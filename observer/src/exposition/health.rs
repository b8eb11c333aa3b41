//! Whether the pipeline's thread still works, for `/healthy`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The pipeline makes a round at least every 20 ms; on a starved host one may take seconds.
const STANDSTILL: Duration = Duration::from_secs(15);

/// The pipeline's rounds, counted without a clock. Clones share the count.
#[derive(Debug, Clone, Default)]
pub struct Rounds(Arc<AtomicU64>);

impl Rounds {
    /// One more.
    pub fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Compares the rounds from one question to the next. Clones share what was seen.
#[derive(Debug, Clone)]
pub struct Health {
    rounds: Rounds,
    /// The count, and when it was first seen.
    seen: Arc<Mutex<(u64, Instant)>>,
}

impl Health {
    /// Of a pipeline that counts its rounds there.
    pub fn new(rounds: Rounds) -> Health {
        Health { rounds, seen: Arc::new(Mutex::new((0, Instant::now()))) }
    }

    /// Whether it made a round since the last question, or that question was under 15 s ago.
    pub fn is_moving(&self, now: Instant) -> bool {
        let rounds = self.rounds.0.load(Ordering::Relaxed);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != rounds {
            *seen = (rounds, now);
        }
        now.saturating_duration_since(seen.1) < STANDSTILL
    }
}

impl Default for Health {
    /// Of a pipeline that makes no rounds.
    fn default() -> Health {
        Health::new(Rounds::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_that_makes_no_more_rounds_stands_still() {
        let rounds = Rounds::default();
        let health = Health::new(rounds.clone());
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert!(health.is_moving(at(1)));
        rounds.add();
        assert!(health.is_moving(at(20)), "seen moving now");
        assert!(health.is_moving(at(34)));
        assert!(!health.is_moving(at(36)));
        rounds.add();
        assert!(health.is_moving(at(60)));
    }
}
