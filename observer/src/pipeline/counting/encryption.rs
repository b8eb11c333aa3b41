//! Connections whose TLS cannot be read, and the processes that have them.

use rustc_hash::FxHashSet;

use crate::connection::Carried;

/// Processes that are told of, each once.
const PROCESSES_MAX: usize = 4096;

/// Open connections, and processes to tell of.
#[derive(Debug, Default)]
pub struct Unreadable {
    connections: u64,
    /// Processes that have such connections, and those of them that were given out.
    processes: FxHashSet<u32>,
    told: FxHashSet<u32>,
}

impl Unreadable {
    /// Open connections.
    pub fn connections(&self) -> u64 {
        self.connections
    }

    /// A process's connection carries something else now.
    pub fn carries(&mut self, before: Carried, now: Carried, process: u32) {
        self.connections += u64::from(now == Carried::Encrypted);
        self.gone(before);
        if now == Carried::Encrypted && self.processes.len() < PROCESSES_MAX {
            self.processes.insert(process);
        }
    }

    /// A connection is gone.
    pub fn gone(&mut self, carried: Carried) {
        self.connections -= u64::from(carried == Carried::Encrypted);
    }

    /// A process ended; another one may get its number.
    pub fn process_ended(&mut self, process: u32) {
        self.told.remove(&process);
    }

    /// Processes that were not given out yet.
    pub fn take_processes(&mut self) -> Vec<u32> {
        let told = &mut self.told;
        self.processes.drain().filter(|&process| told.len() < PROCESSES_MAX && told.insert(process)).collect()
    }
}
