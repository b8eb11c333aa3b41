//! Where in a function a probe costs little, with the arguments or the result still in their registers.
//!
//! A probe's price is the instruction that it stands on: some the kernel emulates, others it has to step out of line. On
//! x86-64 the price differs ten times.

use std::collections::BTreeSet;
use std::fmt;

use super::flow::{Flow, Kind};

/// Where the probes of one function go; offsets are bytes from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Where the arguments are read.
    pub entry: Entry,
    /// Where the result is read.
    pub exit: Exit,
}

/// Where the arguments are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// An instruction that the kernel emulates, on every way from the beginning, before any argument changes.
    Emulated(u64),
    /// The first instruction, stepped out of line.
    First,
}

/// Where the result is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Emulated instructions, one on every way out, behind which the result does not change.
    Emulated(BTreeSet<u64>),
    /// Behind the return (a uretprobe).
    Return,
}

impl Places {
    /// Plain probes: what works for any function.
    pub const PLAIN: Places = Places { entry: Entry::First, exit: Exit::Return };

    /// Chooses the places in a function of x86-64.
    pub fn find(code: &[u8], start: u64) -> Self {
        let Some(flow) = Flow::of(code, start) else {
            return Places::PLAIN;
        };
        let entry = entry(&flow);
        match exits(&flow) {
            Some(exits) => Places { entry, exit: Exit::Emulated(exits.into_iter().map(|exit| exit - start).collect()) },
            // A probe behind the return puts a breakpoint on the first instruction anyway.
            None => {
                Places { entry: if entry == Entry::Emulated(0) { entry } else { Entry::First }, exit: Exit::Return }
            }
        }
    }
}

impl Entry {
    /// From the function's beginning.
    pub fn offset(self) -> u64 {
        match self {
            Entry::Emulated(offset) => offset,
            Entry::First => 0,
        }
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Entry::Emulated(offset) => write!(f, "entry +{offset:#x} (emulated)")?,
            Entry::First => write!(f, "entry +0x0 (plain)")?,
        }
        match &self.exit {
            Exit::Return => write!(f, ", result behind the return (plain)"),
            Exit::Emulated(offsets) => {
                let offsets: Vec<String> = offsets.iter().map(|offset| format!("+{offset:#x}")).collect();
                write!(f, ", result {} (emulated)", offsets.join(" "))
            }
        }
    }
}

/// Walks from the beginning as long as there is one way only.
fn entry(flow: &Flow) -> Entry {
    let sources = flow.sources();
    let mut at = flow.start;
    loop {
        let Some(step) = flow.steps.get(&at) else { return Entry::First };
        // What is jumped to is passed more than once, or with other registers.
        let before = sources.get(&at).map_or(0, Vec::len);
        if before > usize::from(at != flow.start) {
            return Entry::First;
        }
        if step.is_emulated {
            return Entry::Emulated(at - flow.start);
        }
        match step.next[..] {
            [next] if step.kind == Kind::Inside && !step.changes_arguments => at = next,
            _ => return Entry::First,
        }
    }
}

/// An emulated instruction on each way out. `None` where a way has none, or leaves by a jump.
fn exits(flow: &Flow) -> Option<BTreeSet<u64>> {
    if flow.steps.values().any(|step| step.kind == Kind::Away) {
        return None;
    }
    let sources = flow.sources();
    let mut places = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let returns = flow.steps.iter().filter(|(_, step)| step.kind == Kind::Return);
    let mut behind: Vec<u64> = returns.map(|(&at, _)| at).collect();
    if behind.is_empty() {
        return None;
    }
    while let Some(at) = behind.pop() {
        if at == flow.start {
            return None;
        }
        for &before in sources.get(&at)? {
            let step = &flow.steps[&before];
            if step.changes_result {
                return None;
            }
            if step.is_emulated && is_final(flow, before) {
                places.insert(before);
            } else if seen.insert(before) {
                behind.push(before);
            }
        }
    }
    Some(places)
}

/// Whether no way from here on changes the result.
fn is_final(flow: &Flow, from: u64) -> bool {
    let mut seen = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(at) = ahead.pop() {
        if !seen.insert(at) {
            continue;
        }
        let Some(step) = flow.steps.get(&at) else { return false };
        match step.kind {
            Kind::NoReturn | Kind::Return => {}
            Kind::Away => return false,
            Kind::Inside if step.changes_result => return false,
            Kind::Inside => ahead.extend(&step.next),
        }
    }
    true
}

#[cfg(test)]
mod tests;
