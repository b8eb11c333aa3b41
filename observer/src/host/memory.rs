//! What the agent takes of the host's memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use observer_ebpf::limits::TABLE_BYTES;

use crate::shards::THREAD_BYTES_MAX;

/// The kernel part's tables and ring take no more: their named limits together, and what the kernel keeps beside them.
pub const TABLE_BYTES_MAX: u64 = TABLE_BYTES as u64 + TABLE_OVERHEAD_BYTES;

/// Pages that are not full, pointers to pages, and some twenty tables' own heads (`bpf_map_memory_usage`): measured 0.25 MiB.
const TABLE_OVERHEAD_BYTES: u64 = 512 << 10;

/// The agent's own memory takes no more with 1,000 services, 2,000 routes and 10,000 open connections.
pub const RESIDENT_BYTES_MAX: u64 = 64 << 20;

/// The same, where connections are followed by so many threads.
pub fn resident_bytes_max(threads: usize) -> u64 {
    RESIDENT_BYTES_MAX + if threads > 1 { threads as u64 * THREAD_BYTES_MAX } else { 0 }
}

const _: () = assert!(TABLE_BYTES_MAX <= 32 << 20);

/// 2^20 bytes, for people.
pub fn mib(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / f64::from(1 << 20))
}

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

/// Bytes of this process that are in memory, besides the ring: the kernel maps that here twice, one mapping behind the
/// other, and `ps` counts it twice.
///
/// # Errors
/// If /proc cannot be read.
pub fn resident_bytes() -> io::Result<u64> {
    Ok(resident(&fs::read_to_string("/proc/self/smaps")?))
}

/// Of proc_pid_smaps(5): each mapping's first line ends with its name, and `Rss:` comes later.
fn resident(smaps: &str) -> u64 {
    let (mut bytes, mut is_table) = (0, false);
    for line in smaps.lines() {
        match line.strip_prefix("Rss:") {
            Some(rss) if !is_table => {
                bytes += rss.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) << 10;
            }
            Some(_) => {}
            None if is_first_line(line) => is_table = line.ends_with("anon_inode:bpf-map"),
            None => {}
        }
    }
    bytes
}

/// `7ff5fffc9000-7ff601fca000 r--s ...`, not `Size: ...`.
fn is_first_line(line: &str) -> bool {
    line.split(' ').next().is_some_and(|range| range.contains('-'))
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
        let ring = "pos:\t0\nmap_type:\t27\nmax_entries:\t8388608\nmemlock:\t8466776\nmap_id:\t7\n";
        let program = "pos:\t0\nprog_type:\t26\nmemlock:\t8192\nprog_id:\t9\n";
        assert_eq!((table(ring), table(program)), (Some((7, 8_466_776)), None));
    }

    #[test]
    fn each_thread_that_follows_connections_takes_its_share() {
        assert_eq!(resident_bytes_max(1), RESIDENT_BYTES_MAX);
        assert_eq!(resident_bytes_max(4), RESIDENT_BYTES_MAX + 4 * THREAD_BYTES_MAX);
    }

    #[test]
    fn the_mapped_ring_is_not_counted() {
        let smaps = "55e0-55e1 r--p 00000000 fe:00 1  /usr/bin/observer\nSize:  8 kB\nRss:    4 kB\nPss:  1 kB\n\
            7ff5fffc9000-7ff601fca000 r--s 00001000 00:0f 9  anon_inode:bpf-map\nSize:  32772 kB\nRss:  32772 kB\n\
            55e2-55e3 rw-p 00000000 00:00 0  [heap]\nRss:   100 kB\n";
        assert_eq!(resident(smaps), 104 << 10);
    }

    #[test]
    fn this_process_has_some_memory_and_no_tables() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert_eq!(table_bytes().unwrap(), 0);
    }
}
