//! Programs at functions of user programs.
//!
//! Since 6.11 one link holds all places of a library for one process (`BPF_TRACE_UPROBE_MULTI`, which before did not look
//! at all threads). Before that each place has an event of its own, and the kernel takes some 80 ms to take it out.

use std::collections::HashSet;
use std::env;
use std::ffi::CString;
use std::fs;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::UProbe;
use aya::util::KernelVersion;
use aya_obj::Object;
use observer_ebpf::tables::function;

use super::{abi, joined};
use crate::tls::Library;
use crate::tls::inner::{Inner, RecordLayer};
use crate::tls::place::Exit;

/// Where a function's arguments are read.
const ENTERED: &str = "tls_entered";
/// Where its result is.
const LEFT: &str = "tls_left";
/// Behind its return.
const RETURNED: &str = "tls_returned";
/// Where the record layer copies what was received.
const RECEIVED: &str = "tls_received";
/// Where it has sent something.
const SENT: &str = "tls_sent";

/// From here on one link looks at all threads of a process.
const MULTI_SINCE: (u8, u8, u16) = (6, 11, 0);

/// For tests of what is done on older kernels.
const SINGLE_VARIABLE: &str = "OBSERVER_TEST_SINGLE_PROBES";

/// The programs, loaded.
pub enum Functions {
    /// For links with many places.
    Multi {
        /// Reads arguments.
        entered: OwnedFd,
        /// Reads results.
        left: OwnedFd,
        /// Reads what was received.
        received: OwnedFd,
        /// Reads what was sent.
        sent: OwnedFd,
    },
    /// For one place each; aya has them.
    Single(EventKind),
}

/// Probes that sit somewhere; dropping them takes them out.
pub struct Links(Vec<OwnedFd>);

impl Links {
    /// One by one, to be dropped.
    pub fn into_each(self) -> Vec<OwnedFd> {
        self.0
    }
}

/// Where the programs go in one file.
#[derive(Default)]
struct Places {
    offsets: Vec<u64>,
    cookies: Vec<u64>,
}

/// The programs for links with many places, before they are loaded.
pub struct Unloaded(Object);

impl Unloaded {
    /// Their tables are those of `programs`. `None` where each place has an event of its own.
    pub fn of(object: &[u8], programs: &Ebpf) -> Result<Option<Self>> {
        let (major, minor, patch) = MULTI_SINCE;
        let is_multi = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(major, minor, patch))
            && env::var_os(SINGLE_VARIABLE).is_none();
        is_multi.then(|| relocated(object, programs).map(Unloaded)).transpose()
    }

    /// Loads them, all at once.
    pub fn load(&self) -> Result<Functions> {
        thread::scope(|scope| {
            let [entered, left, received, sent] =
                [ENTERED, LEFT, RECEIVED, SENT].map(|name| scope.spawn(move || load_multi(&self.0, name)));
            Ok(Functions::Multi {
                entered: joined(entered)?,
                left: joined(left)?,
                received: joined(received)?,
                sent: joined(sent)?,
            })
        })
    }
}

impl Functions {
    /// Loads those of `programs`, for events.
    pub fn load_single(programs: &mut Ebpf) -> Result<Self> {
        for name in [ENTERED, LEFT, RETURNED, RECEIVED, SENT] {
            program(programs, name)?.load().with_context(|| format!("program {name}"))?;
        }
        Ok(Functions::Single(EventKind::read()?))
    }

    /// Puts probes into all functions of the TLS library that `file` leads to, for one process. Those where plaintext is
    /// moved come first: who knows of a handshake hides its ciphertext from the agent, which could not tell then that it
    /// missed what was moved. Of those the one that sends comes first: an answer without its request is told to be one,
    /// which a request without its answer could not be. Those at results come before those at arguments: a result without
    /// arguments is left alone.
    pub fn attach(&self, programs: &mut Ebpf, file: &Path, library: &Library, process: NonZeroU32) -> Result<Links> {
        let Sites { entered, left, returned, received, sent } = Sites::of(library);
        match self {
            Functions::Multi { entered: enter, left: leave, received: receive, sent: send } => {
                let file = CString::new(file.as_os_str().as_bytes())?;
                let all = [
                    (send, sent, false),
                    (receive, received, false),
                    (leave, returned, true),
                    (leave, left, false),
                    (enter, entered, false),
                ];
                let links = all.iter().filter(|(_, places, _)| !places.offsets.is_empty());
                let links = links.map(|(program, Places { offsets, cookies }, is_return)| {
                    abi::link_multi_probe(program.as_fd(), &file, offsets, cookies, process.get(), *is_return)
                });
                Ok(Links(links.collect::<std::io::Result<_>>()?))
            }
            Functions::Single(kind) => {
                let file = CString::new(file.as_os_str().as_bytes())?;
                let mut links = Vec::new();
                let all = [
                    (SENT, sent, 0),
                    (RECEIVED, received, 0),
                    (RETURNED, returned, kind.at_return),
                    (LEFT, left, 0),
                    (ENTERED, entered, 0),
                ];
                for (name, Places { offsets, cookies }, config) in all {
                    let program = program(programs, name)?.fd()?.as_fd();
                    for (&offset, &cookie) in offsets.iter().zip(&cookies) {
                        let event = (kind.number, config);
                        links.push(abi::link_single_probe(program, event, &file, offset, cookie, process.get())?);
                    }
                }
                Ok(Links(links))
            }
        }
    }
}

