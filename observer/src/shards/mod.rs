//! The pipeline over several threads: connections are followed by several, and what comes to light is counted by the one
//! that takes the events, in the events' order. So the text is that of one thread, to the byte.
//!
//! Which shard follows a connection is told in [`routes`]. Events go out in batches; while one is worked off the next is
//! filled, and the last but one counted. Between batches the shards are at home with the thread that takes the events, which
//! may do with them whatever concerns several of them.

pub(crate) mod batch;
mod merge;
mod routes;
#[cfg(test)]
mod tests;
mod thread;

use std::fs;
use std::path::Path;

use crate::event::Event;
use crate::pipeline::{Counting, Facts, Following, Pipeline, Reconfiguration, Seconds, Tracking};

use batch::{BATCH_BYTES, Batch};
use routes::{Routes, Way};
use thread::{Job, Thread};

/// Threads that follow connections, at most. Gateways have a worker process a processor.
pub const THREADS_MAX: usize = 64;

/// What a thread takes of memory beside the connections: two batches, the facts that come of them, and its stack.
pub const THREAD_BYTES_MAX: u64 = 4 << 20;

/// A batch is that of all shards together; to wake a thread costs more than to follow a few events oneself.
const PACE: Pace = Pace { batch: 1024, few: 128 };

/// What takes events from here on, with so many threads that follow connections: the pipeline as it is with one.
///
/// # Errors
/// A thread cannot be started.
pub fn following(counting: Counting, threads: usize, prepare: fn()) -> std::io::Result<Box<dyn Following + Send>> {
    match threads {
        0 | 1 => Ok(Box::new(Pipeline::of(counting))),
        _ => Ok(Box::new(Shards::start(counting, threads, prepare)?)),
    }
}

/// CPU time that the calling thread and each thread that follows connections now have had, by name, in ns; empty where /proc
/// cannot be read.
pub fn cpu_times() -> Vec<(String, u64)> {
    let of = |folder: &Path| {
        let name = fs::read_to_string(folder.join("comm")).ok()?.trim_end().to_owned();
        // Documentation/scheduler/sched-stats.rst: time on a processor comes first.
        let times = fs::read_to_string(folder.join("schedstat")).ok()?;
        Some((name, times.split(' ').next()?.parse().ok()?))
    };
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut others: Vec<(String, u64)> = tasks.filter_map(|task| of(&task.path())).collect();
    others.retain(|(name, _)| name.starts_with(thread::NAME));
    others.sort();
    of(Path::new("/proc/thread-self")).into_iter().chain(others).collect()
}

/// From events to metrics, over several threads.
pub struct Shards {
    counting: Counting,
    routes: Routes,
    /// Follows the connections that no call was made on yet: whose they are shows with the first one.
    lobby: Tracking,
    shards: Vec<Shard>,
    seconds: Seconds,
    pace: Pace,
    filling: Filling,
    under_way: Option<Round>,
    spare: Round,
}

/// One that follows connections, and the thread that it does so on.
struct Shard {
    /// Away while a batch is under way.
    tracking: Option<Box<Tracking>>,
    /// Filled with what comes next.
    batch: Batch,
    /// Empty, with the memory of one that was played.
    spare: Batch,
    thread: Thread,
}

/// How many events go at once.
#[derive(Clone, Copy)]
struct Pace {
    /// So many make a batch.
    batch: u32,
    /// So many are not worth a thread's while.
    few: u32,
}

/// What is gathered for the next batch, beside the shards' own parts.
#[derive(Default)]
struct Filling {
    /// What does not concern single connections, for the counting.
    everyones: Batch,
    events: u32,
}

/// A batch's outcome, as far as it is there.
#[derive(Default)]
struct Round {
    /// The lobby's first, then each shard's.
    facts: Vec<Facts>,
    everyones: Batch,
}

