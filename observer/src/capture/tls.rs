//! Probes in the TLS libraries of the watched processes.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::Ebpf;
use observer_ebpf::tables::process;

use super::abi;
use super::functions::{Functions, Links};
use super::tables::Tables;
use crate::tls::{FileId, Library, Mapped, mapped_files};

/// After its start a process may still map its libraries: it is looked at again after so long, and after twice as long
/// each time.
const FIRST_LOOK: Duration = Duration::from_millis(5);

/// The longest time between two looks at a process: a library may be loaded at any time.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Threads that take probes out when the agent ends.
const ENDING_THREADS: usize = 64;

/// Probes that are perf's events are not taken out sooner than this after the last process began: the kernel holds a lock
/// meanwhile (`event_mutex`, some 80 ms each) which putting one in needs, too, and new workers should not wait for it.
const EVENTS_STAY: Duration = Duration::from_secs(5);

/// So many of them stay at most, each an open file.
const STAYING_EVENTS_MAX: usize = 512;

/// Files whose functions are kept in mind; those of processes that are gone make room.
const FILES_MAX: usize = 4096;

/// The probes by process.
pub struct Prober {
    functions: Functions,
    /// What is in the files seen so far; `None` for those that are no TLS library.
    files: HashMap<FileId, Option<Arc<Library>>>,
    processes: BTreeMap<u32, Probed>,
    /// Probes of processes that ended, to be taken out by threads of their own.
    ending: Ending,
}

type Ending = Arc<Mutex<Ended>>;

/// What processes that ended left.
#[derive(Default)]
struct Ended {
    links: Vec<OwnedFd>,
    /// `None` where nothing else waits for what they are taken out by.
    stay_until: Option<Instant>,
    /// A thread looks after those that stay.
    is_looked_after: bool,
}

struct Probed {
    /// `None` where none could be put.
    links: BTreeMap<FileId, Option<Links>>,
    next_look: Instant,
    wait: Duration,
    has_failed: bool,
}

impl Prober {
    /// Looks after no process yet.
    pub fn new(functions: Functions) -> Self {
        Prober { functions, files: HashMap::new(), processes: BTreeMap::new(), ending: Ending::default() }
    }

    /// Whether probes are put by perf's events.
    pub fn probes_are_events(&self) -> bool {
        matches!(self.functions, Functions::Single(_))
    }

    /// Looks after a process from now on.
    pub fn begin(&mut self, process: u32, programs: &mut Ebpf, tables: &mut Tables) {
        let now = Instant::now();
        if self.probes_are_events() {
            locked(&self.ending).stay_until = Some(now + EVENTS_STAY);
        }
        let probed = Probed { links: BTreeMap::new(), next_look: now, wait: FIRST_LOOK, has_failed: false };
        self.processes.entry(process).or_insert(probed);
        self.look(process, now, programs, tables);
    }

    /// A process executes another program: what was mapped is gone.
    pub fn restart(&mut self, process: u32, programs: &mut Ebpf, tables: &mut Tables) {
        self.end(process);
        self.begin(process, programs, tables);
    }

    /// A process ended. The kernel takes its time with each probe, which is not the pipeline's.
    pub fn end(&mut self, process: u32) {
        let Some(probed) = self.processes.remove(&process) else { return };
        let links = probed.links.into_values().flatten().flat_map(Links::into_each);
        let mut ending = locked(&self.ending);
        ending.links.extend(links);
        if ending.links.is_empty() || (self.probes_are_events() && ending.is_looked_after) {
            return;
        }
        ending.is_looked_after = true;
        drop(ending);
        let ending = Arc::clone(&self.ending);
        thread::spawn(move || take_out(&ending));
    }

