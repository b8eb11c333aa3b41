//! The kernel's records.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya::maps::{MapData, RingBuf};

use crate::event::Event;

/// Records handed over at once: then the caller may look after other things.
const BATCH: usize = 65_536;

/// The reading end.
pub struct Ring(RingBuf<MapData>);

impl Ring {
    pub fn take(programs: &mut Ebpf) -> Result<Self> {
        let map = programs.take_map("RECORDS").context("the kernel object lacks the table RECORDS")?;
        Ok(Ring(RingBuf::try_from(map)?))
    }

    pub fn drain(&mut self, mut tell: impl FnMut(&Event<'_>)) -> usize {
        let mut count = 0;
        while count < BATCH
            && let Some(record) = self.0.next()
        {
            count += 1;
            match Event::decode(&record) {
                Ok(event) => tell(&event),
                Err(error) => log::error!("{error}: kernel part and agent are of different versions"),
            }
        }
        count
    }
}
