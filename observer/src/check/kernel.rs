//! Rows about the kernel as it was built and booted.

use std::io;

use super::Row;

/// Major and minor number of a kernel, as in 6.3.
pub(super) type Version = (u32, u32);

/// The tracepoints that the capture hangs on.
const SOCKET_TRACEPOINTS_SINCE: Version = (6, 3);

/// From then on BPF memory counts against the memory cgroup, no more against the limit.
pub(super) const LOCKED_MEMORY_UNTIL: Version = (5, 11);

/// The first process id namespace always has this inode (`PROC_PID_INIT_INO`).
const FIRST_PID_NAMESPACE: u64 = 0xefff_fffc;

/// The first two numbers of a release such as `6.18.44-cloud`.
pub(super) fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn release_row(release: &str, version: Option<Version>) -> Row {
    let (major, minor) = SOCKET_TRACEPOINTS_SINCE;
    match version {
        Some(version) if version >= SOCKET_TRACEPOINTS_SINCE => Row::ok("kernel", release),
        Some(_) => Row::warn(
            "kernel",
            release,
            format!("boot Linux {major}.{minor} or later, unless the hooks below are there all the same"),
        ),
        None => Row::warn("kernel", format!("`{release}`, which tells no version"), "rely on the hooks below"),
    }
}

pub(super) fn machine_row(machine: &str) -> Row {
    match machine {
        "x86_64" | "aarch64" => Row::ok("architecture", machine),
        _ => Row::missing(
            "architecture",
            machine,
            "run on x86_64 or aarch64: where a system call keeps its arguments is known for those only",
        ),
    }
}

/// `content` is that of `/sys/kernel/security/lockdown`: `none [integrity] confidentiality`.
pub(super) fn lockdown_row(content: io::Result<String>) -> Row {
    let name = "lockdown";
    let Ok(content) = content else {
        return Row::ok(name, "not readable (securityfs not mounted?); what it forbids shows when programs load");
    };
    let level = content.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    match level.map(|(level, _)| level) {
        Some("none") => Row::ok(name, "none"),
        Some("integrity") => Row::ok(name, "integrity; the hooks in use are allowed"),
        Some("confidentiality") => Row::warn(
            name,
            "confidentiality; reading kernel memory by helper is forbidden",
            "boot with lockdown=integrity if the programs do not load",
        ),
        _ => Row::warn(name, content.trim(), "see kernel_lockdown(7) for this level"),
    }
}

/// `content` is that of `/proc/sys/net/core/bpf_jit_enable`.
pub(super) fn jit_row(content: io::Result<String>) -> Row {
    let name = "BPF compiler";
    match content.as_deref().map(str::trim) {
        Ok("0") => Row::warn(
            name,
            "off: programs are interpreted, at several times the cost",
            "sysctl net.core.bpf_jit_enable=1",
        ),
        Ok("1") => Row::ok(name, "on"),
        Ok("2") => Row::warn(name, "on, and it logs every program it compiles", "sysctl net.core.bpf_jit_enable=1"),
        Ok(other) => Row::warn(name, format!("`{other}`"), "sysctl net.core.bpf_jit_enable=1"),
        Err(_) => Row::ok(name, "not readable here: only the host's network namespace shows it"),
    }
}

/// The kernel part knows processes by the host's ids, so `/proc` has to show these. `levels` is
/// how many ids `NSpid` in `/proc/self/status` lists: more than one where `/proc` belongs to a
/// namespace above this process's own.
pub(super) fn pid_namespace_row(inode: io::Result<u64>, levels: Option<usize>) -> Row {
    let name = "process ids";
    let mend = "start the observer in the host's process id namespace: `docker run --pid=host`, or \
                `hostPID: true` in Kubernetes";
    match (inode, levels) {
        (Ok(FIRST_PID_NAMESPACE), Some(1)) => Row::ok(name, "the host's"),
        (Ok(FIRST_PID_NAMESPACE), _) => Row::warn(name, "the host's, but /proc does not say whose it shows", mend),
        (Ok(_), Some(levels @ 2..)) => Row::missing(name, format!("a container's, {levels} levels deep"), mend),
        (Ok(_), _) => Row::missing(name, "a container's own", mend),
        (Err(e), _) => Row::missing(name, format!("not readable: {e}"), "mount /proc"),
    }
}

/// `limit` in bytes, `None` for no limit.
pub(super) fn locked_memory_row(limit: Option<u64>, version: Option<Version>) -> Row {
    let name = "locked memory";
    let shown = limit.map_or("no limit".to_owned(), |bytes| format!("{} KiB", bytes / 1024));
    match (limit, version) {
        (_, Some(version)) if version >= LOCKED_MEMORY_UNTIL => {
            Row::ok(name, format!("{shown}; does not matter since Linux 5.11"))
        }
        (None, _) => Row::ok(name, shown),
        (Some(_), _) => Row::warn(
            name,
            format!("{shown}; this kernel counts BPF maps against it"),
            "run with CAP_SYS_RESOURCE, or `ulimit -l unlimited` before starting the observer",
        ),
    }
}
