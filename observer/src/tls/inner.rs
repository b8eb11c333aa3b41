//! Where OpenSSL's record layer has moved plaintext: one cheap probe a move, with all that is to be read at hand.
//!
//! `SSL_read` and `SSL_write`, their other forms and early data all end in two functions, the same for every version of
//! TLS over a stream: `ssl3_read_bytes(SSL *, int type, int *, unsigned char *buf, size_t, int peek, size_t *)` copies what
//! it has decrypted into its caller's buffer, and `ssl3_write_bytes(SSL *, int type, const void *buf, size_t, size_t *written)`
//! sets `*written` once all is sent. They have no symbols: the table of methods that `TLS_method` returns has their
//! addresses, and what they do with their arguments tells which they are.

use std::fmt;

use iced_x86::{Mnemonic, OpKind, Register};
use observer_ebpf::tables::place;

use super::flow::{Flow, Step};
use super::values::{self, Location, State, Value};

/// Arguments of both functions by their order.
const CONNECTION: usize = 0;
const KIND: usize = 1;
/// Of the function that writes.
const FROM: usize = 2;
const WRITTEN: usize = 4;
/// Of the function that reads.
const INTO: usize = 3;
const PEEK: usize = 5;

/// What is needed of an argument, in bytes: OpenSSL 3.2 made one of the content type.
const POINTER_BYTES: i64 = 8;
const KIND_BYTES: i64 = 1;
const PEEK_BYTES: i64 = 4;

/// What the locations of a place are of.
pub const RECEIVED_NAMES: &[&str] = &["ssl", "type", "peek"];
/// The same for what was sent.
pub const SENT_NAMES: &[&str] = &["buffer", "length", "type", "ssl"];

/// Instructions behind the one that sets `*written` among which the place is looked for.
const STEPS_MAX: usize = 6;

/// One place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From the function's beginning, in bytes.
    pub offset: u64,
    /// Tells the probe where what it needs lies: the locations of [`observer_ebpf::tables::place`].
    pub cookie: u64,
}

/// A function of the record layer and its places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Where the function begins in the file.
    pub offset: u64,
    /// In the order of their addresses; all are emulated.
    pub places: Vec<Place>,
    /// What the locations in the places' cookies are of.
    pub names: &'static [&'static str],
}

/// Those that were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordLayer {
    /// Copies plaintext that was received.
    pub received: Option<Inner>,
    /// Has sent plaintext.
    pub sent: Option<Inner>,
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in &self.places {
            write!(f, "+{:#x} (", place.offset)?;
            for (index, name) in self.names.iter().enumerate() {
                let location = place::location(place.cookie, index as u32);
                let separator = if index == 0 { "" } else { ", " };
                match place::word(location) {
                    _ if location == place::UNKNOWN => write!(f, "{separator}{name} unknown")?,
                    Some(word) => write!(f, "{separator}{name} in {}", register_name(word))?,
                    None => write!(f, "{separator}{name} at sp+{:#x}", place::distance(location))?,
                }
            }
            f.write_str(") ")?;
        }
        write!(f, "(emulated)")
    }
}

/// The calls that copy into the caller's buffer, if this is the function that reads.
pub fn receiving(flow: &Flow) -> Option<Vec<Place>> {
    // What is called with the caller's buffer is `memcpy`, and that returns it.
    let states = values::states(flow, Some(INTO))?;
    let copies = states.iter().filter(|(at, state)| {
        let into = state.get(Register::RDI);
        is_direct_call(&flow.steps[at]) && (into == Value::Argument(INTO) || into == Value::Into(INTO))
    });
    let places = copies.map(|(&at, state)| {
        let locations = [
            location(state, CONNECTION, POINTER_BYTES)?,
            location(state, KIND, KIND_BYTES)?,
            location(state, PEEK, PEEK_BYTES)?,
            place::UNKNOWN,
        ];
        Some(Place { offset: at.checked_sub(flow.start)?, cookie: place::cookie(locations) })
    });
    places.collect::<Option<Vec<_>>>().filter(|places| !places.is_empty())
}

/// What follows each store to `*written`, if this is the function that writes.
pub fn sending(flow: &Flow) -> Option<Vec<Place>> {
    let states = values::states(flow, None)?;
    let stores = states.iter().filter(|(at, state)| {
        let instruction = &flow.steps[at].instruction;
        instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Memory
            && state.get(instruction.memory_base()) == Value::Argument(WRITTEN)
    });
    let places = stores.map(|(&at, _)| {
        let store = &flow.steps[&at].instruction;
        let is_plain = store.op1_kind() == OpKind::Register
            && store.op1_register().is_gpr64()
            && store.memory_index() == Register::None
            && store.memory_displacement64() == 0;
        let count = is_plain.then(|| store.op1_register())?;
        let behind = behind(flow, at, count)?;
        let state = states.get(&behind)?;
        let optional = |argument, bytes| location(state, argument, bytes).unwrap_or(place::UNKNOWN);
        let locations = [
            location(state, FROM, POINTER_BYTES)?,
            place::register(register_word(count)?),
            optional(KIND, KIND_BYTES),
            optional(CONNECTION, POINTER_BYTES),
        ];
        Some(Place { offset: behind.checked_sub(flow.start)?, cookie: place::cookie(locations) })
    });
    places.collect::<Option<Vec<_>>>().filter(|places| !places.is_empty())
}

fn is_direct_call(step: &Step) -> bool {
    step.is_emulated && step.instruction.is_call_near()
}

/// The first emulated instruction straight behind this one, reached from nowhere else, with the register still as it was.
fn behind(flow: &Flow, at: u64, kept: Register) -> Option<u64> {
    let sources = flow.sources();
    let mut at = flow.steps[&at].instruction.next_ip();
    for _ in 0..STEPS_MAX {
        let step = flow.steps.get(&at)?;
        if sources.get(&at)?.len() > 1 {
            return None;
        }
        if step.is_emulated {
            return Some(at);
        }
        let instruction = &step.instruction;
        let is_harmless = instruction.mnemonic() == Mnemonic::Mov
            && !(instruction.op0_kind() == OpKind::Register && instruction.op0_register().full_register() == kept);
        if !is_harmless {
            return None;
        }
        at = instruction.next_ip();
    }
    None
}

fn location(state: &State, argument: usize, bytes: i64) -> Option<u16> {
    match state.find(argument, bytes)? {
        Location::Register(register) => Some(place::register(register_word(register)?)),
        Location::Stack(bytes) => place::stack(bytes),
    }
}

/// The registers by their word in `struct pt_regs` (arch/x86/include/asm/ptrace.h).
const WORDS: [Register; 15] = [
    Register::R15,
    Register::R14,
    Register::R13,
    Register::R12,
    Register::RBP,
    Register::RBX,
    Register::R11,
    Register::R10,
    Register::R9,
    Register::R8,
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
];

fn register_word(register: Register) -> Option<u16> {
    WORDS.iter().position(|known| *known == register).map(|word| word as u16)
}

fn register_name(word: u16) -> String {
    let register = WORDS.get(usize::from(word)).copied().unwrap_or_default();
    format!("{register:?}").to_lowercase()
}

#[cfg(test)]
mod tests;