/// Perf's kind of event for functions of user programs.
pub struct EventKind {
    number: u32,
    /// The configuration that puts it behind a function's return.
    at_return: u64,
}

impl EventKind {
    /// As the kernel tells it, where the files are.
    fn read() -> Result<Self> {
        let read = |name: &str| {
            let path = format!("/sys/bus/event_source/devices/uprobe/{name}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}; the kernel has no uprobes"))
        };
        let number = read("type")?.trim().parse().context("the number of perf's uprobes")?;
        let bit: u32 = read("format/retprobe")?
            .trim()
            .strip_prefix("config:")
            .and_then(|bit| bit.parse().ok())
            .filter(|bit| *bit < u64::BITS)
            .context("the bit of perf's uprobes behind a return")?;
        Ok(EventKind { number, at_return: 1 << bit })
    }
}

/// Places by program.
#[derive(Default)]
struct Sites {
    entered: Places,
    left: Places,
    returned: Places,
    received: Places,
    sent: Places,
}

impl Sites {
    fn of(library: &Library) -> Self {
        let mut sites = Sites::default();
        for function in &library.functions {
            sites.entered.put(function.offset + function.places.entry.offset(), function.number);
            match &function.places.exit {
                _ if function.number == function::FREE => {}
                Exit::Return => sites.returned.put(function.offset, function.number),
                Exit::Emulated(offsets) => {
                    offsets.iter().for_each(|offset| sites.left.put(function.offset + offset, function.number));
                }
            }
        }
        let RecordLayer { received, sent } = &library.record_layer;
        for (to, inner) in [(&mut sites.received, received), (&mut sites.sent, sent)] {
            if let Some(Inner { offset, places, .. }) = inner {
                places.iter().for_each(|place| to.put(offset + place.offset, place.cookie));
            }
        }
        sites
    }
}

impl Places {
    fn put(&mut self, offset: u64, cookie: u64) {
        self.offsets.push(offset);
        self.cookies.push(cookie);
    }
}

fn program<'a>(programs: &'a mut Ebpf, name: &str) -> Result<&'a mut UProbe> {
    let program = programs.program_mut(name).with_context(|| format!("the kernel object lacks {name}"))?;
    Ok(program.try_into()?)
}

/// The object once more, its instructions bound to the tables that are there.
fn relocated(object: &[u8], programs: &Ebpf) -> Result<Object> {
    let mut object = Object::parse(object)?;
    let maps: Vec<(String, RawFd, aya_obj::Map)> = std::mem::take(&mut object.maps)
        .into_iter()
        .filter_map(|(name, map)| {
            let descriptor = descriptor(programs.map(&name)?)?;
            Some((name, descriptor, map))
        })
        .collect();
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(maps.iter().map(|(name, fd, map)| (name.as_str(), *fd, map)), &sections)?;
    object.relocate_calls(&sections)?;
    Ok(object)
}

/// Of the kinds that the kernel part has.
fn descriptor(map: &Map) -> Option<RawFd> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::PerfEventArray(data)
        | Map::RingBuf(data)
        | Map::SkStorage(data)
        | Map::Unsupported(data) => Some(data.fd().as_fd().as_raw_fd()),
        _ => None,
    }
}

fn load_multi(object: &Object, name: &str) -> Result<OwnedFd> {
    let program = object.programs.get(name).with_context(|| format!("the kernel object lacks {name}"))?;
    let function = object.functions.get(&program.function_key()).with_context(|| format!("{name} has no code"))?;
    abi::load_multi_probe(name, &function.instructions, &program.license).with_context(|| {
        format!("the kernel refuses the program {name}; report this with the output of `observer check`")
    })
}
