//! The kernel object: inside this program, loaded with the running kernel's offsets, attached.

use std::env;
use std::error::Error;
use std::io;
use std::thread;

use anyhow::{Context, Result};
use aya::programs::{BtfTracePoint, ProgramError};
use aya::{Btf, BtfError, Ebpf, EbpfLoader};
use nix::sys::utsname::uname;

use super::abi::{self, OffsetWords};
use super::functions::{Functions, Unloaded};
use super::{joined, offsets};
use crate::host;

/// A program at a tracepoint.
struct AtTracepoint {
    name: &'static str,
    tracepoint: &'static str,
}

/// In the order in which they are attached, which is that in which those of one tracepoint run.
const PROGRAMS: [AtTracepoint; 8] = [
    named_as("sched_process_exit"),
    named_as("sched_process_exec"),
    named_as("sched_process_fork"),
    named_as("tcp_destroy_sock"),
    named_as("inet_sock_set_state"),
    AtTracepoint { name: "inet_sock_set_state_within", tracepoint: "inet_sock_set_state" },
    named_as("sock_send_length"),
    named_as("sock_recv_length"),
];

const fn named_as(tracepoint: &'static str) -> AtTracepoint {
    AtTracepoint { name: tracepoint, tracepoint }
}

/// For tests of what becomes of losses: another size of the ring than `observer_ebpf::limits::RING_BYTES`.
const RING_BYTES_VARIABLE: &str = "OBSERVER_TEST_RING_BYTES";

#[cfg(kernel_object)]
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/observer-kernel.o"));
#[cfg(not(kernel_object))]
static OBJECT: &[u8] = &[];

/// Why the kernel part cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A plain `cargo build`.
    #[error("this program was built without its kernel part; build it with `cargo xtask build`")]
    NoObject,
    /// `EPERM`.
    #[error(
        "the kernel refuses to load programs for this user; run the observer as root, or with CAP_BPF and CAP_PERFMON \
         (`observer check` lists all that it needs)"
    )]
    NotPermitted,
    /// Older than the tracepoints on sockets.
    #[error(
        "this kernel ({release}) has no tracepoint {program}; boot Linux 6.3 or later (`observer check` lists all that is \
         missing here)"
    )]
    NoTracepoint {
        /// Its name, which is the program's.
        program: &'static str,
        /// The kernel's version as `uname -r` prints it.
        release: String,
    },
    /// The verifier's word.
    #[error("the kernel refuses the program {program}; report this with the output of `observer check`: {reason}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// The end of the verifier's log.
        reason: String,
    },
}

/// The kernel part as an ELF object; empty in a plain `cargo build`.
pub fn kernel_part() -> &'static [u8] {
    OBJECT
}

/// Whether this program has its kernel part inside.
pub fn has_kernel_part() -> bool {
    !OBJECT.is_empty()
}

/// Loads all programs, attaches none.
pub fn load() -> Result<(Ebpf, Functions)> {
    if !has_kernel_part() {
        return Err(LoadError::NoObject.into());
    }
    let (words, mut loader, btf) = thread::scope(|scope| {
        let words = scope.spawn(offset_words);
        // It begins by reading the kernel's BTF, which it gives to nobody.
        let loader = scope.spawn(|| Ok(EbpfLoader::new()));
        let btf = Btf::from_sys_fs().context("cannot read the kernel's BTF");
        Ok::<_, anyhow::Error>((joined(words)?, joined(loader)?, btf?))
    })?;
    // aya has no type for storage at tasks, and the agent needs none.
    loader.btf(Some(&btf)).override_global("OFFSETS", &words, true).allow_unsupported_maps();
    if let Some(bytes) = ring_bytes()? {
        loader.map_max_entries("RECORDS", bytes);
    }
    let mut programs = loader
        .load(OBJECT)
        .map_err(|error| if is_denied(&error) { LoadError::NotPermitted.into() } else { anyhow::Error::from(error) })?;
    let unloaded = Unloaded::of(OBJECT, &programs)?;
    let functions = load_programs(&mut programs, &btf, unloaded.as_ref())?;
    drop((unloaded, btf));
    abi::give_back_memory();
    let functions = functions.map_or_else(|| Functions::load_single(&mut programs), Ok)?;
    Ok((programs, functions))
}

