//! Capture: the kernel part loaded and attached, its tables filled, its records and the host's state as events.

mod abi;
mod clock;
mod offsets;
mod probes;
mod ring;
mod scan;
mod tables;

use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;

use crate::event::{Event, Nanoseconds};
use crate::host::selector::Selection;

pub use clock::{now_ns, realtime_offset_ns};
pub use probes::{LoadError, has_kernel_part, kernel_part};

use ring::Ring;
use tables::Tables;

/// Between two looks at the ring while there is something in it.
pub const SHORT_PAUSE: Duration = Duration::from_millis(2);

/// The longest time between two looks: records wake nobody, and a scrape may ask for what is 100 ms old.
pub const LONG_PAUSE: Duration = Duration::from_millis(20);

/// A running capture. Dropping it detaches everything.
pub struct Capture {
    selection: Selection,
    tables: Tables,
    ring: Ring,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Detached when dropped.
    _programs: Ebpf,
}

impl Capture {
    /// Loads and attaches the programs. Nothing is watched before [`Capture::scan`].
    pub fn start(selection: Selection) -> Result<Self> {
        let mut programs = probes::load()?;
        let mut tables = Tables::take(&mut programs)?;
        tables.set_names(&selection.names())?;
        tables.select_ports(&selection.ports())?;
        let ring = Ring::take(&mut programs)?;
        let logger = EbpfLogger::init(&mut programs).ok();
        probes::attach(&mut programs)
            .context("cannot attach to the kernel's tracepoints; `observer check` says why")?;
        Ok(Capture { selection, tables, ring, logger, _programs: programs })
    }

    /// Finds the selected gateways that run now, has them watched, and tells of their processes and sockets. Nothing
    /// falls between: what happens from the moment a process is watched comes through the ring.
    pub fn scan(&mut self, mut tell: impl FnMut(&Event<'_>)) -> Result<()> {
        scan::scan(&self.selection, &mut self.tables, &mut tell)
    }

    /// Hands over the records that are there, many at most. Returns how many there were.
    pub fn drain(&mut self, tell: impl FnMut(&Event<'_>)) -> usize {
        self.ring.drain(tell)
    }

    /// Tells what the kernel part has lost since the last call, and prints its messages.
    pub fn losses(&mut self, now_ns: Nanoseconds, tell: impl FnMut(&Event<'_>)) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.tables.losses(now_ns, tell);
    }
}
