//! Where a function keeps its arguments while it runs: its registers and stack followed along all ways (x86-64).
//!
//! A value is known only if it is the same on every way. Compilers keep what they spill at places of the stack that they
//! reach through the stack or frame pointer alone, so stores through other pointers are taken to leave those alone.

use std::collections::BTreeMap;

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

use super::flow::{Flow, Kind};

/// The registers of the first six arguments (System V ABI for x86-64, section 3.2.3).
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// The registers that a called function gives back as they were.
const KEPT: [Register; 7] =
    [Register::RBX, Register::RBP, Register::RSP, Register::R12, Register::R13, Register::R14, Register::R15];

/// Bytes of a register.
const WORD_BYTES: i64 = 8;

/// What a register or a place of the stack holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Value {
    /// Something else, or different things on different ways.
    #[default]
    Unknown,
    /// An argument.
    Argument(usize),
    /// Its lowest bytes, so many.
    Low(usize, i64),
    /// A pointer made from an argument by adding to it.
    Into(usize),
    /// The stack pointer as it was at the beginning, and so many bytes.
    Stack(i64),
}

/// Where a value can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// In a register.
    Register(Register),
    /// So many bytes above the stack pointer.
    Stack(u32),
}

/// Registers and stack before an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    registers: [Value; 16],
    /// By the distance from the stack pointer at the beginning.
    stack: BTreeMap<i64, Value>,
}

/// The states before all instructions that are reached. `None` where the ways cannot be followed: a jump by a table, or a
/// stack pointer that depends on the way.
///
/// Calls whose first argument is `given_back`, or points into it, are taken to return it.
pub fn states(flow: &Flow, given_back: Option<usize>) -> Option<BTreeMap<u64, State>> {
    let leads_away = |kind: Kind, has_next: bool, is_indirect: bool| kind == Kind::Away && (has_next || is_indirect);
    if flow
        .steps
        .values()
        .any(|step| leads_away(step.kind, !step.next.is_empty(), step.instruction.is_jmp_near_indirect()))
    {
        return None;
    }
    let mut info = InstructionInfoFactory::new();
    let mut states = BTreeMap::from([(flow.start, State::at_beginning())]);
    let mut ahead = vec![flow.start];
    while let Some(at) = ahead.pop() {
        let (Some(step), Some(before)) = (flow.steps.get(&at), states.get(&at)) else { return None };
        if !matches!(before.get(Register::RSP), Value::Stack(_)) {
            return None;
        }
        let mut after = before.clone();
        after.pass(&step.instruction, given_back, &mut info);
        let lost = stack_protectors_way(flow, at);
        for &next in step.next.iter().filter(|&&next| lost != Some(next)) {
            let met = match states.get(&next) {
                None => after.clone(),
                Some(known) => known.meet(&after),
            };
            if states.get(&next) != Some(&met) {
                states.insert(next, met);
                ahead.push(next);
            }
        }
    }
    Some(states)
}

/// Where a jump leads that the stack protector's check makes when the stack is damaged: what is called there does not come
/// back, which nothing in the instructions tells.
fn stack_protectors_way(flow: &Flow, at: u64) -> Option<u64> {
    /// Where the thread keeps the value to compare with (System V ABI for x86-64, thread control block).
    const GUARD: u64 = 0x28;
    let jump = &flow.steps.get(&at)?.instruction;
    let (_, before) = flow.steps.range(..at).next_back()?;
    let check = &before.instruction;
    let is_check = check.next_ip() == at
        && matches!(check.mnemonic(), Mnemonic::Sub | Mnemonic::Xor | Mnemonic::Cmp)
        && check.memory_segment() == Register::FS
        && check.memory_displacement64() == GUARD;
    match jump.mnemonic() {
        Mnemonic::Jne if is_check => Some(jump.near_branch_target()),
        Mnemonic::Je if is_check => Some(jump.next_ip()),
        _ => None,
    }
}

impl State {
    fn at_beginning() -> Self {
        let mut state = State { registers: [Value::Unknown; 16], stack: BTreeMap::new() };
        for (index, register) in ARGUMENTS.into_iter().enumerate() {
            state.set(register, Value::Argument(index));
        }
        state.set(Register::RSP, Value::Stack(0));
        state
    }

