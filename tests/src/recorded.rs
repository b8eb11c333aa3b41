//! What a recording shows of one connection.

use std::path::Path;

use anyhow::{Result, ensure};
use observer::event::{Cookie, Data, Event};
use observer::recording::Reader;

/// How the one line of an answer begins that tells the time.
const DATE: &str = "Date: ";

/// The calls on the connection whose first bytes are these, as text, without times and identities.
pub fn calls(file: &Path, first_bytes: &str) -> Result<Vec<String>> {
    let mut reader = Reader::open(file)?;
    let mut ours: Option<Cookie> = None;
    let mut calls = Vec::new();
    while let Some(event) = reader.read()? {
        match event {
            Event::Data(data) => {
                if data.offset == 0 && data.sample.starts_with(first_bytes.as_bytes()) {
                    ours = Some(data.socket);
                }
                if ours == Some(data.socket) {
                    calls.push(call(&data));
                }
            }
            Event::State(change) if ours == Some(change.socket) => {
                calls.push(format!("{:?} to {:?}, error {}", change.old, change.new, change.error));
            }
            _ => {}
        }
    }
    ensure!(!calls.is_empty(), "the recording lacks {first_bytes:?}");
    Ok(calls)
}

fn call(data: &Data<'_>) -> String {
    let sample = String::from_utf8_lossy(data.sample);
    // The time of day is no difference.
    let sample: Vec<&str> = sample.split("\r\n").filter(|line| !line.starts_with(DATE)).collect();
    let tail = String::from_utf8_lossy(data.tail);
    let Data { direction, call, offset, result, .. } = data;
    format!("{direction:?} {call:?} at {offset}: {result}, {sample:?} {tail:?}")
}
