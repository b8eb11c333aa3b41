//! A function's instructions and how control flows through them (x86-64).

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, Register,
};

/// Instructions of a function at most: those that matter have some hundred.
const INSTRUCTIONS_MAX: usize = 4096;

/// The registers of the first four arguments (System V ABI for x86-64, section 3.2.3).
const ARGUMENTS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];

/// One instruction.
#[derive(Clone, Debug)]
pub struct Step {
    /// What it is.
    pub instruction: Instruction,
    /// Where control may go on within the function.
    pub next: Vec<u64>,
    /// What kind of step it is.
    pub kind: Kind,
    /// The kernel's uprobes emulate it in place (`branch_setup_xol_ops` and `push_setup_xol_ops` in
    /// arch/x86/kernel/uprobes.c); any other one they step out of line, which costs two exceptions.
    pub is_emulated: bool,
    /// It may change an argument's register.
    pub changes_arguments: bool,
    /// It may change `rax`.
    pub changes_result: bool,
}

/// How an instruction may leave the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It does not.
    Inside,
    /// A return.
    Return,
    /// A call that does not come back: it is the function's last instruction.
    NoReturn,
    /// A jump out of the function, or one whose target cannot be told.
    Away,
}

/// A function's reachable instructions by address.
#[derive(Clone, Debug, Default)]
pub struct Flow {
    /// The first one's address.
    pub start: u64,
    /// By address.
    pub steps: BTreeMap<u64, Step>,
}

impl Flow {
    /// Follows all ways from the beginning. `None` where bytes are no instructions, or there are too many.
    pub fn of(code: &[u8], start: u64) -> Option<Self> {
        let end = start.checked_add(code.len() as u64)?;
        Self::within(code, start, start..end)
    }

    /// The same for a function among others: into what of it the compiler has put elsewhere, as it is seldom gone to, and
    /// back from there. That code is jumped to on a condition; any other jump out of the function is a call at its end.
    pub fn within(code: &[u8], code_start: u64, function: Range<u64>) -> Option<Self> {
        let start = function.start;
        let code_end = code_start.checked_add(code.len() as u64)?;
        let mut decoder = Decoder::with_ip(64, code, code_start, DecoderOptions::NONE);
        let mut info = InstructionInfoFactory::new();
        let mut steps = BTreeMap::new();
        let mut ahead = vec![start];
        while let Some(at) = ahead.pop() {
            if steps.contains_key(&at) {
                continue;
            }
            let from = usize::try_from(at.checked_sub(code_start)?).ok()?;
            decoder.set_position(from).ok()?;
            decoder.set_ip(at);
            let instruction = decoder.decode();
            if instruction.is_invalid() || steps.len() >= INSTRUCTIONS_MAX {
                return None;
            }
            let bytes = &code[from..from + instruction.len()];
            let may_leave = instruction.flow_control() == FlowControl::ConditionalBranch || !function.contains(&at);
            let range = if may_leave { code_start..code_end } else { function.clone() };
            let step = step(&instruction, bytes, range, &mut info);
            ahead.extend(&step.next);
            steps.insert(at, step);
        }
        Some(Flow { start, steps })
    }

    /// The instructions that control may come from, by address.
    pub fn sources(&self) -> BTreeMap<u64, Vec<u64>> {
        let mut sources: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for (&at, step) in &self.steps {
            for &next in &step.next {
                sources.entry(next).or_default().push(at);
            }
        }
        sources
    }
}

fn step(instruction: &Instruction, bytes: &[u8], range: Range<u64>, info: &mut InstructionInfoFactory) -> Step {
    let (behind, target) = (instruction.next_ip(), instruction.near_branch_target());
    let inside = |to: u64| range.contains(&to).then_some(to);
    let (next, kind) = match instruction.flow_control() {
        FlowControl::Next | FlowControl::XbeginXabortXend => to_all([inside(behind)]),
        FlowControl::UnconditionalBranch => to_all([inside(target)]),
        FlowControl::ConditionalBranch => to_all([inside(behind), inside(target)]),
        FlowControl::Return => (Vec::new(), Kind::Return),
        FlowControl::Call | FlowControl::IndirectCall => match inside(behind) {
            Some(behind) => (vec![behind], Kind::Inside),
            None => (Vec::new(), Kind::NoReturn),
        },
        FlowControl::IndirectBranch => (Vec::new(), Kind::Away),
        // `ud2` and traps.
        FlowControl::Interrupt | FlowControl::Exception => (Vec::new(), Kind::NoReturn),
    };
    let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
    let written: Vec<Register> = info
        .info(instruction)
        .used_registers()
        .iter()
        .filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None))
        .map(|used| used.register().full_register())
        .collect();
    Step {
        instruction: *instruction,
        next,
        kind,
        is_emulated: is_emulated(instruction, bytes),
        changes_arguments: is_call || ARGUMENTS.iter().any(|register| written.contains(register)),
        changes_result: is_call || written.contains(&Register::RAX),
    }
}

fn to_all<const N: usize>(targets: [Option<u64>; N]) -> (Vec<u64>, Kind) {
    let kind = if targets.contains(&None) { Kind::Away } else { Kind::Inside };
    (targets.into_iter().flatten().collect(), kind)
}

/// Relative jumps and calls without a prefix, `nop` of one byte, and pushes of a register.
fn is_emulated(instruction: &Instruction, bytes: &[u8]) -> bool {
    match bytes {
        [0xeb | 0x70..=0x7f, _] | [0xe9 | 0xe8, _, _, _, _] | [0x0f, 0x80..=0x8f, _, _, _, _] => true,
        [0x90] => true,
        [0x50..=0x57] | [0x41, 0x50..=0x57] => instruction.mnemonic() == Mnemonic::Push,
        _ => false,
    }
}
