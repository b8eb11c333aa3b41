//! The pipeline: events in, metrics out. Plain code without clock, task, socket or lock, so that a recorded file of events
//! always gives the same text.
//!
//! [`Tracking`] follows connections and joins their exchanges, and tells [`Fact`]s; [`Counting`] adds them up.

mod counting;
mod fact;
#[cfg(test)]
pub(crate) mod tests;
mod tracking;

use crate::attribution::Attribution;
use crate::config::{Endpoint as Address, ServiceKey};
use crate::event::{Event, Nanoseconds};
use crate::metrics::Metrics;

pub use counting::{Counting, Enabled};
pub use fact::{ClientFact, Ends, Entrance, Fact, Facts, Mark, UpstreamFact};
pub use tracking::{CONNECTIONS_MAX, Moved, Pair, Tracking, UNIX_CONNECTIONS_MAX};

/// How the pipeline is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What to add to `CLOCK_MONOTONIC` for `CLOCK_REALTIME`, in ns: nginx cuts its times to whole milliseconds of it.
    pub realtime_offset_ns: u64,
    /// The datastore whose reachability is told.
    pub datastore: Option<Address>,
    /// Tell gateways apart.
    pub per_gateway_label: bool,
    /// Listeners whose requests count in no `kong_` family but the connection states.
    pub ignored_ports: Vec<u16>,
    /// The same, as the configuration says.
    pub admin_ports: Vec<u16>,
    /// Requests without a service appear in `kong_` families as `service=""`.
    pub counts_unmatched: bool,
}

/// What a new configuration changes.
pub struct Reconfiguration {
    /// Services and routes; what names resolved to so far is taken over.
    pub attribution: Attribution,
    /// The datastore.
    pub datastore: Option<Address>,
    /// What the services can be called by, for who enables them one by one.
    pub services: Vec<ServiceKey>,
    /// Listeners that are not the proxy's.
    pub admin_ports: Vec<u16>,
}

impl std::fmt::Debug for Reconfiguration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reconfiguration").field("datastore", &self.datastore).finish_non_exhaustive()
    }
}

impl Reconfiguration {
    /// Host names whose addresses are wanted.
    pub fn names(&self) -> Vec<String> {
        let datastore = self.datastore.as_ref().and_then(counting::name_of);
        self.attribution.names().chain(datastore).map(str::to_owned).collect()
    }
}

const SECOND_NS: Nanoseconds = 1_000_000_000;

/// Tells when another second has begun, by the events' times: the pace of what is looked at now and then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seconds {
    next_ns: Nanoseconds,
}

impl Seconds {
    /// Whether this time lies in a later second than all before.
    pub fn begins(&mut self, time_ns: Nanoseconds) -> bool {
        let is_later = time_ns >= self.next_ns;
        if is_later {
            self.next_ns = (time_ns / SECOND_NS + 1).saturating_mul(SECOND_NS);
        }
        is_later
    }
}

/// From events to metrics, by one thread or several.
pub trait Following {
    /// Takes one event.
    fn handle(&mut self, event: &Event<'_>);

    /// What is counted, and how. What was taken last may still be on its way.
    fn counting(&self) -> &Counting;

    /// The same, to change, with all that was taken counted.
    fn counting_mut(&mut self) -> &mut Counting;

    /// Goes on with another configuration. Exchanges under way are attributed by it when they end; no count is lost.
    fn reconfigure(&mut self, new: Reconfiguration);

    /// Counts all that was taken, and brings the gauges up to date.
    fn publish(&mut self);

    /// Nothing else will come.
    fn end_all_held(&mut self);

    /// Clients' exchanges under way: begun, and neither counted nor filtered nor unobserved yet.
    fn open_exchanges(&mut self) -> usize;
}

/// From events to metrics.
pub struct Pipeline {
    tracking: Tracking,
    counting: Counting,
    seconds: Seconds,
}

impl Pipeline {
    /// A pipeline that has seen nothing yet.
    pub fn new(options: Options, attribution: Attribution, metrics: Metrics) -> Self {
        Pipeline::of(Counting::new(options, attribution, metrics))
    }

    /// The same, with this for the counting.
    pub fn of(counting: Counting) -> Self {
        Pipeline { tracking: Tracking::new(counting.tracking(1)), counting, seconds: Seconds::default() }
    }

    /// The metrics so far.
    pub fn metrics(&self) -> &Metrics {
        self.counting.metrics()
    }

    /// Keeps the pairs one by one from here on.
    pub fn keep_pairs(&mut self) {
        self.tracking.keep_pairs();
    }

    /// The pairs of the exchanges that are over, since they were asked for last.
    pub fn take_pairs(&mut self) -> Vec<Pair> {
        self.tracking.take_pairs()
    }

    fn count(&mut self) {
        let facts = self.tracking.facts();
        if !facts.is_empty() {
            let mut facts = std::mem::take(facts);
            for (_, fact) in facts.drain() {
                if let Some(over) = self.counting.take(fact) {
                    self.tracking.reuse(over);
                }
            }
            facts.shrink();
            *self.tracking.facts() = facts;
        }
    }
}

impl Following for Pipeline {
    fn handle(&mut self, event: &Event<'_>) {
        let time_ns = event.time_ns();
        if self.seconds.begins(time_ns) {
            self.tracking.it_is(time_ns);
            self.count();
        }
        self.tracking.handle(event);
        self.count();
        self.counting.handle(event);
    }

    fn counting(&self) -> &Counting {
        &self.counting
    }

    fn counting_mut(&mut self) -> &mut Counting {
        &mut self.counting
    }

    fn reconfigure(&mut self, new: Reconfiguration) {
        if self.counting.reconfigure(new) {
            self.tracking.look_for_datastore(self.counting.has_datastore());
            self.count();
        }
    }

    fn publish(&mut self) {
        self.counting.publish();
    }

    fn end_all_held(&mut self) {
        self.tracking.end_all_held();
        self.count();
    }

    fn open_exchanges(&mut self) -> usize {
        self.tracking.open_exchanges()
    }
}
