//! A TLS library's functions, read from its ELF file.

use std::env;
use std::fs::File;
use std::path::Path;

use object::read::{ReadCache, ReadRef};
use object::{Architecture, Object, ObjectSegment, ObjectSymbol, SymbolKind};
use observer_ebpf::tables::function;

use super::inner::RecordLayer;
use super::methods;
use super::place::Places;

/// Functions of a TLS library that are probed, and the numbers that their probes bear.
const FUNCTIONS: [(&str, u64); 13] = [
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
    ("SSL_free", function::FREE),
];

/// For tests of what is done where the record layer is built otherwise: it is not looked for.
const FUNCTIONS_VARIABLE: &str = "OBSERVER_TEST_TLS_FUNCTIONS";

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
    /// Where plaintext is read at less cost, as far as that was found: then those functions are not probed that do nothing
    /// but move it.
    pub record_layer: RecordLayer,
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
        let moves = |number| functions.iter().any(|function| function.number == number);
        if !moves(function::READ) || !moves(function::WRITE) {
            return Ok(None);
        }
        let is_known = file.architecture() == Architecture::X86_64 && env::var_os(FUNCTIONS_VARIABLE).is_none();
        let record_layer = if is_known { methods::record_layer(&file, &cache) } else { RecordLayer::default() };
        functions.retain_mut(|function| is_needed_beside(&record_layer, function));
        functions.sort_by_key(|function| function.number);
        Ok(Some(Library { functions, record_layer }))
    }
}

/// Handshakes, what is no bytes, and files that the kernel encrypts always are.
fn is_needed_beside(layer: &RecordLayer, function: &mut Function) -> bool {
    match function.number {
        function::READ | function::READ_EX | function::PEEK => layer.received.is_none(),
        function::WRITE | function::WRITE_EX | function::WRITE_EARLY => layer.sent.is_none(),
        function::READ_EARLY if layer.received.is_some() => {
            function.number = function::EARLY_HANDSHAKE;
            true
        }
        _ => true,
    }
}

fn known(name: &[u8]) -> Option<&'static (&'static str, u64)> {
    // Most names of most files end here.
    let is_theirs = name.starts_with(b"SSL_");
    is_theirs.then(|| FUNCTIONS.iter().find(|(known, _)| known.as_bytes() == name)).flatten()
}

/// Uprobes are named by the place in the file.
pub(super) fn file_offset<'data>(file: &object::File<'data, &'data ReadCache<File>>, address: u64) -> Option<u64> {
    file.segments().find_map(|segment| {
        let into = address.checked_sub(segment.address())?;
        let (offset, size) = segment.file_range();
        (into < size).then(|| offset + into)
    })
}
