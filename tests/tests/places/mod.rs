//! The places of probes in OpenSSL, as `observer check` tells them.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result, ensure};

/// Debian's.
pub const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// A function's places as `observer check` tells them, as addresses in the process.
#[derive(Debug)]
pub struct Function {
    /// It receives.
    pub is_read: bool,
    /// Its first instruction.
    pub first: u64,
    /// Where its arguments are read.
    pub entry: u64,
    /// Where its result is read.
    pub exits: Vec<u64>,
    /// In the record layer.
    pub moved: Vec<Moved>,
}

/// A place in the record layer, and where that has what is read there.
#[derive(Debug)]
pub struct Moved {
    /// Where it is.
    pub address: u64,
    /// By the names of what is read.
    pub locations: HashMap<String, String>,
}

/// All places of the library in its file.
pub fn all(checked: &str) -> Result<Vec<u64>> {
    let mut places = Vec::new();
    for row in checked.lines().filter(|row| row.ends_with(LIBRARY) && row.contains("; at 0x")) {
        let first = offset(row)?;
        places.extend(offsets(row).map(|offset| first + offset));
    }
    Ok(places)
}

/// Reads `SSL_read  entry +0x16 (emulated), result +0x38 (emulated); at 0x35430 of /usr/lib/…`.
pub fn function(plain: &str, record_layer: &str, names: (&str, &str), worker: u32) -> Result<Function> {
    let row = row(plain, names.0)?;
    ensure!(row.matches("(emulated)").count() == 2, "no cheap place: {row}");
    let offsets: Vec<u64> = offsets(row).collect();
    let first = first(row, worker)?;
    let (entry, exits) = offsets.split_first().context("places")?;
    Ok(Function {
        is_read: names.0 == "SSL_read",
        first,
        entry: first + entry,
        exits: exits.iter().map(|exit| first + exit).collect(),
        moved: moved(self::row(record_layer, names.1)?, worker)?,
    })
}

/// Reads `ssl3_read_bytes  bytes moved +0x842 (ssl at sp+0x28, type in rbp) +0x901 (…) (emulated); at 0x54760 of /usr/lib/…`.
fn moved(row: &str, worker: u32) -> Result<Vec<Moved>> {
    let first = first(row, worker)?;
    let places = row.split(" +0x").skip(1).map(|place| {
        let (offset, rest) = place.split_once(" (").context("an offset")?;
        let (list, _) = rest.split_once(')').context("locations")?;
        let locations = list.split(", ").filter_map(|part| {
            let (name, location) = part.split_once(' ')?;
            Some((name.to_owned(), location.trim_start_matches("at ").trim_start_matches("in ").to_owned()))
        });
        Ok(Moved { address: first + u64::from_str_radix(offset, 16)?, locations: locations.collect() })
    });
    places.collect()
}

fn row<'a>(checked: &'a str, name: &str) -> Result<&'a str> {
    let mut lines = checked.lines();
    lines
        .find(|line| line.split_whitespace().nth(1) == Some(name) && line.contains(LIBRARY))
        .with_context(|| format!("no row for {name}:\n{checked}"))
}

/// The function's first instruction.
fn first(row: &str, worker: u32) -> Result<u64> {
    address(worker, offset(row)?)
}

/// Where the function begins in the file.
fn offset(row: &str) -> Result<u64> {
    let offset = row.split("; at 0x").nth(1).and_then(|rest| rest.split(' ').next()).context("an offset")?;
    Ok(u64::from_str_radix(offset, 16)?)
}

/// From there on.
fn offsets(row: &str) -> impl Iterator<Item = u64> {
    row.split_whitespace().filter_map(|word| u64::from_str_radix(word.strip_prefix("+0x")?, 16).ok())
}

/// Where the process has mapped a place of the library.
pub fn address(worker: u32, offset: u64) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{worker}/maps"))?;
    let number = |text: &str| u64::from_str_radix(text, 16);
    for line in maps.lines().filter(|line| line.ends_with(LIBRARY)) {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().context("a range")?, fields.next().context("an access")?);
        let (from, to) = range.split_once('-').context("a range")?;
        let (from, to, begins) = (number(from)?, number(to)?, number(fields.next().context("an offset")?)?);
        if access.contains('x') && (begins..begins + (to - from)).contains(&offset) {
            return Ok(from + (offset - begins));
        }
    }
    anyhow::bail!("the worker has not mapped {LIBRARY}")
}