impl Shards {
    /// Starts so many threads; each runs `prepare` first.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(counting: Counting, threads: usize, prepare: fn()) -> std::io::Result<Self> {
        // The lobby has a share of its own.
        let options = counting.tracking(threads + 1);
        let shard = |index: usize| {
            let tracking = Some(Box::new(Tracking::new(options.clone())));
            Ok(Shard {
                tracking,
                batch: Batch::default(),
                spare: Batch::default(),
                thread: Thread::start(index, prepare)?,
            })
        };
        Ok(Shards {
            lobby: Tracking::new(options.clone()),
            shards: (0..threads).map(shard).collect::<std::io::Result<_>>()?,
            routes: Routes::new(threads),
            counting,
            seconds: Seconds::default(),
            pace: PACE,
            filling: Filling::default(),
            under_way: None,
            spare: Round::default(),
        })
    }

    /// Follows and counts all that was taken so far.
    fn settle(&mut self) {
        if self.filling.events > self.pace.few {
            self.turn();
        }
        if let Some(done) = self.collect() {
            self.count(done);
        }
        if self.filling.events > 0 {
            for shard in &mut self.shards {
                shard.batch.play(shard.tracking.as_mut().expect(AT_HOME));
            }
            let done = self.begin_round();
            let done = self.end_round(done);
            self.count(done);
        }
    }

    /// Sends out what is filled, and counts what comes back.
    fn turn(&mut self) {
        let done = self.collect();
        let round = self.begin_round();
        for shard in &mut self.shards {
            let batch = std::mem::replace(&mut shard.batch, std::mem::take(&mut shard.spare));
            let tracking = shard.tracking.take().expect(AT_HOME);
            shard.thread.send(Job { tracking, batch });
        }
        self.under_way = Some(round);
        if let Some(done) = done {
            self.count(done);
        }
    }

    /// What the lobby and the events themselves bring for the batch that is filled.
    fn begin_round(&mut self) -> Round {
        let mut round = std::mem::take(&mut self.spare);
        std::mem::swap(&mut round.everyones, &mut self.filling.everyones);
        self.filling.events = 0;
        round.facts.resize_with(1 + self.shards.len(), Facts::default);
        std::mem::swap(&mut round.facts[0], self.lobby.facts());
        round
    }

    /// The shards' facts of it.
    fn end_round(&mut self, mut round: Round) -> Round {
        for (facts, shard) in round.facts[1..].iter_mut().zip(&mut self.shards) {
            std::mem::swap(facts, shard.tracking.as_mut().expect(AT_HOME).facts());
        }
        round
    }

    /// Waits for the batch under way.
    fn collect(&mut self) -> Option<Round> {
        let round = self.under_way.take()?;
        for shard in &mut self.shards {
            let Job { tracking, batch } = shard.thread.receive();
            (shard.tracking, shard.spare) = (Some(tracking), batch);
        }
        Some(self.end_round(round))
    }

    fn count(&mut self, mut round: Round) {
        merge::count(&mut round.facts, &mut round.everyones, &mut self.counting);
        self.spare = round;
    }

    fn push(&mut self, event: &Event<'_>, way: Way) {
        let index = self.filling.events;
        match way {
            Way::Nowhere => {}
            Way::Counting => self.filling.everyones.push(index, event),
            Way::Lobby => self.follow_in_lobby(index, event),
            Way::Shard(shard) => self.shards[shard].batch.push(index, event),
            Way::United { from, to } => {
                self.unite(from, to);
                return self.push(event, Way::Shard(to));
            }
            Way::OutOfLobby { socket, shard } => {
                if let Some(moved) = self.lobby.give_up(socket) {
                    self.shards[shard].batch.adopt(index, moved);
                }
                self.shards[shard].batch.push(index, event);
            }
            Way::Everyone => {
                self.follow_in_lobby(index, event);
                self.shards.iter_mut().for_each(|shard| shard.batch.push(index, event));
                self.filling.everyones.push(index, event);
            }
        }
        self.filling.events += 1;
        let is_full = |shard: &Shard| shard.batch.bytes() >= BATCH_BYTES;
        if self.filling.events >= self.pace.batch || self.shards.iter().any(is_full) {
            self.turn();
        }
    }

    fn follow_in_lobby(&mut self, index: u32, event: &Event<'_>) {
        self.lobby.facts().of_event(index);
        self.lobby.handle(event);
    }

    fn it_is(&mut self, time_ns: u64) {
        let index = self.filling.events;
        self.filling.events += 1;
        self.lobby.facts().of_event(index);
        self.lobby.it_is(time_ns);
        self.shards.iter_mut().for_each(|shard| shard.batch.it_is(index, time_ns));
    }

    /// Has all of them do something that is no event.
    fn each(&mut self, act: impl Fn(&mut Tracking)) {
        self.settle();
        let at_home = self.shards.iter_mut().map(|shard| &mut **shard.tracking.as_mut().expect(AT_HOME));
        for tracking in std::iter::once(&mut self.lobby).chain(at_home) {
            tracking.facts().of_event(0);
            act(tracking);
        }
        let round = self.begin_round();
        let round = self.end_round(round);
        self.count(round);
    }

    /// A call shows that two shards have to do with each other: one takes over what the other one has.
    fn unite(&mut self, from: usize, to: usize) {
        self.settle();
        let mut taken = self.shards[from].tracking.take().expect(AT_HOME);
        self.shards[to].tracking.as_mut().expect(AT_HOME).absorb(&mut taken);
        self.shards[from].tracking = Some(taken);
    }

    /// Of connections whose ends did not show, or were refused, nothing else would tell that they are gone.
    fn forget_sockets(&mut self) {
        self.settle();
        let (lobby, shards) = (&self.lobby, &self.shards);
        self.routes.retain(|socket, place| match place {
            None => lobby.has(socket),
            Some(shard) => shards[shard].tracking.as_ref().expect(AT_HOME).has(socket),
        });
    }
}

const AT_HOME: &str = "no batch is under way";

impl Following for Shards {
    fn handle(&mut self, event: &Event<'_>) {
        let time_ns = event.time_ns();
        if self.seconds.begins(time_ns) {
            self.it_is(time_ns);
        }
        let way = self.routes.way(event);
        self.push(event, way);
        if let Event::Remaining(_) = event {
            self.forget_sockets();
        }
    }

    fn counting(&self) -> &Counting {
        &self.counting
    }

    fn counting_mut(&mut self) -> &mut Counting {
        self.settle();
        &mut self.counting
    }

    fn reconfigure(&mut self, new: Reconfiguration) {
        if self.counting_mut().reconfigure(new) {
            let is_there = self.counting.has_datastore();
            self.each(|tracking| tracking.look_for_datastore(is_there));
        }
    }

    fn publish(&mut self) {
        self.counting_mut().publish();
    }

    fn end_all_held(&mut self) {
        self.each(Tracking::end_all_held);
    }

    fn open_exchanges(&mut self) -> usize {
        self.settle();
        let shards = self.shards.iter().filter_map(|shard| shard.tracking.as_deref());
        shards.map(Tracking::open_exchanges).sum::<usize>() + self.lobby.open_exchanges()
    }
}
