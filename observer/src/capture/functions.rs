//! Programs at functions of user programs.
//!
//! Since 6.11 one link holds all places of a library for one process (`BPF_TRACE_UPROBE_MULTI`, which before did not look
//! at all threads). Before that each place has an event of its own, and the kernel takes some 80 ms to take it out.

use std::collections::HashSet;
use std::ffi::CString;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::Map;
use aya::programs::UProbe;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::util::KernelVersion;
use aya_obj::Object;

use super::abi;
use crate::tls::Library;
use crate::tls::place::Exit;

/// Where a function's arguments are read.
const ENTERED: &str = "tls_entered";
/// Where its result is.
const LEFT: &str = "tls_left";
/// Behind its return.
const RETURNED: &str = "tls_returned";

/// From here on one link looks at all threads of a process.
const MULTI_SINCE: (u8, u8, u16) = (6, 11, 0);

/// The programs, loaded.
pub enum Functions {
    /// For links with many places.
    Multi {
        /// Reads arguments.
        entered: OwnedFd,
        /// Reads results.
        left: OwnedFd,
    },
    /// For one place each; aya has them.
    Single,
}

/// Probes that sit somewhere; dropping them takes them out.
#[expect(dead_code, reason = "what is in them is only dropped")]
pub enum Links {
    /// Of [`Functions::Multi`].
    Multi(Vec<OwnedFd>),
    /// Of [`Functions::Single`].
    Single(Vec<UProbeLink>),
}

/// Where the programs go in one file.
#[derive(Default)]
struct Places {
    offsets: Vec<u64>,
    cookies: Vec<u64>,
}

impl Functions {
    /// Loads the programs. The tables are those of `programs`.
    pub fn load(object: &[u8], programs: &mut Ebpf) -> Result<Self> {
        let (major, minor, patch) = MULTI_SINCE;
        let is_multi = KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(major, minor, patch));
        if is_multi {
            let mut object = relocated(object, programs)?;
            let mut load = |name: &str| load_multi(&mut object, name);
            return Ok(Functions::Multi { entered: load(ENTERED)?, left: load(LEFT)? });
        }
        for name in [ENTERED, LEFT, RETURNED] {
            program(programs, name)?.load().with_context(|| format!("program {name}"))?;
        }
        Ok(Functions::Single)
    }

    /// Puts probes into all functions of the TLS library that `file` leads to, for one process. Those at results come
    /// first: a result without arguments is left alone.
    pub fn attach(&self, programs: &mut Ebpf, file: &Path, library: &Library, process: NonZeroU32) -> Result<Links> {
        let [mut entered, mut left, mut returned] = [const { Places { offsets: Vec::new(), cookies: Vec::new() } }; 3];
        for function in &library.functions {
            let put = |places: &mut Places, offset: u64| {
                places.offsets.push(function.offset + offset);
                places.cookies.push(function.number);
            };
            match &function.places.exit {
                Exit::Return => put(&mut returned, 0),
                Exit::Emulated(offsets) => offsets.iter().for_each(|&offset| put(&mut left, offset)),
            }
            put(&mut entered, function.places.entry.offset());
        }
        match self {
            Functions::Multi { entered: program, left: result } => {
                let file = CString::new(file.as_os_str().as_bytes())?;
                let mut links = Vec::new();
                for (program, places, is_return) in
                    [(result, &returned, true), (result, &left, false), (program, &entered, false)]
                {
                    if !places.offsets.is_empty() {
                        let Places { offsets, cookies } = places;
                        let process = process.get();
                        links.push(abi::link_multi_probe(
                            program.as_fd(),
                            &file,
                            offsets,
                            cookies,
                            process,
                            is_return,
                        )?);
                    }
                }
                Ok(Links::Multi(links))
            }
            Functions::Single => {
                let mut links = Vec::new();
                for (name, places) in [(RETURNED, &returned), (LEFT, &left), (ENTERED, &entered)] {
                    let program = program(programs, name)?;
                    for (&offset, &cookie) in places.offsets.iter().zip(&places.cookies) {
                        let location = UProbeAttachLocation::AbsoluteOffset(offset);
                        let point = UProbeAttachPoint { location, cookie: Some(cookie) };
                        let link = program.attach(point, file, UProbeScope::OneProcess(process))?;
                        links.push(program.take_link(link)?);
                    }
                }
                Ok(Links::Single(links))
            }
        }
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

fn load_multi(object: &mut Object, name: &str) -> Result<OwnedFd> {
    let program = object.programs.get(name).with_context(|| format!("the kernel object lacks {name}"))?;
    let function = object.functions.get(&program.function_key()).with_context(|| format!("{name} has no code"))?;
    abi::load_multi_probe(name, &function.instructions, &program.license).with_context(|| {
        format!("the kernel refuses the program {name}; report this with the output of `observer check`")
    })
}
