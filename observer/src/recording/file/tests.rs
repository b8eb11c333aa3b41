use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

use super::*;
use crate::event::{Call, Data, Direction, Layer, Lost};

fn header() -> Header {
    Header { is_masked: true, realtime_offset_ns: 1_700_000_000_000_000_000, kernel_release: "6.18.0-test".into() }
}

fn events() -> Vec<Event<'static>> {
    let data = Data {
        time_ns: 2,
        socket: 3,
        sequence: 4,
        process: 5,
        thread: 5,
        direction: Direction::Received,
        call: Call::Buffer,
        layer: Layer::Socket,
        offset: 0,
        result: 18,
        unseen_bytes: 0,
        sample: b"GET / HTTP/1.1\r\n\r\n",
        tail: b"",
    };
    let lost = Lost { time_ns: 3, reason: "ring_full".into(), count: 1 };
    vec![Event::Ready(1), Event::Data(data), Event::Lost(lost), Event::Tick(4)]
}

fn recording(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("events");
    let mut writer = Writer::create(&path, &header()).unwrap();
    for event in events() {
        writer.write(&event).unwrap();
    }
    writer.finish().unwrap();
    path
}

/// How many events can be read, and the error behind them, if there is one.
fn read(path: &Path) -> (usize, Option<RecordingError>) {
    let mut reader = match Reader::open(path) {
        Ok(reader) => reader,
        Err(error) => return (0, Some(error)),
    };
    for read in 0.. {
        match reader.read() {
            Ok(Some(event)) => assert_eq!(event, events()[read], "event {read}"),
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(error)),
        }
    }
    unreachable!("a file ends")
}

/// What reading says of a recording with other bytes.
fn complaint(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder);
    let mut bytes = fs::read(&path).unwrap();
    change(&mut bytes);
    fs::write(&path, &bytes).unwrap();
    let said = read(&path).1.expect("an error").to_string();
    assert!(said.starts_with(&format!("{}: ", path.display())), "{said}");
    said
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = recording(&folder);
    assert_eq!(Reader::open(&path).unwrap().header(), &header());
    let (read, error) = read(&path);
    assert!(error.is_none(), "{error:?}");
    assert_eq!(read, events().len());
}

#[test]
fn the_end_can_be_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut reader = Reader::open(&recording(&folder)).unwrap();
    while reader.read().unwrap().is_some() {}
    assert_eq!(reader.read().unwrap(), None);
}

#[test]
fn only_its_owner_can_read_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let mode = fs::metadata(recording(&folder)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
}

#[test]
fn a_file_that_exists_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    fs::write(&path, "precious").unwrap();
    let error = Writer::create(&path, &header()).unwrap_err();
    assert!(error.to_string().ends_with("exists already; remove it or choose another name"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_link_to_nowhere_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (link, target) = (folder.path().join("link"), folder.path().join("target"));
    std::os::unix::fs::symlink(&target, &link).unwrap();
    assert!(matches!(Writer::create(&link, &header()), Err(RecordingError::Exists { .. })));
    assert!(!target.exists());
}

#[test]
fn cut_anywhere_it_gives_what_came_before_and_says_where_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(recording(&folder)).unwrap();
    let path = folder.path().join("cut");
    let mut most = 0;
    for length in 0..bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let (read, error) = read(&path);
        assert!(read >= most, "cut at {length}");
        most = read;
        match error {
            Some(RecordingError::Cut { offset, .. }) => assert_eq!(offset, length as u64),
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    assert_eq!(most, events().len(), "only the end is missing at last");
}

#[test]
fn garbage_is_an_error_that_names_its_place() {
    let start = size_of::<RawHeader>();
    let at_start = format!("byte {start}");
    assert!(complaint(|bytes| bytes[0] = b'x').contains("is no recording (byte 0)"));
    assert!(complaint(|bytes| bytes[8] = 77).contains("is no recording (byte 8)"));
    assert!(complaint(|bytes| bytes[8..12].reverse()).contains("the other byte order (byte 8)"));
    assert!(complaint(|bytes| bytes[6..8].copy_from_slice(&9u16.to_ne_bytes())).contains("of version 9 (byte 6)"));
    let unknown = complaint(|bytes| bytes[start + 4] = 200);
    assert!(unknown.contains(&at_start) && unknown.contains("kind 200"), "{unknown}");
    let behind = complaint(|bytes| bytes.push(0));
    assert!(behind.contains("bytes follow its end"), "{behind}");
}

#[test]
fn a_length_that_no_event_has_is_refused_unread() {
    let start = size_of::<RawHeader>();
    for length in [RECORD_BYTES_MAX as u32 + 1, u32::MAX] {
        let said = complaint(|bytes| bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()));
        assert!(said.contains(&format!("byte {start}: an event has {length} bytes")), "{said}");
    }
}

#[test]
fn a_byte_changed_anywhere_causes_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs::read(recording(&folder)).unwrap();
    let path = folder.path().join("changed");
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x5a;
        fs::write(&path, &bytes).unwrap();
        let Ok(mut reader) = Reader::open(&path) else { continue };
        while let Ok(Some(_)) = reader.read() {}
    }
}

#[test]
fn the_largest_event_fits_and_a_larger_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events");
    let mut writer = Writer::create(&path, &header()).unwrap();
    let Event::Data(data) = events()[1].clone() else { unreachable!() };
    let largest = vec![b'x'; RECORD_BYTES_MAX - size_of::<record::Data>()];
    writer.write(&Event::Data(Data { sample: &largest, ..data })).unwrap();
    let larger = vec![b'x'; largest.len() + 1];
    let error = writer.write(&Event::Data(Data { sample: &larger, ..data })).unwrap_err();
    assert!(matches!(error, RecordingError::EventTooLong { .. }), "{error}");
    writer.finish().unwrap();
    let mut reader = Reader::open(&path).unwrap();
    assert!(matches!(reader.read(), Ok(Some(Event::Data(data))) if data.sample == largest));
    assert!(matches!(reader.read(), Ok(None)));
}
