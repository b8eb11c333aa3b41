//! Capture: the kernel part loaded and attached, its tables filled, its records and the host's state as events.

mod abi;
mod clock;
mod functions;
mod misses;
mod offsets;
mod pace;
mod probes;
mod ring;
mod scan;
mod tables;
mod tls;

use std::thread::ScopedJoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use observer_ebpf::tables::Loss;

use crate::event::{Event, Lost, Nanoseconds, ProcessChange};
use crate::host::diag::Diag;
use crate::host::selector::Selection;

pub use clock::{now_ns, realtime_offset_ns};
pub use probes::{LoadError, has_kernel_part, kernel_part};

use misses::Misses;
use pace::{Pace, Rest};
use ring::Ring;
pub use ring::{BATCH, Drained};
use tables::Tables;
use tls::Prober;

/// A running capture. Dropping it detaches everything.
pub struct Capture {
    selection: Selection,
    tables: Tables,
    misses: Misses,
    ring: Ring,
    /// Those that a scan met a gateway in: others cannot be entered once privileges are given up.
    namespaces: Vec<Diag>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    prober: Prober,
    pace: Pace,
    /// Detached when dropped.
    programs: Ebpf,
}

impl Capture {
    /// Loads and attaches the programs. Nothing is watched before [`Capture::scan`].
    pub fn start(selection: Selection) -> Result<Self> {
        let (mut programs, functions) = probes::load()?;
        let mut tables = Tables::take(&mut programs)?;
        tables.set_names(&selection.names())?;
        tables.select_ports(&selection.ports())?;
        let ring = Ring::take(&mut programs)?;
        let logger = EbpfLogger::init(&mut programs).ok();
        probes::attach(&mut programs)
            .context("cannot attach to the kernel's tracepoints; `observer check` says why")?;
        let misses = Misses::of(&mut programs)?;
        let (namespaces, prober) = (Vec::new(), Prober::new(functions));
        Ok(Capture { selection, tables, misses, ring, namespaces, logger, prober, pace: Pace::default(), programs })
    }

    /// Finds the selected gateways that run now, has them watched, and tells of their processes and sockets. Nothing
    /// falls between: what happens from the moment a process is watched comes through the ring.
    pub fn scan(&mut self, mut tell: impl FnMut(&Event<'_>)) -> Result<()> {
        let Capture { selection, tables, namespaces, prober, programs, .. } = self;
        let mut probe = |process, tables: &mut Tables| prober.begin(process, programs, tables);
        scan::scan(selection, tables, namespaces, &mut probe, &mut tell)
    }

    /// Whether probes are put by perf's events, as before Linux 6.11.
    pub fn probes_are_events(&self) -> bool {
        self.prober.probes_are_events()
    }

    /// Tells which sockets the gateways' network namespaces have now, behind all records of what went before.
    pub fn remaining(&mut self, mut tell: impl FnMut(&Event<'_>)) {
        let remaining = scan::remaining(&mut self.namespaces);
        while self.drain(&mut tell).records == BATCH {}
        remaining.into_iter().for_each(|part| tell(&Event::Remaining(part)));
    }

    /// Hands over the records that are there, many at most. Returns how much there was.
    ///
    /// Processes that they tell of get their probes, or lose them, at once.
    pub fn drain(&mut self, mut tell: impl FnMut(&Event<'_>)) -> Drained {
        let Capture { ring, tables, prober, programs, .. } = self;
        let drained = ring.drain(|event| {
            if let Event::Process(process) = event {
                match process.change {
                    ProcessChange::Found { .. } | ProcessChange::Forked { .. } => {
                        prober.begin(process.process, programs, tables);
                    }
                    ProcessChange::Executed { watched: true, .. } => prober.restart(process.process, programs, tables),
                    ProcessChange::Executed { watched: false, .. } | ProcessChange::Exited => {
                        prober.end(process.process);
                    }
                }
            }
            tell(event);
        });
        prober.look_around(programs, tables);
        drained
    }

    /// Waits until the ring may be worth a look, if `drained` is what came in the time since the last wait; or until a
    /// process is told of: a new one should be looked at before it does anything.
    pub fn wait(&mut self, drained: Drained, time: Duration) -> Result<()> {
        match self.pace.next(drained, time) {
            Rest::For(pause) => {
                // A wait has whole milliseconds: it ends behind the moment of the look, not before.
                let until_look = self.prober.until_next_look().saturating_add(Duration::from_millis(1));
                self.ring.wait(pause.min(until_look));
                Ok(())
            }
            Rest::AskToBeWoken => self.tables.ask_to_be_woken(),
        }
    }

    /// Tells what the kernel part has lost since the last call, and prints its messages. Returns whether records were lost.
    pub fn losses(&mut self, now_ns: Nanoseconds, mut tell: impl FnMut(&Event<'_>)) -> bool {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let missed = self.misses.since_last();
        if missed > 0 {
            tell(&Event::Lost(Lost { time_ns: now_ns, reason: Loss::ProgramMissed.name().into(), count: missed }));
        }
        self.tables.losses(now_ns, tell) || missed > 0
    }
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow::anyhow!("a thread that loads the kernel part panicked; its message is above"))?
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.prober.end_all();
    }
}
