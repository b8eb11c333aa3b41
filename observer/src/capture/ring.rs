//! The kernel's records.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::event::Event;

/// Records handed over at once: then the caller may look after other things.
pub const BATCH: usize = 65_536;

/// What was handed over at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    /// How many records.
    pub records: usize,
    /// What they took of the ring.
    pub bytes: usize,
}

/// The reading end.
pub struct Ring {
    records: RingBuf<MapData>,
    /// Edge-triggered: records that wake nobody do not end a wait.
    wakeups: Epoll,
}

impl Ring {
    pub fn take(programs: &mut Ebpf) -> Result<Self> {
        let map = programs.take_map("RECORDS").context("the kernel object lacks the table RECORDS")?;
        let records = RingBuf::try_from(map)?;
        let wakeups = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        wakeups.add(&records, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))?;
        Ok(Ring { records, wakeups })
    }

    /// Waits so long, or until a record wakes the agent.
    pub fn wait(&self, pause: Duration) {
        let timeout = EpollTimeout::try_from(pause).unwrap_or(EpollTimeout::ZERO);
        // A signal ends the wait early, which does no harm.
        let _ = self.wakeups.wait(&mut [EpollEvent::empty()], timeout);
    }

    pub fn drain(&mut self, mut tell: impl FnMut(&Event<'_>)) -> Drained {
        let mut drained = Drained::default();
        while drained.records < BATCH
            && let Some(record) = self.records.next()
        {
            drained.records += 1;
            drained.bytes += record.len();
            match Event::decode(&record) {
                Ok(event) => tell(&event),
                Err(error) => log::error!("{error}: kernel part and agent are of different versions"),
            }
        }
        drained
    }
}
