//! A TLS library's functions, read from its ELF file.

use std::fs::File;
use std::path::Path;

use object::read::{ReadCache, ReadRef};
use object::{Architecture, Object, ObjectSegment, ObjectSymbol, SymbolKind};
use observer_ebpf::tables::function;

use super::place::Places;

/// Functions of a TLS library that are probed, and the numbers that their probes bear.
const FUNCTIONS: [(&str, u64); 12] = [
    ("SSL_read", function::READ),
    ("SSL_write", function::WRITE),
    ("SSL_read_ex", function::READ_EX),
    ("SSL_write_ex", function::WRITE_EX),
    ("SSL_read_early_data", function::READ_EARLY),
    ("SSL_write_early_data", function::WRITE_EARLY),
    ("SSL_sendfile", function::SENDFILE),
    ("SSL_do_handshake", function::HANDSHAKE),
    ("SSL_shutdown", function::SHUTDOWN),
    ("SSL_peek", function::PEEK),
    ("SSL_peek_ex", function::PEEK),
    ("SSL_get0_alpn_selected", function::ALPN),
];

/// Longest function that is looked through.
const CODE_MAX: u64 = 64 * 1024;

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// One of [`function`].
    pub number: u64,
    /// Where it begins in the file.
    pub offset: u64,
    /// Where its probes go.
    pub places: Places,
}

/// The functions of a file that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Library {
    /// By their numbers.
    pub functions: Vec<Function>,
}

/// Why a file's functions cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// It cannot be opened.
    #[error("cannot open it ({0}); run the observer as root")]
    Open(#[from] std::io::Error),
    /// It is no ELF file.
    #[error("not an ELF file: {0}")]
    Format(#[from] object::Error),
}

impl Library {
    /// Reads a file. `None` if it has no function that moves plaintext.
    ///
    /// Errors when it cannot be opened or is no ELF file.
    pub fn read(path: &Path) -> Result<Option<Self>, LibraryError> {
        let cache = ReadCache::new(File::open(path)?);
        let file = object::File::parse(&cache)?;
        let mut functions: Vec<Function> = Vec::new();
        for symbol in file.dynamic_symbols().chain(file.symbols()) {
            let Some(&(name, number)) = symbol.name_bytes().ok().and_then(known) else { continue };
            if symbol.kind() != SymbolKind::Text || !symbol.is_definition() {
                continue;
            }
            if functions.iter().any(|known| known.name == name) {
                continue;
            }
            let Some(offset) = file_offset(&file, symbol.address()) else { continue };
            let size = symbol.size().min(CODE_MAX);
            let places = match (file.architecture(), (&cache).read_bytes_at(offset, size)) {
                (Architecture::X86_64, Ok(code)) if size == symbol.size() => Places::find(code, symbol.address()),
                _ => Places::PLAIN,
            };
            functions.push(Function { name, number, offset, places });
        }
        functions.sort_by_key(|function| function.number);
        let moves = |number| functions.iter().any(|function| function.number == number);
        let is_whole = moves(function::READ) && moves(function::WRITE);
        Ok(is_whole.then_some(Library { functions }))
    }
}

fn known(name: &[u8]) -> Option<&'static (&'static str, u64)> {
    // Most names of most files end here.
    let is_theirs = name.starts_with(b"SSL_");
    is_theirs.then(|| FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name)).flatten()
}

/// Uprobes are named by the place in the file.
fn file_offset<'data>(file: &object::File<'data, &'data ReadCache<File>>, address: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let into = address.checked_sub(segment.address())?;
        let (offset, size) = segment.file_range();
        (into < size).then(|| offset + into)
    })
}
