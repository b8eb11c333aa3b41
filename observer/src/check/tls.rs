//! Rows about the TLS libraries of the gateways that run now.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use observer_ebpf::tables::function;

use super::Row;
use crate::host::processes::find_gateways;
use crate::host::selector::Selection;
use crate::tls::inner::{Inner, RecordLayer};
use crate::tls::place::{Entry, Exit};
use crate::tls::{FileId, Function, Library, LibraryError, mapped_files};

/// A row for each function of each TLS library that a gateway has mapped: where its probes go.
pub(super) fn rows() -> Vec<Row> {
    let gateways = find_gateways(&Selection::default()).unwrap_or_default();
    let mut files: BTreeMap<FileId, (PathBuf, PathBuf)> = BTreeMap::new();
    for process in gateways.into_iter().flat_map(|gateway| gateway.processes) {
        for mapped in mapped_files(process) {
            files.entry(mapped.id).or_insert((mapped.shown, mapped.link));
        }
    }
    if files.is_empty() {
        return vec![Row::ok("TLS", "no gateway runs, or none that may be looked at")];
    }
    let rows: Vec<Row> = files.values().flat_map(|(shown, link)| of_file(shown, Library::read(link))).collect();
    if rows.is_empty() { vec![Row::ok("TLS", "no gateway has a TLS library mapped")] } else { rows }
}

fn of_file(shown: &Path, library: Result<Option<Library>, LibraryError>) -> Vec<Row> {
    match library {
        Ok(None) | Err(LibraryError::Format(_)) => Vec::new(),
        Ok(Some(library)) => {
            let functions = library.functions.iter().map(|function| of_function(shown, function));
            functions.chain(of_record_layer(shown, &library.record_layer)).collect()
        }
        Err(error @ LibraryError::Open(_)) => {
            let mend = "run it as root: whether this is a TLS library is not known";
            vec![Row::warn("TLS", format!("{}: {error}", shown.display()), mend)]
        }
    }
}

fn of_function(shown: &Path, function: &Function) -> Row {
    let Function { name, offset, places, .. } = function;
    let found = format!("{places}; at {offset:#x} of {}", shown.display());
    let is_plain = places.entry == Entry::First || places.exit == Exit::Return;
    if is_plain && is_called_often(function.number) {
        let mend = match env::consts::ARCH {
            "x86_64" => {
                "nothing to be done: each call costs the gateway some 12 µs, as the compiler left no better place"
            }
            _ => "nothing to be done: better places are looked for on x86_64 only",
        };
        return Row::warn(*name, found, mend);
    }
    Row::ok(*name, found)
}

/// Those have no names in the file: OpenSSL's source calls them so.
fn of_record_layer(shown: &Path, layer: &RecordLayer) -> Vec<Row> {
    let found = [("ssl3_read_bytes", &layer.received), ("ssl3_write_bytes", &layer.sent)];
    let row = |(name, inner): (&str, &Option<Inner>)| {
        let inner = inner.as_ref()?;
        Some(Row::ok(name, format!("bytes moved {inner}; at {:#x} of {}", inner.offset, shown.display())))
    };
    found.into_iter().filter_map(row).collect()
}

/// The functions that nginx calls for each request.
fn is_called_often(number: u64) -> bool {
    matches!(number, function::READ | function::WRITE)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use observer_ebpf::tables::place;

    use crate::tls::inner::{Place, RECEIVED_NAMES, SENT_NAMES};
    use crate::tls::place::Places;

    fn row(number: u64, places: Places) -> Row {
        of_function("/lib/libssl.so.3".as_ref(), &Function { name: "SSL_read", number, offset: 0x35430, places })
    }

    #[test]
    fn a_row_says_where_the_probes_go() {
        let places = Places { entry: Entry::Emulated(0x16), exit: Exit::Emulated([0x38].into()) };
        let row = row(function::READ, places);
        assert_eq!(row.verdict, Verdict::Ok);
        let found = "entry +0x16 (emulated), result +0x38 (emulated); at 0x35430 of /lib/libssl.so.3";
        assert_eq!(row.found, found);
    }

    #[test]
    fn plain_probes_are_a_warning_where_they_are_hit_for_each_request() {
        assert_eq!(row(function::READ, Places::PLAIN).verdict, Verdict::Warn);
        assert_eq!(row(function::HANDSHAKE, Places::PLAIN).verdict, Verdict::Ok);
    }

    #[test]
    fn the_record_layers_functions_have_a_row_each() {
        let inner = |offset, locations, names| {
            let places = vec![Place { offset: 2, cookie: place::cookie(locations) }];
            Some(Inner { offset, places, names })
        };
        let [r13, above] = [place::register(2), place::stack(4).unwrap()];
        let layer = RecordLayer {
            received: inner(1, [r13, above, above, place::UNKNOWN], RECEIVED_NAMES),
            sent: inner(3, [above, r13, place::UNKNOWN, place::UNKNOWN], SENT_NAMES),
        };
        let rows = of_record_layer("/lib/libssl.so.3".as_ref(), &layer);
        let [received, sent] = &rows[..] else { panic!("{rows:?}") };
        let found =
            "bytes moved +0x2 (ssl in r13, type at sp+0x4, peek at sp+0x4) (emulated); at 0x1 of /lib/libssl.so.3";
        assert_eq!(received.found, found);
        assert!(sent.found.contains("(buffer at sp+0x4, length in r13, type unknown, ssl unknown)"), "{}", sent.found);
    }

    #[test]
    fn a_file_that_is_no_library_has_no_rows() {
        assert_eq!(of_file("/bin/true".as_ref(), Ok(None)), []);
    }
}
