//! The shapes of BTF's records (`include/uapi/linux/btf.h`).

use std::ops::Range;

use super::BtfError;

pub(super) const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
pub(super) const MEMBER_BYTES: usize = 12;
pub(super) const ENUMERATOR_BYTES: usize = 8;

pub(super) const KIND_STRUCT: u32 = 4;
pub(super) const KIND_UNION: u32 = 5;
pub(super) const KIND_ENUM: u32 = 6;
pub(super) const KIND_TYPEDEF: u32 = 8;
pub(super) const KIND_VOLATILE: u32 = 9;
pub(super) const KIND_CONST: u32 = 10;
pub(super) const KIND_RESTRICT: u32 = 11;
pub(super) const KIND_TYPE_TAG: u32 = 18;
/// `struct btf_type`, and where the data of its kind begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Type {
    pub name: u32,
    pub info: u32,
    pub target: u32,
    pub data: usize,
}

impl Type {
    pub fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// Of a structure: its members' offsets carry the width of bit fields.
    pub fn has_kind_flag(&self) -> bool {
        self.info >> 31 == 1
    }

    fn part_count(&self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Where each member, enumerator or parameter lies.
    pub fn parts(&self, part_bytes: usize) -> impl Iterator<Item = usize> {
        let data = self.data;
        (0..self.part_count()).map(move |part| data + part * part_bytes)
    }

    /// The bytes that follow the type itself.
    fn data_bytes(&self) -> Result<usize, BtfError> {
        let parts = self.part_count();
        match self.kind() {
            // Pointer, forward, typedef, volatile, const, restrict, function, float, type tag.
            2 | 7..=12 | 16 | 18 => Ok(0),
            // Integer, variable, declaration tag.
            1 | 14 | 17 => Ok(4),
            // Array.
            3 => Ok(12),
            // Enumeration, function prototype.
            6 | 13 => Ok(parts * 8),
            // Structure, union, section, 64-bit enumeration.
            4 | 5 | 15 | 19 => Ok(parts * 12),
            kind => Err(BtfError::UnknownKind(kind)),
        }
    }
}

/// Reads words in this machine's byte order.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub fn u32(&self, at: usize) -> Result<u32, BtfError> {
        let bytes = self.0.get(at..).and_then(|rest| rest.first_chunk());
        bytes
            .map(|bytes| u32::from_ne_bytes(*bytes))
            .ok_or(BtfError::Malformed("it is cut short"))
    }
}

/// The types of a type section by their ids; id 0, which no section describes, is `void`.
pub(super) fn index(reader: &Reader, section: Range<usize>) -> Result<Vec<Type>, BtfError> {
    // A type and its data take some 40 bytes in a kernel's BTF.
    let mut types = Vec::with_capacity(section.len() / 32);
    types.push(Type {
        name: 0,
        info: 0,
        target: 0,
        data: 0,
    });
    let mut at = section.start;
    while at < section.end {
        let ty = Type {
            name: reader.u32(at)?,
            info: reader.u32(at + 4)?,
            target: reader.u32(at + 8)?,
            data: at + TYPE_BYTES,
        };
        at = ty.data + ty.data_bytes()?;
        types.push(ty);
    }
    if at != section.end {
        return Err(BtfError::Malformed("its last type is cut"));
    }
    Ok(types)
}
