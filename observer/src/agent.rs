//! The agent at work: one thread that takes records through the pipeline, apart from those that serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::capture::{BATCH, Capture, now_ns};
use crate::event::{Event, Opened, Role};
use crate::host::memory::{self, mib};
use crate::host::selector::Selection;
use crate::pipeline::Reconfiguration;
use crate::privileges;
use crate::progress::during;
use crate::resolver::{Place, Resolver};

/// Losses are asked for this often.
const LOSS_PERIOD: Duration = Duration::from_secs(1);

/// The kept connections are compared with the kernel's this often, ...
const COMPARE_PERIOD: Duration = Duration::from_secs(30);

/// ... and this soon, twice, when records were lost.
const COMPARE_SOON: Duration = Duration::from_secs(2);

/// As long as there is no gateway, the host is looked at this often.
const SEARCH_PERIOD: Duration = Duration::from_secs(5);

/// Names of the configuration have so long for their first answers before the agent goes on without.
const FIRST_NAMES: Duration = Duration::from_secs(2);

/// Tells a running agent to end.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for the end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What comes to the pipeline beside the kernel's records.
#[derive(Debug)]
pub enum Notice {
    /// A name's addresses.
    Event(Event<'static>),
    /// The configuration has changed.
    Reconfigured(Box<Reconfiguration>),
}

/// Where notices come in.
#[derive(Debug)]
pub struct Inbox {
    /// The notices.
    pub notices: Receiver<Notice>,
    /// Gets a message when all names were asked for once.
    pub first_names: Receiver<()>,
    /// Gets to know where gateways listen.
    pub resolver: Resolver,
}

impl Inbox {
    fn pass_on(&self, event: &Event<'_>, sink: &mut dyn Sink) {
        if let Event::Opened(Opened { role: Role::Listener, network, process, .. }) = event
            && *process != 0
        {
            self.resolver.look_at(Place { network: *network, process: *process });
        }
        sink.take(event);
    }
}

/// Takes events as they come: a pipeline, or a file.
pub trait Sink {
    /// Takes one event.
    fn take(&mut self, event: &Event<'_>);

    /// Takes a new configuration. A file of events keeps none.
    fn reconfigure(&mut self, _new: Reconfiguration) {}

    /// A round of events is over. Errors end the agent.
    fn round(&mut self) -> Result<()>;

    /// Gateways known to run, `None` if the sink does not know.
    fn gateways(&self) -> Option<usize>;

    /// Bytes that the agent has resident at most with this sink.
    fn resident_bytes_max(&self) -> u64 {
        memory::RESIDENT_BYTES_MAX
    }
}

/// Takes what `capture` brings until it is told to stop. `ready` is called once the first scan is done.
pub fn observe(
    mut capture: Capture,
    selection: &Selection,
    inbox: &Inbox,
    sink: &mut dyn Sink,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<()> {
    if inbox.first_names.recv_timeout(FIRST_NAMES).is_err() {
        log::warn!("some names of the configuration are slow to resolve; going on without them");
    }
    take_inbox(inbox, sink);
    during("looking at the host's processes and sockets", || capture.scan(|event| inbox.pass_on(event, sink)))?;
    privileges::end_of_first_scan(capture.probes_are_events())?;
    sink.take(&Event::Ready(now_ns()));
    sink.round()?;
    log::info!("attached; {}", memory(sink.resident_bytes_max()));
    ready();
    Rounds::new(selection).run(&mut capture, inbox, sink, stop)
}

/// What it takes now, and what it may take.
fn memory(resident_bytes_max: u64) -> String {
    let now = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), mib);
    format!(
        "kernel tables and ring: {} MiB (at most {}); resident besides the ring: {} MiB (at most {})",
        now(memory::table_bytes().ok()),
        mib(memory::TABLE_BYTES_MAX),
        now(memory::resident_bytes().ok()),
        mib(resident_bytes_max),
    )
}

fn take_inbox(inbox: &Inbox, sink: &mut dyn Sink) {
    for notice in inbox.notices.try_iter() {
        match notice {
            Notice::Event(event) => sink.take(&event),
            Notice::Reconfigured(new) => sink.reconfigure(*new),
        }
    }
}

/// What the rounds keep in mind from one to the next.
struct Rounds {
    looked_for: String,
    last_wait: Instant,
    next_losses: Instant,
    next_comparison: Instant,
    /// Comparisons that are still to come soon.
    comparisons_soon: u8,
    next_search: Instant,
    has_told_none: bool,
    has_told_many: bool,
}

impl Rounds {
    fn new(selection: &Selection) -> Self {
        let now = Instant::now();
        Rounds {
            looked_for: selection.to_string(),
            last_wait: now,
            next_losses: now + LOSS_PERIOD,
            next_comparison: now + COMPARE_PERIOD,
            comparisons_soon: 0,
            next_search: now + SEARCH_PERIOD,
            has_told_none: false,
            has_told_many: false,
        }
    }

    fn run(&mut self, capture: &mut Capture, inbox: &Inbox, sink: &mut dyn Sink, stop: &Stop) -> Result<()> {
        while !stop.is_asked() {
            let drained = capture.drain(|event| inbox.pass_on(event, sink));
            take_inbox(inbox, sink);
            let now = Instant::now();
            self.look_for_losses(now, capture, inbox, sink)?;
            self.look_for_gateways(now, capture, inbox, sink)?;
            sink.round()?;
            // There may be more.
            if drained.records == BATCH {
                continue;
            }
            capture.wait(drained, now - std::mem::replace(&mut self.last_wait, now))?;
        }
        capture.drain(|event| sink.take(event));
        capture.losses(now_ns(), |event| sink.take(event));
        sink.round()
    }

    /// A loss may have hidden processes, connections, and the ends of connections: they are looked up in the kernel.
    fn look_for_losses(
        &mut self,
        now: Instant,
        capture: &mut Capture,
        inbox: &Inbox,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        if now >= self.next_losses {
            self.next_losses = now + LOSS_PERIOD;
            if capture.losses(now_ns(), |event| sink.take(event)) && self.comparisons_soon == 0 {
                self.comparisons_soon = 2;
                self.next_comparison = now + COMPARE_SOON;
            }
        }
        if now >= self.next_comparison {
            if self.comparisons_soon == 2 {
                capture.scan(|event| inbox.pass_on(event, sink))?;
            }
            self.comparisons_soon = self.comparisons_soon.saturating_sub(1);
            self.next_comparison = now + if self.comparisons_soon > 0 { COMPARE_SOON } else { COMPARE_PERIOD };
            capture.remaining(|event| sink.take(event));
        }
        Ok(())
    }

    fn look_for_gateways(
        &mut self,
        now: Instant,
        capture: &mut Capture,
        inbox: &Inbox,
        sink: &mut dyn Sink,
    ) -> Result<()> {
        match sink.gateways() {
            Some(0) => {
                if !std::mem::replace(&mut self.has_told_none, true) {
                    log::warn!("no gateway found ({}); watching for one to start", self.looked_for);
                }
                if now >= self.next_search {
                    self.next_search = now + SEARCH_PERIOD;
                    capture.scan(|event| inbox.pass_on(event, sink))?;
                }
            }
            Some(1) | None => {}
            Some(many) => {
                if !std::mem::replace(&mut self.has_told_many, true) {
                    log::warn!(
                        "{many} gateways are watched and added up; --per-gateway-label tells them apart, --gateway \
                         selects some"
                    );
                }
            }
        }
        Ok(())
    }
}