    /// What a register holds.
    pub fn get(&self, register: Register) -> Value {
        index(register).map_or(Value::Unknown, |index| self.registers[index])
    }

    /// A place that holds an argument, or at least its lowest bytes: a register rather than the stack, and only what lies
    /// above the stack pointer.
    pub fn find(&self, argument: usize, bytes: i64) -> Option<Location> {
        let has = |value: Value| match value {
            Value::Argument(index) => index == argument,
            Value::Low(index, lowest) => index == argument && lowest >= bytes,
            _ => false,
        };
        let register = (0..16).find(|&index| has(self.registers[index]));
        if let Some(index) = register {
            return Some(Location::Register(Register::RAX + index as u32));
        }
        let Value::Stack(pointer) = self.get(Register::RSP) else { return None };
        let (at, _) = self.stack.range(pointer..).find(|(_, value)| has(**value))?;
        Some(Location::Stack(u32::try_from(at - pointer).ok()?))
    }

    fn set(&mut self, register: Register, value: Value) {
        if let Some(index) = index(register) {
            self.registers[index] = value;
        }
    }

    /// What is the same in both.
    fn meet(&self, other: &State) -> State {
        let mut met = self.clone();
        for (value, other) in met.registers.iter_mut().zip(other.registers) {
            *value = value.meet(other);
        }
        met.stack = self
            .stack
            .iter()
            .filter_map(|(&at, value)| Some((at, value.meet(*other.stack.get(&at)?))))
            .filter(|(_, value)| *value != Value::Unknown)
            .collect();
        met
    }

    /// Goes over an instruction.
    fn pass(&mut self, instruction: &Instruction, given_back: Option<usize>, info: &mut InstructionInfoFactory) {
        let source = self.source(instruction);
        match instruction.mnemonic() {
            Mnemonic::Push => {
                self.move_stack_pointer(-WORD_BYTES);
                if let Value::Stack(at) = self.get(Register::RSP) {
                    self.store(at, WORD_BYTES, source);
                }
            }
            Mnemonic::Pop if instruction.op0_kind() == OpKind::Register => {
                let top = match self.get(Register::RSP) {
                    Value::Stack(at) => self.stack.get(&at).copied().unwrap_or_default(),
                    _ => Value::Unknown,
                };
                self.set(instruction.op0_register(), top);
                self.move_stack_pointer(WORD_BYTES);
            }
            Mnemonic::Call => {
                let kept = KEPT.map(|register| (register, self.get(register)));
                let first = self.get(Register::RDI);
                self.registers = [Value::Unknown; 16];
                kept.into_iter().for_each(|(register, value)| self.set(register, value));
                if given_back.is_some_and(|index| [Value::Argument(index), Value::Into(index)].contains(&first)) {
                    self.set(Register::RAX, first);
                }
            }
            Mnemonic::Mov | Mnemonic::Lea | Mnemonic::Add | Mnemonic::Sub
                if instruction.op0_kind() == OpKind::Register =>
            {
                let value = self.result(instruction, source);
                self.set(instruction.op0_register(), value);
            }
            Mnemonic::Mov if instruction.op0_kind() == OpKind::Memory => {
                if let Some(at) = self.stack_place(instruction) {
                    self.store(at, instruction.memory_size().size() as i64, source);
                }
            }
            _ => self.forget(instruction, info),
        }
    }

    /// What an instruction takes from its last operand.
    fn source(&self, instruction: &Instruction) -> Value {
        let last = instruction.op_count().saturating_sub(1);
        let (value, size) = match instruction.op_kind(last) {
            OpKind::Register => {
                let register = instruction.op_register(last);
                if matches!(register, Register::AH | Register::BH | Register::CH | Register::DH) {
                    return Value::Unknown;
                }
                (self.get(register), register.size())
            }
            OpKind::Memory => {
                let held = self.stack_place(instruction).and_then(|at| self.stack.get(&at)).copied();
                (held.unwrap_or_default(), instruction.memory_size().size())
            }
            _ => return Value::Unknown,
        };
        match (size, value) {
            (8, value) => value,
            (size @ (1 | 2 | 4), Value::Argument(index)) => Value::Low(index, size as i64),
            (size @ (1 | 2 | 4), Value::Low(index, bytes)) => Value::Low(index, bytes.min(size as i64)),
            _ => Value::Unknown,
        }
    }

