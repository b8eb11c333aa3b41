//! The kernel's description of its own types (BTF), read for what the programs need to know of this
//! kernel: where a structure's members lie, which tracepoints and helpers there are.
//!
//! The format is that of `include/uapi/linux/btf.h`. Only an index of the types is built, so
//! reading the whole of a kernel's BTF (5 MB, 100,000 types and more) takes milliseconds.

use std::fs;
use std::io;
use std::ops::Range;

use format::{
    ENUMERATOR_BYTES, KIND_CONST, KIND_ENUM, KIND_RESTRICT, KIND_STRUCT, KIND_TYPE_TAG,
    KIND_TYPEDEF, KIND_UNION, KIND_VOLATILE, MAGIC, MEMBER_BYTES, Reader, Type, index,
};

mod format;

/// Where the running kernel shows its BTF (`CONFIG_DEBUG_INFO_BTF`).
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// A kernel's BTF, indexed by type.
#[derive(Debug, Clone)]
pub struct Btf {
    bytes: Vec<u8>,
    strings: Range<usize>,
    /// By type id; id 0 is `void`.
    types: Vec<Type>,
}

/// Why a question to the BTF has no answer.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file is not there or not readable.
    #[error(
        "cannot read {KERNEL_BTF}: the observer needs a kernel built with CONFIG_DEBUG_INFO_BTF"
    )]
    Unreadable(#[source] io::Error),
    /// The bytes are not what the format says.
    #[error("the kernel's BTF is not readable ({0}): report this with the kernel's version")]
    Malformed(&'static str),
    /// A kind of type that came after this version.
    #[error(
        "the kernel's BTF has types of kind {0}, unknown to this version: use a newer observer"
    )]
    UnknownKind(u32),
    /// No such structure or union.
    #[error(
        "this kernel has no `struct {0}`: the observer does not know its layout; use a newer observer"
    )]
    NoStructure(String),
    /// The structure has no such member.
    #[error("this kernel's `struct {structure}` has no member `{member}`: use a newer observer")]
    NoMember {
        /// The structure that was searched.
        structure: String,
        /// The member, with the path to it.
        member: String,
    },
    /// A member that does not begin and end at a byte.
    #[error(
        "`{member}` of this kernel's `struct {structure}` is a bit field within a byte: use a newer observer"
    )]
    BitField {
        /// The structure that was searched.
        structure: String,
        /// The member, with the path to it.
        member: String,
    },
}

impl Btf {
    /// The running kernel's.
    pub fn load() -> Result<Self, BtfError> {
        Btf::parse(fs::read(KERNEL_BTF).map_err(BtfError::Unreadable)?)
    }

    /// From the bytes of a stand-alone BTF file in this machine's byte order.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, BtfError> {
        let reader = Reader(&bytes);
        if reader.u32(0)? as u16 != MAGIC {
            return Err(BtfError::Malformed("no magic number in this byte order"));
        }
        let header_bytes = reader.u32(4)? as usize;
        let section = |at: usize| -> Result<Range<usize>, BtfError> {
            let start = header_bytes + reader.u32(at)? as usize;
            let end = start + reader.u32(at + 4)? as usize;
            bytes
                .get(start..end)
                .map(|_| start..end)
                .ok_or(BtfError::Malformed("it is cut short"))
        };
        let types = index(&reader, section(8)?)?;
        let strings = section(16)?;
        Ok(Btf {
            bytes,
            strings,
            types,
        })
    }

    /// How many types it describes.
    pub fn type_count(&self) -> usize {
        self.types.len()
    }

    /// Its size in bytes.
    pub fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether BPF programs can attach to this tracepoint by type (`tp_btf/NAME`).
    pub fn has_tracepoint(&self, name: &str) -> bool {
        let wanted = format!("btf_trace_{name}");
        self.named(&[KIND_TYPEDEF], &wanted).next().is_some()
    }

    /// Whether the kernel knows this BPF helper; `name` without the `bpf_` before it.
    pub fn has_helper(&self, name: &str) -> bool {
        let wanted = format!("BPF_FUNC_{name}");
        self.named(&[KIND_ENUM], "bpf_func_id").any(|functions| {
            functions.parts(ENUMERATOR_BYTES).any(|part| {
                self.word(part)
                    .is_some_and(|name| self.has_name(name, &wanted))
            })
        })
    }

    fn named<'a>(&'a self, kinds: &'a [u32], name: &'a str) -> impl Iterator<Item = &'a Type> {
        self.types
            .iter()
            .filter(move |ty| kinds.contains(&ty.kind()) && self.has_name(ty.name, name))
    }

    fn has_name(&self, offset: u32, name: &str) -> bool {
        let rest = self.bytes[self.strings.clone()]
            .get(offset as usize..)
            .unwrap_or_default();
        rest.strip_prefix(name.as_bytes())
            .is_some_and(|rest| rest.first() == Some(&0))
    }

    fn word(&self, at: usize) -> Option<u32> {
        Reader(&self.bytes).u32(at).ok()
    }
}

