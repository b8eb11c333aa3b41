//! What the agent takes of the host's memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use observer_ebpf::limits::TABLE_BYTES;
use procfs::process::Process;

/// The kernel part's tables and ring take no more.
pub const TABLE_BYTES_MAX: u64 = 32 << 20;

/// The agent's own memory takes no more with 1,000 services, 2,000 routes and 10,000 open connections.
pub const RESIDENT_BYTES_MAX: u64 = 64 << 20;

const _: () = assert!(TABLE_BYTES as u64 <= TABLE_BYTES_MAX);

/// Bytes of the kernel tables that this process has open, the ring included, as the kernel charges them.
///
/// # Errors
/// If /proc cannot be read.
pub fn table_bytes() -> io::Result<u64> {
    // One table may be open several times.
    let mut tables = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        // The one that lists the folder is closed by the time it is read.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        tables.extend(table(&text));
    }
    Ok(tables.into_values().sum())
}

/// Bytes of this process that are in memory; `None` where /proc does not tell.
pub fn resident_bytes() -> Option<u64> {
    let stat = Process::myself().ok()?.stat().ok()?;
    Some(stat.rss * procfs::page_size())
}

/// Id and bytes out of a descriptor's lines in fdinfo (`bpf_map_show_fdinfo`); `None` for one that is no table.
fn table(fdinfo: &str) -> Option<(u64, u64)> {
    let value = |key: &str| fdinfo.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    Some((value("map_id:")?, value("memlock:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_told_from_other_descriptors() {
        let ring = "pos:\t0\nmap_type:\t27\nmax_entries:\t16777216\nmemlock:\t16855384\nmap_id:\t7\n";
        let program = "pos:\t0\nprog_type:\t26\nmemlock:\t8192\nprog_id:\t9\n";
        assert_eq!((table(ring), table(program)), (Some((7, 16_855_384)), None));
    }

    #[test]
    fn this_process_has_some_memory_and_no_tables() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert_eq!(table_bytes().unwrap(), 0);
    }
}