    /// What a register holds behind a move or a sum.
    fn result(&self, instruction: &Instruction, source: Value) -> Value {
        let to = instruction.op0_register();
        match instruction.mnemonic() {
            Mnemonic::Mov if to.size() >= 4 => source,
            Mnemonic::Lea if to.size() == 8 => {
                let base = self.get(instruction.memory_base());
                if instruction.memory_index() == Register::None {
                    return base.plus(Some(instruction.memory_displacement64() as i64));
                }
                match (base, self.get(instruction.memory_index())) {
                    (Value::Unknown, index) if instruction.memory_index_scale() == 1 => index.plus(None),
                    (base, _) => base.plus(None),
                }
            }
            Mnemonic::Add | Mnemonic::Sub if to.size() == 8 => {
                let is_number = !matches!(instruction.op1_kind(), OpKind::Register | OpKind::Memory);
                let number = is_number.then(|| instruction.immediate(1) as i64);
                let sign = if instruction.mnemonic() == Mnemonic::Add { 1 } else { -1 };
                self.get(to).plus(number.map(|number| sign * number))
            }
            _ => Value::Unknown,
        }
    }

    /// Where on the stack an instruction's memory operand lies, if it lies there.
    fn stack_place(&self, instruction: &Instruction) -> Option<i64> {
        if instruction.memory_index() != Register::None {
            return None;
        }
        match self.get(instruction.memory_base()).plus(Some(instruction.memory_displacement64() as i64)) {
            Value::Stack(at) => Some(at),
            _ => None,
        }
    }

    fn store(&mut self, at: i64, bytes: i64, value: Value) {
        let begin = at - WORD_BYTES + 1;
        let touched = self.stack.range(begin..at + bytes).filter(|(place, held)| *place + held.bytes() > at);
        let touched: Vec<i64> = touched.map(|(&place, _)| place).collect();
        touched.iter().for_each(|place| _ = self.stack.remove(place));
        if value != Value::Unknown {
            self.stack.insert(at, value);
        }
    }

    fn move_stack_pointer(&mut self, bytes: i64) {
        self.set(Register::RSP, self.get(Register::RSP).plus(Some(bytes)));
    }

    /// Whatever an instruction writes is unknown behind it.
    fn forget(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        let is_written = |access: OpAccess| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        let info = info.info(instruction);
        for used in info.used_registers().iter().filter(|used| is_written(used.access())) {
            self.set(used.register(), Value::Unknown);
        }
        for used in info.used_memory().iter().filter(|used| is_written(used.access())) {
            let place =
                (used.index() == Register::None).then(|| self.get(used.base()).plus(Some(used.displacement() as i64)));
            if let Some(Value::Stack(at)) = place {
                self.store(at, used.memory_size().size() as i64, Value::Unknown);
            }
        }
    }
}

impl Value {
    /// How many bytes it takes on the stack.
    fn bytes(self) -> i64 {
        if let Value::Low(_, bytes) = self { bytes } else { WORD_BYTES }
    }

    fn meet(self, other: Value) -> Value {
        match (self, other) {
            (one, other) if one == other => one,
            (Value::Argument(one) | Value::Into(one), Value::Argument(other) | Value::Into(other)) if one == other => {
                Value::Into(one)
            }
            (Value::Low(one, bytes), Value::Argument(other)) | (Value::Argument(other), Value::Low(one, bytes))
                if one == other =>
            {
                Value::Low(one, bytes)
            }
            (Value::Low(one, bytes), Value::Low(other, others)) if one == other => Value::Low(one, bytes.min(others)),
            _ => Value::Unknown,
        }
    }

    /// With a number added; `None` is one that is not known.
    fn plus(self, number: Option<i64>) -> Value {
        match (self, number) {
            (value, Some(0)) => value,
            (Value::Stack(at), Some(number)) => Value::Stack(at.wrapping_add(number)),
            (Value::Argument(index) | Value::Into(index), _) => Value::Into(index),
            _ => Value::Unknown,
        }
    }
}

/// A register's number among those of 64 bits; other registers have none.
fn index(register: Register) -> Option<usize> {
    let full = register.full_register();
    full.is_gpr64().then(|| full.number())
}

#[cfg(test)]
mod tests;