/// The offset in bytes of a member within a structure, as `offsetof` gives it. `member` may lie in
/// unnamed structures and unions, and a path with dots leads into named ones: `member_offset(btf,
/// "net", "ns.inum")`.
pub fn member_offset(btf: &Btf, structure: &str, member: &str) -> Result<u32, BtfError> {
    let mut known = false;
    for ty in btf.named(&STRUCTURES, structure) {
        known = true;
        let Some(place) = btf.follow(ty, member) else {
            continue;
        };
        // A bit field of whole bytes is a member like any other.
        if place.bit % 8 != 0 || place.bits % 8 != 0 {
            let (structure, member) = (structure.to_owned(), member.to_owned());
            return Err(BtfError::BitField { structure, member });
        }
        return Ok(place.bit / 8);
    }
    let structure = structure.to_owned();
    match known {
        false => Err(BtfError::NoStructure(structure)),
        true => Err(BtfError::NoMember {
            structure,
            member: member.to_owned(),
        }),
    }
}

/// Where a member lies: its first bit, and for a bit field how many bits it has, else 0.
struct Place {
    bit: u32,
    bits: u32,
    ty: u32,
}

impl Btf {
    fn follow(&self, structure: &Type, path: &str) -> Option<Place> {
        let (first, rest) = path
            .split_once('.')
            .map_or((path, None), |(a, b)| (a, Some(b)));
        let place = self.member(structure, first, NESTED_MOST)?;
        match rest {
            None => Some(place),
            Some(rest) => {
                let inner = self.follow(self.structure(place.ty)?, rest)?;
                Some(Place {
                    bit: place.bit + inner.bit,
                    ..inner
                })
            }
        }
    }

    /// A member by name, in unnamed structures and unions too, those at most `depth` deep.
    fn member(&self, structure: &Type, name: &str, depth: u32) -> Option<Place> {
        structure.parts(MEMBER_BYTES).find_map(|part| {
            let (its_name, ty, offset) =
                (self.word(part)?, self.word(part + 4)?, self.word(part + 8)?);
            let (bit, bits) = match structure.has_kind_flag() {
                true => (offset & 0x00ff_ffff, offset >> 24),
                false => (offset, 0),
            };
            if self.has_name(its_name, name) {
                return Some(Place { bit, bits, ty });
            }
            if !self.has_name(its_name, "") || depth == 0 {
                return None;
            }
            let inner = self.member(self.structure(ty)?, name, depth - 1)?;
            Some(Place {
                bit: bit + inner.bit,
                ..inner
            })
        })
    }

    /// The structure or union behind this id, through typedefs and qualifiers.
    fn structure(&self, mut id: u32) -> Option<&Type> {
        for _ in 0..NESTED_MOST {
            let ty = self.types.get(id as usize)?;
            match ty.kind() {
                KIND_STRUCT | KIND_UNION => return Some(ty),
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = ty.target;
                }
                _ => return None,
            }
        }
        None
    }
}

/// Deeper than any kernel nests its types; ends circles in a broken file.
const NESTED_MOST: u32 = 32;

const STRUCTURES: [u32; 2] = [KIND_STRUCT, KIND_UNION];

#[cfg(test)]
mod tests;
