//! The tables that tell the kernel part whom to watch, and its counters of losses.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use observer_ebpf::limits::{PROCESSES_PER_ENTRY, WATCHED_NAMES};
use observer_ebpf::tables::{Loss, Name, ProcessEntry, port};

use crate::event::{Event, Lost, Nanoseconds};
use crate::host::processes::Comm;

/// Handles of the kernel part's tables.
pub struct Tables {
    processes: Array<MapData, ProcessEntry>,
    ports: Array<MapData, ProcessEntry>,
    names: Array<MapData, Name>,
    losses: PerCpuArray<MapData, u64>,
    asleep: Array<MapData, u32>,
    told: [u64; Loss::ALL.len()],
}

impl Tables {
    pub fn take(programs: &mut Ebpf) -> Result<Self> {
        let mut map =
            |name: &str| programs.take_map(name).with_context(|| format!("the kernel object lacks the table {name}"));
        Ok(Tables {
            processes: Array::try_from(map("PROCESSES")?)?,
            ports: Array::try_from(map("PORTS")?)?,
            names: Array::try_from(map("NAMES")?)?,
            losses: PerCpuArray::try_from(map("LOSSES")?)?,
            asleep: Array::try_from(map("ASLEEP")?)?,
            told: [0; Loss::ALL.len()],
        })
    }

    /// Programs of these names are watched from their exec on.
    pub fn set_names(&mut self, names: &[Comm]) -> Result<()> {
        if names.len() > WATCHED_NAMES as usize {
            anyhow::bail!("at most {WATCHED_NAMES} program names can be watched; select by pid: or port: instead");
        }
        for (index, name) in names.iter().enumerate() {
            self.names.set(index as u32, name.padded(), 0)?;
        }
        Ok(())
    }

    /// Whoever listens on these ports is watched from then on.
    pub fn select_ports(&mut self, ports: &[u16]) -> Result<()> {
        ports.iter().try_for_each(|&port| set_bits(&mut self.ports, u32::from(port), port::SELECTED))
    }

    /// A gateway listens on this port.
    pub fn set_listening(&mut self, port: u16) -> Result<()> {
        set_bits(&mut self.ports, u32::from(port), port::LISTENING)
    }

    /// Sets bits of a process.
    pub fn watch(&mut self, process: u32, bits: u8) -> Result<()> {
        set_bits(&mut self.processes, process, bits)
    }

    /// The next call that moves bytes wakes the agent.
    pub fn ask_to_be_woken(&mut self) -> Result<()> {
        Ok(self.asleep.set(0, 1, 0)?)
    }

    /// Tells what was lost since the last call. Returns whether records were.
    pub fn losses(&mut self, now_ns: Nanoseconds, mut tell: impl FnMut(&Event<'_>)) -> bool {
        let mut records = false;
        for loss in Loss::ALL {
            let Ok(counts) = self.losses.get(&(loss as u32), 0) else { continue };
            let total: u64 = counts.iter().sum();
            let told = std::mem::replace(&mut self.told[loss as usize], total);
            if total > told {
                records |= loss == Loss::RingFull;
                tell(&Event::Lost(Lost { time_ns: now_ns, reason: loss.name().into(), count: total - told }));
            }
        }
        records
    }
}

/// The kernel part may change a neighbour's byte at the same moment, and its change is then lost: a scan goes on until
/// it finds no process that is not watched, and a fork sets the child's byte whatever it was.
fn set_bits(table: &mut Array<MapData, ProcessEntry>, number: u32, bits: u8) -> Result<()> {
    let (index, at) = (number / PROCESSES_PER_ENTRY, (number % PROCESSES_PER_ENTRY) as usize);
    let mut entry = table.get(&index, 0)?;
    entry[at] |= bits;
    table.set(index, entry, 0)?;
    Ok(())
}
