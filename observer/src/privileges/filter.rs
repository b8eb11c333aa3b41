//! The system calls that are left (seccomp(2)). What is refused fails with `EPERM` and harms nothing else.

mod calls;

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::SeccompCmpArgLen::Dword;
use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{BpfProgram, SeccompAction, SeccompCondition, SeccompFilter, SeccompRule, apply_filter_all_threads};

use super::{PrivilegeError, refused};

/// What bpf(2) is still asked for (`include/uapi/linux/bpf.h`): reading and writing of tables that are there, and
/// linking of programs that are loaded. No `BPF_PROG_LOAD`, no `BPF_MAP_CREATE`.
const BPF_COMMANDS: &[u64] = &[
    1,  // BPF_MAP_LOOKUP_ELEM
    2,  // BPF_MAP_UPDATE_ELEM
    3,  // BPF_MAP_DELETE_ELEM
    4,  // BPF_MAP_GET_NEXT_KEY
    15, // BPF_OBJ_GET_INFO_BY_FD
    24, // BPF_MAP_LOOKUP_BATCH
    28, // BPF_LINK_CREATE
    34, // BPF_LINK_DETACH
];

/// Sockets: the metrics page, Kong's Admin API, the resolver, sock_diag.
const FAMILIES: &[u64] = &[libc::AF_UNIX as u64, libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_NETLINK as u64];

/// Requests of ioctl(2): non-blocking and close-on-exec sockets, bytes to read, and perf events
/// (`include/uapi/linux/perf_event.h`), which attaching to a library later takes.
const IOCTLS: &[u64] = &[
    libc::FIONBIO,
    libc::FIONREAD,
    libc::FIOCLEX,
    libc::TCGETS,
    0x2400,      // PERF_EVENT_IOC_ENABLE
    0x2401,      // PERF_EVENT_IOC_DISABLE
    0x4004_2408, // PERF_EVENT_IOC_SET_BPF
];

/// What prctl(2) is still asked for: names of threads and of memory, the auxiliary vector, and giving up more.
const PRCTLS: &[u64] = &[
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_VMA as u64,
    libc::PR_CAPBSET_READ as u64,
    libc::PR_CAP_AMBIENT as u64,
    0x4155_5856, // PR_GET_AUXV (`include/uapi/linux/prctl.h`)
];

/// Confines all threads, and those that they start.
pub(super) fn install() -> Result<(), PrivilegeError> {
    let program = program()?;
    match apply_filter_all_threads(&program) {
        Ok(()) => Ok(()),
        // A kernel without CONFIG_SECCOMP_FILTER answers so.
        Err(seccompiler::Error::Seccomp(error)) if error.raw_os_error() == Some(libc::EINVAL) => {
            log::warn!("this kernel filters no system calls (CONFIG_SECCOMP_FILTER); going on without a filter");
            Ok(())
        }
        Err(error) => Err(refused("filter system calls", error)),
    }
}

/// The filter as the kernel takes it.
pub(super) fn program() -> Result<BpfProgram, PrivilegeError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls::PLAIN.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_bpf, any_of(0, BPF_COMMANDS)?);
    rules.insert(libc::SYS_ioctl, any_of(1, IOCTLS)?);
    rules.insert(libc::SYS_prctl, any_of(0, PRCTLS)?);
    // A thread's own priority, which goes no higher without CAP_SYS_NICE.
    rules.insert(libc::SYS_setpriority, any_of(1, &[0])?);
    rules.insert(libc::SYS_setns, any_of(1, &[libc::CLONE_NEWNET as u64])?);
    rules.insert(libc::SYS_socket, any_of(0, FAMILIES)?);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, not_both(2, libc::PROT_WRITE as u64, libc::PROT_EXEC as u64)?);
    }
    let arch = std::env::consts::ARCH.try_into().map_err(|error| refused("filter system calls", error))?;
    let (otherwise, matched) = (SeccompAction::Errno(libc::EPERM as u32), SeccompAction::Allow);
    let filter = SeccompFilter::new(rules, otherwise, matched, arch);
    filter.and_then(BpfProgram::try_from).map_err(|error| refused("filter system calls", error))
}

/// One of these values for an argument, counted from 0.
fn any_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, PrivilegeError> {
    values.iter().map(|value| rule(SeccompCondition::new(argument, Dword, Eq, *value))).collect()
}

/// At most one of two bits: memory that is written is not executed.
fn not_both(argument: u8, one: u64, other: u64) -> Result<Vec<SeccompRule>, PrivilegeError> {
    [one, other].into_iter().map(|bit| rule(SeccompCondition::new(argument, Dword, MaskedEq(bit), 0))).collect()
}

fn rule(condition: Result<SeccompCondition, seccompiler::BackendError>) -> Result<SeccompRule, PrivilegeError> {
    let made = condition.and_then(|condition| SeccompRule::new(vec![condition]));
    made.map_err(|error| refused("filter system calls", error))
}
