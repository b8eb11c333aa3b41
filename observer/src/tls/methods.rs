//! The functions of OpenSSL's table of methods, which is where those of its record layer are told.

use std::collections::BTreeMap;
use std::fs::File;

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind, Register};
use object::read::{ReadCache, ReadRef};
use object::{Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, Relocation, RelocationFlags, RelocationTarget};

use super::flow::Flow;
use super::inner::{self, Inner, Place, RecordLayer};
use super::library::file_offset;

type Elf<'data> = object::File<'data, &'data ReadCache<File>>;

/// The function that returns the table.
const METHOD: &[u8] = b"TLS_method";

/// Longest function that is looked through.
const CODE_MAX: u64 = 16 * 1024;

/// Words of `struct ssl_method_st`; what lies behind it may be such a table for datagrams.
const WORDS: u64 = 28;

/// Finds the record layer's functions and the places in them. What is built otherwise than expected is not among them: each
/// of the two has to be one and no other.
pub fn record_layer<'data>(file: &Elf<'data>, cache: &'data ReadCache<File>) -> RecordLayer {
    let (Some(table), Some(starts)) = (table(file, cache), function_starts(file)) else {
        return RecordLayer::default();
    };
    let functions = words(file, cache, table);
    let functions: Vec<Flow> = functions.iter().filter_map(|&start| flow(file, cache, &starts, start)).collect();
    let only = |find: fn(&Flow) -> Option<Vec<Place>>, names| {
        let mut found = functions.iter().filter_map(|flow| {
            let (offset, places) = (file_offset(file, flow.start)?, find(flow)?);
            Some(Inner { offset, places, names })
        });
        let first = found.next()?;
        found.next().is_none().then_some(first)
    };
    RecordLayer {
        received: only(inner::receiving, inner::RECEIVED_NAMES),
        sent: only(inner::sending, inner::SENT_NAMES),
    }
}

/// Where the table lies: `TLS_method` does nothing but return that.
fn table(file: &Elf<'_>, cache: &ReadCache<File>) -> Option<u64> {
    const CODE_BYTES: u64 = 16;
    let mut symbols = file.dynamic_symbols().chain(file.symbols());
    let method = symbols.find(|symbol| symbol.is_definition() && symbol.name_bytes() == Ok(METHOD))?.address();
    let code = cache.read_bytes_at(file_offset(file, method)?, CODE_BYTES).ok()?;
    let decoder = Decoder::with_ip(64, code, method, DecoderOptions::NONE);
    let first = decoder.into_iter().find(|instruction| instruction.mnemonic() != Mnemonic::Endbr64)?;
    match first.mnemonic() {
        _ if first.op0_register().full_register() != Register::RAX => None,
        Mnemonic::Lea if first.is_ip_rel_memory_operand() => Some(first.ip_rel_memory_address()),
        // A program that is not moved.
        Mnemonic::Mov if first.op1_kind() == OpKind::Immediate32 => Some(first.immediate32().into()),
        _ => None,
    }
}

/// The addresses in the table, each once.
fn words<'data>(file: &Elf<'data>, cache: &'data ReadCache<File>, table: u64) -> Vec<u64> {
    let range = table..table + WORDS * 8;
    let relocated: BTreeMap<u64, u64> = file
        .dynamic_relocations()
        .into_iter()
        .flatten()
        .filter(|(at, _)| range.contains(at))
        .filter_map(|(at, relocation)| Some((at, relocated(file, &relocation)?)))
        .collect();
    let written = |at: u64| {
        let bytes = cache.read_bytes_at(file_offset(file, at)?, 8).ok()?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    };
    let mut words: Vec<u64> =
        range.step_by(8).filter_map(|at| relocated.get(&at).copied().or_else(|| written(at))).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// Of the kinds that such a table has (System V ABI for x86-64, section 4.4.1): with and without a symbol.
fn relocated(file: &Elf<'_>, relocation: &Relocation) -> Option<u64> {
    const R_X86_64_64: u32 = 1;
    const R_X86_64_RELATIVE: u32 = 8;
    let base = match (relocation.flags(), relocation.target()) {
        (RelocationFlags::Elf { r_type: R_X86_64_RELATIVE }, _) => 0,
        (RelocationFlags::Elf { r_type: R_X86_64_64 }, RelocationTarget::Symbol(index)) => {
            file.dynamic_symbol_table()?.symbol_by_index(index).ok()?.address()
        }
        _ => return None,
    };
    Some(base.wrapping_add_signed(relocation.addend()))
}

/// A function's instructions. `None` for what is no function.
fn flow(file: &Elf<'_>, cache: &ReadCache<File>, starts: &[u64], start: u64) -> Option<Flow> {
    let index = starts.binary_search(&start).ok()?;
    let end = starts.get(index + 1).copied().unwrap_or(start + CODE_MAX).min(start + CODE_MAX);
    let section = file.sections().find(|section| {
        let behind = section.address() + section.size();
        (section.address()..behind).contains(&start)
    })?;
    let (offset, size) = section.file_range()?;
    Flow::within(cache.read_bytes_at(offset, size).ok()?, section.address(), start..end)
}

/// Where functions begin, those without a symbol too: the table for unwinding has all of them (Linux Standard Base,
/// section 10.6.2).
fn function_starts(file: &Elf<'_>) -> Option<Vec<u64>> {
    // Version 1; the count is of four bytes; entries are of four signed bytes, relative to the section.
    const VERSION: u8 = 1;
    const COUNT_FORM: u8 = 0x03;
    const ENTRY_FORM: u8 = 0x3b;
    const HEADER_BYTES: usize = 12;
    let section = file.section_by_name(".eh_frame_hdr")?;
    let data = section.data().ok()?;
    let count = match data.first_chunk::<HEADER_BYTES>()? {
        &[VERSION, _, COUNT_FORM, ENTRY_FORM, .., a, b, c, d] => u32::from_le_bytes([a, b, c, d]) as usize,
        _ => return None,
    };
    let entries = data[HEADER_BYTES..].chunks_exact(8).take(count);
    let starts = entries.filter_map(|entry| entry.first_chunk::<4>().copied().map(i32::from_le_bytes));
    Some(starts.map(|start| section.address().wrapping_add_signed(start.into())).collect())
}
