//! The host's processes, and which of them are gateways.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use procfs::ProcError;
use procfs::process::{self, Process};

use super::selector::Selection;
use super::sockets;

/// A process's name as the kernel keeps it (`task_struct.comm`): up to 15 bytes, then zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comm([u8; 16]);

impl Comm {
    /// The name cut where the kernel cuts it: at a zero, at the latest after 15 bytes.
    pub fn new(name: &[u8]) -> Self {
        let mut bytes = [0; 16];
        for (to, from) in bytes[..15]
            .iter_mut()
            .zip(name.iter().take_while(|byte| **byte != 0))
        {
            *to = *from;
        }
        Comm(bytes)
    }

    /// The name without the zeros.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    /// The name with the zeros: what `bpf_get_current_comm` writes.
    pub fn padded(&self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for Comm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

/// What `/proc` says of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The process id (the kernel's `tgid`).
    pub pid: u32,
    /// The parent's process id; 0 for the first process.
    pub ppid: u32,
    /// The name.
    pub comm: Comm,
    /// The target of `/proc/PID/exe`; `None` for kernel threads and where the agent may not read
    /// it.
    pub exe: Option<PathBuf>,
    /// The inode of the network namespace (`net.ns.inum`); `None` where the agent may not read it.
    pub netns: Option<u32>,
    /// When it started, in clock ticks since boot: with `pid`, what tells it from a later process
    /// of the same id.
    pub start_ticks: u64,
    /// The TCP ports it listens on. [`snapshot`] leaves them empty, [`find_gateways`] reads them
    /// where they matter.
    pub ports: BTreeSet<u16>,
}

/// A gateway: a selected process with all of its descendants (a master and its workers).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// The topmost selected process.
    pub root: u32,
    /// The name of that process.
    pub name: String,
    /// The process ids of the whole tree, ascending, the root's included.
    pub processes: Vec<u32>,
}

/// The gateways that run on this host now, in the order of their root's process id.
///
/// Errors when `/proc` cannot be listed; processes that vanish or may not be read are left out.
pub fn find_gateways(selection: &Selection) -> Result<Vec<Gateway>, ProcError> {
    let mut processes = snapshot()?;
    let asked: Vec<u32> = processes
        .iter()
        .filter(|process| selection.depends_on_ports(process))
        .map(|process| process.pid)
        .collect();
    let mut ports = sockets::listening_ports(&asked);
    for process in &mut processes {
        process.ports = ports.remove(&process.pid).unwrap_or_default();
    }
    Ok(gateways(selection, &processes))
}

/// All processes of the host but zombies, without their ports.
///
/// Errors when `/proc` cannot be listed.
pub fn snapshot() -> Result<Vec<ProcessFacts>, ProcError> {
    Ok(process::all_processes()?
        .filter_map(|process| facts(&process.ok()?))
        .collect())
}

/// The gateways among these processes, in the order of their root's process id.
pub fn gateways(selection: &Selection, processes: &[ProcessFacts]) -> Vec<Gateway> {
    let tree = Tree::new(selection, processes);
    let mut found: BTreeMap<u32, Gateway> = BTreeMap::new();
    for process in processes {
        let Some(root) = tree.root(process) else {
            continue;
        };
        let gateway = found.entry(root.pid).or_insert_with(|| Gateway {
            root: root.pid,
            name: root.comm.to_string(),
            processes: Vec::new(),
        });
        gateway.processes.push(process.pid);
    }
    for gateway in found.values_mut() {
        gateway.processes.sort_unstable();
    }
    found.into_values().collect()
}

struct Tree<'a> {
    by_pid: HashMap<u32, &'a ProcessFacts>,
    matched: BTreeSet<u32>,
}

impl<'a> Tree<'a> {
    fn new(selection: &Selection, processes: &'a [ProcessFacts]) -> Self {
        let matched = processes
            .iter()
            .filter(|process| selection.matches(process));
        Tree {
            matched: matched.map(|process| process.pid).collect(),
            by_pid: processes
                .iter()
                .map(|process| (process.pid, process))
                .collect(),
        }
    }

    /// The topmost selected process on the way from this one upwards, itself included.
    fn root(&self, process: &'a ProcessFacts) -> Option<&'a ProcessFacts> {
        let mut root = None;
        let mut at = Some(process);
        // Bounded, since a list read while ids were reused may hold a circle.
        for _ in 0..=self.by_pid.len() {
            let Some(process) = at else { break };
            if self.matched.contains(&process.pid) {
                root = Some(process);
            }
            at = self.parent(process);
        }
        root
    }

    /// The parent, unless its id was given to another process between the two reads: no child is
    /// older than its parent.
    fn parent(&self, process: &ProcessFacts) -> Option<&'a ProcessFacts> {
        let parent = *self.by_pid.get(&process.ppid)?;
        (parent.start_ticks <= process.start_ticks).then_some(parent)
    }
}

/// `None` when the process is gone, or dead and not yet reaped.
fn facts(process: &Process) -> Option<ProcessFacts> {
    let stat = process.stat().ok()?;
    if matches!(stat.state, 'Z' | 'X') {
        return None;
    }
    Some(ProcessFacts {
        pid: stat.pid as u32,
        ppid: stat.ppid as u32,
        comm: Comm::new(stat.comm.as_bytes()),
        exe: process.exe().ok(),
        netns: fs::metadata(format!("/proc/{}/ns/net", stat.pid))
            .ok()
            .map(|file| file.ino() as u32),
        start_ticks: stat.starttime,
        ports: BTreeSet::new(),
    })
}

#[cfg(test)]
mod tests;
