//! Inputs to start from: heads written by hand, and the recordings of real traffic.

use std::fs;
use std::path::{Path, PathBuf};

use observer::event::Event;
use observer::recording::Reader;

/// Bytes of records in one input of [`records`].
const SEED_BYTES: usize = 8 * 1024;

/// One record of each kind and length.
pub fn decoder() -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = recordings().flatten().collect();
    seeds.sort_by_key(|record| (record[0], record.len()));
    seeds.dedup_by_key(|record| (record[0], record.len()));
    seeds
}

/// Records as they came, in parts.
pub fn records() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for recording in recordings() {
        let mut seed = Vec::new();
        for record in recording {
            seed.extend_from_slice(&(record.len() as u16).to_le_bytes());
            seed.extend_from_slice(&record);
            if seed.len() > SEED_BYTES {
                seeds.push(std::mem::take(&mut seed));
            }
        }
        seeds.push(seed);
    }
    seeds
}

/// Messages by hand, and what recorded calls moved.
pub fn http1() -> Vec<Vec<u8>> {
    let of = |(side, text): (u8, &[u8])| [&[side, 6, 128, 20], text].concat();
    let by_hand = MESSAGES.iter().map(|&(side, text)| of((side, text)));
    let mut heads: Vec<Vec<u8>> = Vec::new();
    for record in recordings().flatten() {
        if let Ok(Event::Data(data)) = Event::decode(&record)
            && data.sample.first().is_some_and(u8::is_ascii_uppercase)
        {
            heads.push(of((u8::from(data.sample.starts_with(b"HTTP/")), data.sample)));
        }
    }
    heads.sort_by_key(|head| (head[0], head.len()));
    heads.dedup_by_key(|head| (head[0], head.len()));
    by_hand.chain(heads).collect()
}

const MESSAGES: [(u8, &[u8]); 14] = [
    (0, b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nX-Request-ID: q\r\nConnection: close, upgrade\r\n\r\n"),
    (0, b"POST /a HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n12345HEAD / HTTP/1.0\n\n"),
    (0, b"PUT /a HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4;ext=1\r\nwxyz\r\n0A\r\n0123456789\r\n0\r\nT: t\r\n\r\n"),
    (0, b"\r\n\r\nGET http://a.test:81/x?y HTTP/1.1\r\nHost : b\r\n folded\r\n\r\n"),
    (0, b"GET /a\r\nHost: b\r\n\r\n"),
    (0, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nno colon\r\nbad name: y\r\n\r\n"),
    (0, b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
    (1, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"),
    (1, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    (1, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1000\r\nabcdefgh\r\n0\r\n\r\n"),
    (1, b"HTTP/1.1 200\r\nX: y\r\n\r\nto the end"),
    (3, b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    (5, b"HTTP/1.1 200 Connected\r\n\r\nany bytes"),
    (1, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: w\r\n\r\nany bytes"),
];

/// Scripts by hand.
pub fn pipeline() -> Vec<Vec<u8>> {
    let (asks, answers) = (|slot, piece| vec![0, slot, 0, piece], |slot, piece| vec![4, slot, 0, piece]);
    let (opens, connects) = (|slot| vec![13, slot, 0], |slot, upstream: u8| vec![13, slot, upstream << 1]);
    let (waits, peer_ends, closes) = (vec![12, 0, 16], |slot| vec![9, slot, 0], |slot| vec![10, slot, 0]);
    let scripts = [
        vec![opens(0), asks(0, 0), waits.clone(), connects(1, 0), asks(1, 0), answers(1, 0), answers(0, 0)],
        vec![opens(0), asks(0, 2), asks(0, 5), connects(1, 1), asks(1, 2), asks(1, 5), answers(1, 1), answers(1, 5)],
        vec![opens(0), asks(0, 3), asks(0, 6), asks(0, 7), answers(0, 2), answers(0, 6), answers(0, 7), closes(0)],
        vec![opens(0), asks(0, 0), asks(0, 1), asks(0, 8), answers(0, 0), answers(0, 9), answers(0, 4), closes(0)],
        vec![opens(0), asks(0, 10), answers(0, 10), asks(0, 19), answers(0, 0), peer_ends(0), closes(0)],
        vec![opens(0), asks(0, 11), answers(0, 12), asks(0, 5), answers(0, 5), peer_ends(0), closes(0)],
        vec![opens(0), asks(0, 9), answers(0, 3), closes(0), opens(0), asks(0, 0), peer_ends(0), closes(0)],
        vec![opens(0), asks(0, 15), waits.clone(), closes(0), opens(0), asks(0, 2), waits, peer_ends(0), closes(0)],
        vec![asks(6, 4), asks(7, 4), answers(7, 0), answers(6, 0), vec![8, 6, 0], vec![8, 7, 0]],
        vec![opens(0), vec![0, 0, 0xc0, 0], answers(0, 0), asks(0, 1), vec![4, 0, 0xd0, 30, 1], answers(0, 5)],
        vec![vec![13, 0, 0xc8], asks(0, 2), asks(0, 5), answers(0, 0), asks(0, 0), answers(0, 0), vec![14, 0, 0]],
        vec![opens(0), asks(0, 22), answers(0, 21), closes(0), opens(0), asks(0, 23), answers(0, 14), closes(0)],
    ];
    scripts.iter().map(|steps| [&[2], &steps.concat()[..]].concat()).collect()
}

fn recordings() -> impl Iterator<Item = Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../observer/tests/recordings");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().filter_map(|file| Some(file.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rec"));
    files.sort();
    files.into_iter().map(|file| records_of(&file))
}

/// A recording's records, each as bytes.
fn records_of(file: &Path) -> Vec<Vec<u8>> {
    let mut recording = Reader::open(file).expect("the recordings are sound");
    let mut records = Vec::new();
    while let Some(event) = recording.read().expect("the recordings are sound") {
        let mut record = Vec::new();
        event.encode(&mut record);
        records.push(record);
    }
    records
}
