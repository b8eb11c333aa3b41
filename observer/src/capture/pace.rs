//! How long the ring is left alone.

use std::time::Duration;

use observer_ebpf::limits::RING_BYTES;

use super::ring::Drained;

/// Between two looks at the ring: records wake nobody, and a scrape may ask for what is 100 ms old. Each look takes the
/// processor from somebody, and its caches.
const LONG_PAUSE: Duration = Duration::from_millis(20);

/// The same where much comes.
const SHORT_PAUSE: Duration = Duration::from_millis(5);

/// So much of the ring may be filled in a pause: the rest is for an agent that the scheduler keeps waiting.
const PAUSE_BYTES: usize = RING_BYTES as usize / 8;

/// Behind so much time without a record the next call that moves bytes is asked to wake the agent. What else may come, the
/// states of sockets, waits that long.
const QUIET: Duration = Duration::from_millis(200);
const QUIET_PAUSE: Duration = Duration::from_millis(100);

/// What to do until the next look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Wait at most so long.
    For(Duration),
    /// Ask to be woken, and look once more: something may have come before that was asked.
    AskToBeWoken,
}

/// The pace of the looks.
#[derive(Debug, Default)]
pub struct Pace {
    quiet_for: Duration,
    has_asked: bool,
}

impl Pace {
    /// What to do, if `drained` is what came in the time since the last wait.
    pub fn next(&mut self, drained: Drained, time: Duration) -> Rest {
        if drained.records > 0 {
            *self = Pace::default();
            return Rest::For(pause(drained.bytes, time));
        }
        self.quiet_for = self.quiet_for.saturating_add(time);
        if self.quiet_for < QUIET {
            return Rest::For(LONG_PAUSE);
        }
        if self.has_asked {
            return Rest::For(QUIET_PAUSE);
        }
        self.has_asked = true;
        Rest::AskToBeWoken
    }
}

/// As long as `PAUSE_BYTES` take at this pace.
fn pause(bytes: usize, time: Duration) -> Duration {
    time.mul_f64(PAUSE_BYTES as f64 / bytes.max(1) as f64).clamp(SHORT_PAUSE, LONG_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shorter_the_more_comes_in_it() {
        let round = Duration::from_millis(10);
        assert_eq!(pause(0, round), LONG_PAUSE);
        assert_eq!(pause(PAUSE_BYTES / 4, round), LONG_PAUSE);
        assert_eq!(pause(PAUSE_BYTES, round), round);
        assert_eq!(pause(2 * PAUSE_BYTES, 2 * round), round);
        assert_eq!(pause(16 * PAUSE_BYTES, round), SHORT_PAUSE);
    }

    #[test]
    fn behind_a_quiet_while_the_kernel_part_is_asked_once_to_wake_the_agent() {
        let (nothing, one) = (Drained::default(), Drained { records: 1, bytes: 100 });
        let mut pace = Pace::default();
        for _ in 0..9 {
            assert_eq!(pace.next(nothing, LONG_PAUSE), Rest::For(LONG_PAUSE));
        }
        assert_eq!(pace.next(nothing, LONG_PAUSE), Rest::AskToBeWoken);
        assert_eq!(pace.next(nothing, Duration::ZERO), Rest::For(QUIET_PAUSE));
        assert_eq!(pace.next(nothing, QUIET_PAUSE), Rest::For(QUIET_PAUSE));
        assert_eq!(pace.next(one, QUIET_PAUSE), Rest::For(LONG_PAUSE));
        assert_eq!(pace.next(nothing, LONG_PAUSE), Rest::For(LONG_PAUSE));
    }
}
