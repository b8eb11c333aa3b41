//! Capabilities: which are kept, and why.

use caps::{CapSet, Capability, CapsHashSet};

use super::PrivilegeError;

/// A capability that is kept, and its reason.
#[derive(Debug)]
pub struct Reason {
    /// The capability.
    pub capability: Capability,
    /// What it is kept for.
    pub reason: &'static str,
    /// Given up after the first look at the host, unless probes are perf's events.
    pub is_for_first_scan: bool,
    /// Kept by threads that read the observer's own files.
    pub reads_files: bool,
}

/// All that is kept after attaching, by the threads that need it. The README lists the same.
pub const LATER: &[Reason] = &[
    Reason {
        capability: Capability::CAP_PERFMON,
        reason: "attaches to the TLS libraries of processes that start later",
        is_for_first_scan: false,
        reads_files: false,
    },
    Reason {
        capability: Capability::CAP_SYS_PTRACE,
        reason: "reads other users' /proc: program, network namespace, descriptors, a container's resolv.conf",
        is_for_first_scan: false,
        reads_files: false,
    },
    Reason {
        capability: Capability::CAP_CHECKPOINT_RESTORE,
        reason: "opens the library that a process has mapped, whatever lies at its path now",
        is_for_first_scan: false,
        reads_files: false,
    },
    Reason {
        capability: Capability::CAP_DAC_READ_SEARCH,
        reason: "lists other users' descriptors, reads the configuration again when it changes",
        is_for_first_scan: false,
        reads_files: true,
    },
    Reason {
        capability: Capability::CAP_SYS_ADMIN,
        reason: "lists the sockets of gateways in other network namespaces, and looks names up there: enters them, once; \
                 before Linux 6.11 attaches to the TLS libraries of processes that start later",
        is_for_first_scan: true,
        reads_files: false,
    },
];

/// Empties the bounding set: nothing that is executed can regain what was given up. Nothing is executed after
/// `no_new_privs` and the filter anyway, so that the right to do this (CAP_SETPCAP) may be missing.
pub(super) fn clear_bounding() {
    for capability in caps::all() {
        if caps::has_cap(None, CapSet::Bounding, capability).unwrap_or(false)
            && caps::drop(None, CapSet::Bounding, capability).is_err()
        {
            return log::debug!("the bounding set of capabilities stays as it is: CAP_SETPCAP is not held");
        }
    }
}

/// Keeps these as far as they are permitted, also behind a change of the user, which takes all effective ones.
pub(super) fn keep(reasons: &[Reason]) -> Result<(), PrivilegeError> {
    set(reasons.iter().map(|reason| reason.capability).collect())
}

/// Keeps those of [`LATER`] that `is_kept` says.
pub(super) fn drop_where(is_kept: impl Fn(&Reason) -> bool) -> Result<(), PrivilegeError> {
    set(LATER.iter().filter(|reason| is_kept(reason)).map(|reason| reason.capability).collect())
}

/// Of the calling thread.
fn set(wanted: CapsHashSet) -> Result<(), PrivilegeError> {
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = permitted.intersection(&wanted).copied().collect();
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    // Never effective what is not permitted.
    caps::set(None, CapSet::Effective, &kept)?;
    Ok(caps::set(None, CapSet::Permitted, &kept)?)
}
