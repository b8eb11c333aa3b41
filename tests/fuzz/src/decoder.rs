//! One record: decoding never panics, and what it gives survives encoding.

use observer::event::Event;

/// Longer ones differ only in their sample.
const CUT_BYTES_MAX: usize = 300;

/// Takes a record.
pub fn run(record: &[u8]) {
    for cut in 0..record.len().min(CUT_BYTES_MAX) {
        // An error or a shorter name, never a panic.
        let _ = Event::decode(&record[..cut]);
    }
    let Ok(event) = Event::decode(record) else { return };
    let mut bytes = Vec::new();
    event.encode(&mut bytes);
    assert_eq!(Event::decode(&bytes).as_ref(), Ok(&event), "an event survives encoding");
}
