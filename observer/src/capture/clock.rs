//! The kernel's clocks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::event::Nanoseconds;

/// Now, as the kernel part takes its times (`CLOCK_MONOTONIC`).
pub fn now_ns() -> Nanoseconds {
    nanoseconds(ClockId::CLOCK_MONOTONIC)
}

/// What to add to [`now_ns`] for the time of day.
pub fn realtime_offset_ns() -> u64 {
    nanoseconds(ClockId::CLOCK_REALTIME).saturating_sub(now_ns())
}

fn nanoseconds(clock: ClockId) -> u64 {
    clock_gettime(clock).map_or(0, |time| Duration::from(time).as_nanos() as u64)
}
