//! A damaged recording: records of any content in any order, through the masker and the pipeline.

use observer::event::Event;
use observer::pipeline::Following;
use observer::recording::Masker;

use crate::told::{self, Told};

/// Takes records, each behind its length in two bytes (little-endian), as far as they decode.
pub fn run(mut data: &[u8]) {
    let mut pipeline = told::pipeline();
    let mut masker = Masker::new([]);
    while let Some((length, rest)) = data.split_first_chunk() {
        let (record, rest) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
        data = rest;
        let Ok(event) = Event::decode(record) else { continue };
        pipeline.handle(&event);
        let masked = masker.mask(&event);
        if let (Event::Data(event), Event::Data(masked)) = (&event, &masked) {
            assert_eq!((event.sample.len(), event.tail.len()), (masked.sample.len(), masked.tail.len()));
        }
    }
    Told::by(&mut pipeline).holds();
}