fn offset_words() -> Result<OffsetWords> {
    let kernel = host::btf::Btf::load().context("the observer needs a kernel with BTF (CONFIG_DEBUG_INFO_BTF)")?;
    Ok(OffsetWords::from(offsets::read(&kernel).context("this kernel's structures are not as expected")?))
}

/// All at once: the kernel verifies for as many threads as there are, and that is most of the time until the observer
/// is attached.
fn load_programs(programs: &mut Ebpf, btf: &Btf, functions: Option<&Unloaded>) -> Result<Option<Functions>> {
    thread::scope(|scope| {
        let functions = functions.map(|unloaded| scope.spawn(|| unloaded.load()));
        let mut loads = Vec::new();
        for (name, program) in programs.programs_mut() {
            let Some(AtTracepoint { name, tracepoint }) = PROGRAMS.into_iter().find(|known| known.name == name) else {
                continue;
            };
            loads.push(scope.spawn(move || {
                let program: &mut BtfTracePoint = program.try_into()?;
                program.load(tracepoint, btf).map_err(|error| refusal(name, error))
            }));
        }
        loads.into_iter().try_for_each(joined)?;
        functions.map(joined).transpose()
    })
}

/// The ring's size, where a test wants one that overflows.
fn ring_bytes() -> Result<Option<u32>> {
    let Some(text) = env::var_os(RING_BYTES_VARIABLE) else { return Ok(None) };
    let bytes = text.to_str().and_then(|text| text.parse::<u32>().ok()).filter(|bytes| bytes.is_power_of_two());
    let message = || format!("{RING_BYTES_VARIABLE} is for tests and takes a power of two, at least a page; unset it");
    bytes.map(Some).with_context(message)
}

/// Attaches all programs but those in TLS libraries.
pub fn attach(programs: &mut Ebpf) -> Result<()> {
    for AtTracepoint { name, tracepoint } in PROGRAMS {
        program(programs, name)?.attach().with_context(|| format!("tracepoint {tracepoint}"))?;
    }
    Ok(())
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut BtfTracePoint> {
    let program = programs.program_mut(name).with_context(|| format!("the kernel object lacks {name}"))?;
    Ok(program.try_into()?)
}

fn refusal(program: &'static str, error: ProgramError) -> anyhow::Error {
    const LINES: usize = 6;
    let (io_error, verifier_log) = match &error {
        ProgramError::LoadError { io_error, verifier_log } => (io_error, verifier_log),
        ProgramError::Btf(BtfError::UnknownBtfTypeName { .. }) => {
            let release = uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
            return LoadError::NoTracepoint { program, release }.into();
        }
        _ => return anyhow::Error::from(error).context(format!("program {program}")),
    };
    let log = verifier_log.to_string();
    if log.trim().is_empty() && io_error.kind() == io::ErrorKind::PermissionDenied {
        return LoadError::NotPermitted.into();
    }
    let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    LoadError::Refused { program, reason: format!("{io_error}: {end}") }.into()
}

/// Whether a permission was missing anywhere along the chain.
fn is_denied(error: &(dyn Error + 'static)) -> bool {
    let is_it = |error: &(dyn Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    is_it(error) || error.source().is_some_and(is_denied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_tracepoints_on_sockets_is_told_to_be_too_old() {
        let type_name = "btf_trace_sock_recv_length".to_owned();
        let told = refusal("sock_recv_length", BtfError::UnknownBtfTypeName { type_name }.into()).to_string();
        let running = uname().unwrap().release().to_string_lossy().into_owned();
        assert!(told.starts_with(&format!("this kernel ({running}) has no tracepoint sock_recv_length")), "{told}");
        assert!(told.contains("boot Linux 6.3 or later"), "{told}");
    }
}
