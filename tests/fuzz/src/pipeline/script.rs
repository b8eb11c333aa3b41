//! A script out of any bytes: what a gateway did, call by call, and how each call was observed.
//!
//! Each step is a byte that tells its kind, and a few more. A change of one byte changes one step, or how the next are
//! cut, so that a fuzzer's changes stay small.

use std::fmt;

use super::pieces::{ANSWERED, ASKED};

/// Connections at once: clients' have even numbers, upstreams' odd ones; the last two are UNIX sockets.
pub const SLOTS: usize = 8;

const STEPS_MAX: usize = 256;

/// What happens next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new connection; one that has the slot is closed before.
    Open {
        /// Which.
        slot: usize,
        /// Its worker, or the one that connects: the first or the second.
        worker: usize,
        /// The upstream that is asked: the first or the second.
        upstream: usize,
        /// So many of its records come before the observer does.
        late: u8,
        /// A scan finds it then, not its next call.
        is_scanned: bool,
    },
    /// A call moves bytes.
    Bytes {
        /// Which connection.
        slot: usize,
        /// Of requests.
        is_asked: bool,
        /// What moves.
        bytes: Bytes,
        /// How much of it shows.
        observed: Observed,
    },
    /// A call meets the stream's end, or fails.
    Result(usize, i32, Observed),
    /// A state of a TCP connection.
    State(usize, Turn, Observed),
    /// So many milliseconds go by.
    Time(u64),
    /// A worker's process ends, and another takes its place.
    Exit(usize),
    /// Something that changes no count.
    Aside(u8),
    /// A record that no kernel part would write.
    Odd(Vec<u8>),
}

/// Bytes, shown as text.
#[derive(Clone, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// How a call or a state is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Whole.
    Whole,
    /// So many of its first bytes, and its last ones.
    Sampled(usize),
    /// Its length, as of pages.
    Pages,
    /// Its length: buffers that cannot be told.
    Unsampled,
    /// So many of its first bytes leave unseen, before the rest.
    Unseen(usize),
    /// Its record is lost.
    Lost,
}

/// How a TCP connection turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The connect succeeds.
    Established,
    /// The peer's FIN.
    PeerEnds,
    /// The gateway shuts its sending side down.
    GatewayEnds,
    /// The gateway closes.
    GatewayCloses,
    /// The kernel is done with it.
    Closed,
}

/// The script that these bytes tell.
pub fn of(bytes: &[u8]) -> Vec<Step> {
    let mut choices = Choices(bytes);
    let mut steps = Vec::new();
    while !choices.0.is_empty() && steps.len() < STEPS_MAX {
        steps.push(choices.step());
    }
    steps
}

struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn bytes(&mut self, count: usize) -> &[u8] {
        self.0.split_off(..count.min(self.0.len())).unwrap_or_default()
    }

    fn step(&mut self) -> Step {
        let kind = self.byte();
        let slot = usize::from(self.byte()) % SLOTS;
        match kind % 16 {
            0..4 => self.bytes_step(slot, true, kind >> 6),
            4..8 => self.bytes_step(slot, false, kind >> 6),
            8 => {
                let result = [0, 0, -104, -32][usize::from(kind >> 4) % 4];
                Step::Result(slot, result, self.observed())
            }
            9 => self.state(slot, Turn::PeerEnds),
            10 => self.state(slot, Turn::GatewayCloses),
            11 => {
                let turn = [Turn::Established, Turn::GatewayEnds, Turn::Closed, Turn::Established];
                self.state(slot, turn[usize::from(kind >> 4) % 4])
            }
            12 => Step::Time(u64::from(self.byte()).pow(2) / 16),
            13 => self.open(slot),
            14 if kind < 0x80 => Step::Exit(slot),
            14 => Step::Aside(slot as u8),
            _ if kind == 0xff => {
                let count = usize::from(self.byte());
                Step::Odd(self.bytes(count).to_vec())
            }
            _ => self.open(slot),
        }
    }

    fn open(&mut self, slot: usize) -> Step {
        let how = self.byte();
        Step::Open {
            slot,
            worker: usize::from(how & 1),
            upstream: usize::from(how >> 1 & 1),
            late: if how >> 6 == 3 { 1 + (how >> 3 & 7) } else { 0 },
            is_scanned: how & 4 != 0,
        }
    }

    fn state(&mut self, slot: usize, turn: Turn) -> Step {
        Step::State(slot, turn, self.observed())
    }

    fn bytes_step(&mut self, slot: usize, is_asked: bool, more: u8) -> Step {
        let observed = self.observed();
        let mut bytes = Vec::new();
        for _ in 0..=more {
            let table = if is_asked { ASKED } else { ANSWERED };
            match self.byte() {
                count @ 0xe0.. => bytes.extend_from_slice(self.bytes(usize::from(count - 0xe0))),
                piece => bytes.extend_from_slice(table[usize::from(piece) % table.len()]),
            }
        }
        Step::Bytes { slot, is_asked, bytes: Bytes(bytes), observed }
    }

    fn observed(&mut self) -> Observed {
        match self.byte() {
            0..0xc0 => Observed::Whole,
            0xc0..0xd0 => Observed::Lost,
            0xd0..0xe8 => Observed::Sampled(usize::from(self.byte())),
            0xe8..0xf0 => Observed::Pages,
            0xf0..0xf8 => Observed::Unsampled,
            0xf8.. => Observed::Unseen(usize::from(self.byte())),
        }
    }
}
