//! `observer check`: what this host allows, row by row.
//!
//! Each judgement is a plain function of what was read, so that the answers of other hosts can be
//! tested; [`rows`] does the reading.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::utsname::uname;
use procfs::process::Process;

use crate::capture;
use crate::host::btf::{Btf, BtfError};
use crate::host::diag::{Diag, DiagError};
use crate::host::memory::{self, mib};

pub use table::{Look, render};

mod capabilities;
mod helpers;
mod hooks;
mod kernel;
mod table;
mod tls;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is about, a few words.
    pub name: String,
    /// Whether it is as the observer needs it.
    pub verdict: Verdict,
    /// What was found, one line.
    pub found: String,
    /// What to do about it; `None` where nothing is to be done.
    pub mend: Option<String>,
}

/// How a row turned out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As needed, or not needed.
    Ok,
    /// The host can be observed, but something will be missing or slow.
    Warn,
    /// Without this the host cannot be observed.
    Missing,
}

impl Row {
    /// A row with nothing to mend.
    pub fn ok(name: impl Into<String>, found: impl Into<String>) -> Self {
        Row { name: name.into(), verdict: Verdict::Ok, found: found.into(), mend: None }
    }

    /// A row that costs something, and what to do about it.
    pub fn warn(name: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into());
        Row { name: name.into(), verdict: Verdict::Warn, found: found.into(), mend }
    }

    /// A row that stands in the way, and what to do about it.
    pub fn missing(name: impl Into<String>, found: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into());
        Row { name: name.into(), verdict: Verdict::Missing, found: found.into(), mend }
    }
}

/// Whether nothing stands in the way: no row is [`Verdict::Missing`].
pub fn can_observe(rows: &[Row]) -> bool {
    rows.iter().all(|row| row.verdict != Verdict::Missing)
}

/// Looks at everything that can be looked at without loading a program. Nothing is changed, and no
/// privilege is needed: what may not be read becomes a row that says so.
pub fn rows() -> Vec<Row> {
    let release = uname().map(|name| name.release().to_string_lossy().into_owned());
    let release = release.unwrap_or_default();
    let machine = uname().map(|name| name.machine().to_string_lossy().into_owned());
    let version = kernel::version(&release);
    let status = Process::myself().and_then(|own| own.status());
    let (effective, levels) = match &status {
        Ok(status) => (Some(status.capeff), status.nspid.as_ref().map(Vec::len)),
        Err(_) => (None, None),
    };
    let btf = Btf::load();
    let mut rows = vec![
        kernel::release_row(&release, version),
        kernel::machine_row(&machine.unwrap_or_default()),
        btf_row(&btf),
        kernel::lockdown_row(fs::read_to_string("/sys/kernel/security/lockdown")),
        kernel::jit_row(fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")),
        kernel::pid_namespace_row(pid_namespace(), levels),
    ];
    rows.extend(capabilities::rows(effective, version));
    rows.push(kernel::locked_memory_row(locked_memory_bytes(), version));
    rows.push(memory_row());
    rows.extend(hooks::rows(btf.as_ref().ok()));
    rows.push(helpers::row(capture::kernel_part()));
    rows.push(sock_diag_row(list_sockets()));
    rows.extend(tls::rows());
    rows
}

fn btf_row(btf: &Result<Btf, BtfError>) -> Row {
    match btf {
        Ok(btf) => Row::ok("BTF", format!("{} types", btf.type_count())),
        Err(e) => Row::missing(
            "BTF",
            e.to_string(),
            "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as the distributions' are, and mount /sys",
        ),
    }
}

fn sock_diag_row(listed: Result<(), DiagError>) -> Row {
    match listed {
        Ok(()) => Row::ok("sock_diag", "lists TCP and UNIX sockets"),
        Err(e) => Row::warn(
            "sock_diag",
            format!("{e}: {}", std::error::Error::source(&e).map_or_else(String::new, |e| e.to_string())),
            "modprobe tcp_diag unix_diag; without it connections that were open and idle before the \
             observer started are not seen, nor are names of UNIX sockets",
        ),
    }
}

/// Asks for the listeners of each family, which is little everywhere.
fn list_sockets() -> Result<(), DiagError> {
    use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, TCP_LISTEN};
    use netlink_packet_sock_diag::{inet, unix};
    let mut diag = Diag::own()?;
    for family in [AF_INET, AF_INET6] {
        diag.tcp(family, inet::StateFlags::LISTEN, |_| None::<()>)?;
    }
    let listening = unix::StateFlags::from_bits_retain(1 << TCP_LISTEN);
    diag.unix(listening, unix::ShowFlags::empty(), |_| None::<()>)?;
    Ok(())
}

/// What the observer may take: its named limits together.
fn memory_row() -> Row {
    let (tables, own) = (mib(memory::TABLE_BYTES_MAX), mib(memory::RESIDENT_BYTES_MAX));
    Row::ok("memory", format!("kernel tables and ring take {tables} MiB at most, the agent itself {own}"))
}

/// The inode of the process id namespace that this process is in.
fn pid_namespace() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid")?.ino())
}

/// `None` where there is no limit.
fn locked_memory_bytes() -> Option<u64> {
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

#[cfg(test)]
mod tests;
