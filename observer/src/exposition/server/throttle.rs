//! A brake on messages that a stranger could otherwise cause by the thousand.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between two messages.
const QUIET: Duration = Duration::from_secs(60);

/// Counts what happens and lets one message a minute speak for all of it.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    since_last: u64,
    quiet_until: Option<Instant>,
}

impl Throttle {
    /// Counts one. `Some` when a message is due: how many there were since the last one, this one included.
    pub(super) fn count(&mut self, now: Instant) -> Option<u64> {
        self.since_last += 1;
        if self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        self.quiet_until = Some(now + QUIET);
        Some(std::mem::take(&mut self.since_last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_a_minute_speaks_for_all() {
        let mut throttle = Throttle::default();
        let start = Instant::now();
        assert_eq!(throttle.count(start), Some(1));
        for second in 1..60 {
            assert_eq!(throttle.count(start + Duration::from_secs(second)), None);
        }
        assert_eq!(throttle.count(start + QUIET), Some(60));
        assert_eq!(throttle.count(start + QUIET), None);
    }
}
