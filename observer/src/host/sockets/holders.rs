//! Which sockets each process has open, by network namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::ScanError;
use crate::host::diag::{Diag, DiagError};

/// The processes by the inode of each socket that they hold.
pub(super) type Holders = HashMap<u32, Vec<u32>>;

/// Processes of one network namespace, at least one.
pub(super) struct Group {
    pub members: Vec<u32>,
    pub holders: Holders,
}

impl Group {
    /// `None` when all members are gone.
    pub fn diag(&self) -> Result<Option<Diag>, DiagError> {
        for member in &self.members {
            match Diag::of_process(*member) {
                Err(DiagError::Namespace { source, .. }) if is_gone(&source) => {}
                other => return other.map(Some),
            }
        }
        Ok(None)
    }
}

/// The processes grouped by network namespace, with the sockets each holds; those that are gone are
/// left out.
pub(super) fn by_namespace(processes: &[u32], failures: &mut Vec<ScanError>) -> Vec<Group> {
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    let processes: BTreeSet<u32> = processes.iter().copied().collect();
    for pid in processes {
        let netns = netns_of(pid);
        let inodes = netns.and_then(|netns| Ok((netns, socket_inodes(pid)?)));
        match inodes {
            Ok((netns, inodes)) => {
                let group = groups.entry(netns).or_insert_with(|| Group {
                    members: Vec::new(),
                    holders: Holders::new(),
                });
                group.members.push(pid);
                for inode in inodes {
                    group.holders.entry(inode).or_default().push(pid);
                }
            }
            Err(e) if is_gone(&e) => {}
            Err(source) => failures.push(ScanError::Descriptors { pid, source }),
        }
    }
    groups.into_values().collect()
}

pub(super) fn netns_of(pid: u32) -> io::Result<u32> {
    Ok(fs::metadata(format!("/proc/{pid}/ns/net"))?.ino() as u32)
}

/// The inodes of the sockets that a process has open, each once.
fn socket_inodes(pid: u32) -> io::Result<BTreeSet<u32>> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed before its link is read.
        let Ok(target) = entry.and_then(|entry| fs::read_link(entry.path())) else {
            continue;
        };
        inodes.extend(socket_inode(target.as_os_str().as_bytes()));
    }
    Ok(inodes)
}

/// The inode in a link's target of the form `socket:[1234]`.
pub(super) fn socket_inode(target: &[u8]) -> Option<u32> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The process ended: `ESRCH` comes from reading what was opened before.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(nix::libc::ESRCH)
}