    /// Takes all probes out. The kernel takes its time with each: with those of many places many at once; with single ones
    /// one after the other, whoever asks for it, so that is left to a child.
    pub fn end_all(&mut self) {
        let links = std::mem::take(&mut self.processes).into_values().flat_map(|probed| probed.links.into_values());
        let mut each: Vec<OwnedFd> = links.flatten().flat_map(Links::into_each).collect();
        each.append(&mut locked(&self.ending).links);
        if self.probes_are_events() {
            if let Err(error) = abi::close_in_child(each) {
                log::debug!("the probes were taken out one after the other: {error}");
            }
            return;
        }
        let share = each.len().div_ceil(ENDING_THREADS).max(1);
        thread::scope(|scope| {
            while !each.is_empty() {
                let part = each.split_off(each.len().saturating_sub(share));
                scope.spawn(move || drop(part));
            }
        });
    }

    /// Looks at the processes whose time has come.
    pub fn look_around(&mut self, programs: &mut Ebpf, tables: &mut Tables) {
        let now = Instant::now();
        let due: Vec<u32> =
            self.processes.iter().filter(|(_, probed)| probed.next_look <= now).map(|(&process, _)| process).collect();
        for process in due {
            self.look(process, now, programs, tables);
        }
    }

    /// How long until a process is to be looked at.
    pub fn until_next_look(&self) -> Duration {
        let next = self.processes.values().map(|probed| probed.next_look).min();
        next.map_or(Duration::MAX, |next| next.saturating_duration_since(Instant::now()))
    }

    fn look(&mut self, process: u32, now: Instant, programs: &mut Ebpf, tables: &mut Tables) {
        let Some(probed) = self.processes.get_mut(&process) else { return };
        probed.next_look = now + probed.wait;
        probed.wait = (probed.wait * 2).min(LONGEST_WAIT);
        if self.files.len() > FILES_MAX {
            self.files.clear();
        }
        for mapped in likely_first(mapped_files(process)) {
            if probed.links.contains_key(&mapped.id) {
                continue;
            }
            let library = self.files.entry(mapped.id).or_insert_with(|| read(&mapped));
            let Some(library) = library else { continue };
            // Before the first plaintext shows, it should be known through which sockets ciphertext goes.
            if let Err(error) = tables.watch(process, process::TLS) {
                log::warn!("process {process}: its TLS cannot be read: {error:#}");
            }
            let links = match attach(&self.functions, programs, &mapped.link, library, process) {
                Ok(links) => Some(links),
                Err(error) => {
                    if !std::mem::replace(&mut probed.has_failed, true) {
                        let shown = mapped.shown.display();
                        log::warn!(
                            "process {process}: its TLS cannot be read, no probe can be put into {shown}: {error:#}"
                        );
                    }
                    None
                }
            };
            probed.links.insert(mapped.id, links);
        }
    }
}

fn locked(ending: &Ending) -> MutexGuard<'_, Ended> {
    ending.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes probes out, one after the other, until there are none.
fn take_out(ending: &Ending) {
    loop {
        let mut ended = locked(ending);
        let stay = ended.stay_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if !stay.is_zero() && (1..=STAYING_EVENTS_MAX).contains(&ended.links.len()) {
            drop(ended);
            thread::sleep(stay);
            continue;
        }
        let Some(link) = ended.links.pop() else {
            ended.is_looked_after = false;
            return;
        };
        drop(ended);
        drop(link);
    }
}

/// A new process may be asked something at any moment: files that are named like a TLS library go before those that have to
/// be looked through to know.
fn likely_first(mut files: Vec<Mapped>) -> Vec<Mapped> {
    let is_unlikely = |file: &Mapped| {
        !file.shown.file_name().is_some_and(|name| name.as_encoded_bytes().windows(3).any(|part| part == b"ssl"))
    };
    files.sort_by_key(is_unlikely);
    files
}

/// A file that cannot be read is no TLS library as far as anyone can tell: most of what is mapped is none.
fn read(mapped: &Mapped) -> Option<Arc<Library>> {
    match Library::read(&mapped.link) {
        Ok(library) => library.map(Arc::new),
        Err(error) => {
            log::debug!("{}: {error}", mapped.shown.display());
            None
        }
    }
}

fn attach(functions: &Functions, programs: &mut Ebpf, file: &Path, library: &Library, process: u32) -> Result<Links> {
    let process = NonZeroU32::new(process).context("process 0 has no libraries")?;
    functions.attach(programs, file, library, process)
}
