//! What the kernel tells of a process: CPU time, run delay, memory, BPF maps.

use std::fs;
use std::ops::Sub;
use std::path::Path;

use anyhow::{Context, Result};
use nix::unistd::Pid;

/// Times since a process or thread began, as `/proc/PID/schedstat` has them. Exact once it sleeps; while it runs the
/// kernel brings them up to date each tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// On a CPU, in ns.
    pub cpu_ns: u64,
    /// Ready to run and waiting for a CPU, in ns.
    pub delay_ns: u64,
}

impl Times {
    /// Of a process that has one thread.
    pub fn of_main_thread(pid: Pid) -> Result<Self> {
        Self::read(Path::new(&format!("/proc/{pid}/schedstat")))
    }

    /// Of all threads that a process has now.
    pub fn of_all_threads(pid: Pid) -> Result<Self> {
        let folder = format!("/proc/{pid}/task");
        let mut sum = Self::default();
        for thread in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let times = Self::read(&thread?.path().join("schedstat"))?;
            sum.cpu_ns += times.cpu_ns;
            sum.delay_ns += times.delay_ns;
        }
        Ok(sum)
    }

    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not two times and a count: {text:?}", path.display()))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace().map(|word| word.parse().ok());
        let (cpu_ns, delay_ns) = (words.next()??, words.next()??);
        words.next()??;
        Some(Self { cpu_ns, delay_ns })
    }
}

impl Sub for Times {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns.saturating_sub(earlier.cpu_ns),
            delay_ns: self.delay_ns.saturating_sub(earlier.delay_ns),
        }
    }
}

/// Resident memory of a process in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resident {
    /// Now.
    pub now_mib: f64,
    /// At its greatest.
    pub peak_mib: f64,
    /// Now, without pages of files and the mapped ring.
    pub anonymous_mib: f64,
}

impl Resident {
    /// Of a running process.
    pub fn of(pid: Pid) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        Self::parse(&text).with_context(|| format!("{path} has no VmRSS, VmHWM and RssAnon"))
    }

    fn parse(status: &str) -> Option<Self> {
        let mib = |name| Some(field(status, name)?.strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0);
        Some(Self { now_mib: mib("VmRSS")?, peak_mib: mib("VmHWM")?, anonymous_mib: mib("RssAnon")? })
    }
}

/// The kernel memory of all BPF maps that a process holds open, rings included, in MiB.
pub fn bpf_maps_mib(pid: Pid) -> Result<f64> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut maps = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        maps.extend(map_memory(&text));
    }
    maps.sort_unstable();
    maps.dedup();
    Ok(maps.iter().map(|(_, bytes)| *bytes as f64).sum::<f64>() / f64::from(1 << 20))
}

/// Id and bytes of the map whose `/proc/PID/fdinfo` text this is.
fn map_memory(fdinfo: &str) -> Option<(u64, u64)> {
    let number = |name| field(fdinfo, name)?.parse().ok();
    Some((number("map_id")?, number("memlock")?))
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// The host's load averages and running tasks, as `/proc/loadavg` has them.
pub fn load_average() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_has_cpu_time_then_run_delay() {
        assert_eq!(Times::parse("184581896 84560102 198\n"), Some(Times { cpu_ns: 184_581_896, delay_ns: 84_560_102 }));
        assert_eq!(Times::parse("184581896 84560102\n"), None);
        assert_eq!(Times::parse("1 -2 3\n"), None);
        assert_eq!(Times::parse(""), None);
    }

    #[test]
    fn own_times_grow_with_work() {
        let before = Times::of_all_threads(Pid::this()).unwrap();
        let start = std::time::Instant::now();
        while start.elapsed().as_millis() < 50 {
            std::hint::spin_loop();
        }
        let after = Times::of_all_threads(Pid::this()).unwrap();
        assert!((after - before).cpu_ns > 1_000_000, "{before:?} {after:?}");
    }

    #[test]
    fn memory_is_told_in_kib() {
        let status = "Name:\tobserver\nVmHWM:\t   59880 kB\nVmRSS:\t   2048 kB\nRssAnon:\t    512 kB\n";
        assert_eq!(Resident::parse(status), Some(Resident { now_mib: 2.0, peak_mib: 58.4765625, anonymous_mib: 0.5 }));
        assert_eq!(Resident::parse("VmRSS:\t2048 kB\n"), None);
    }

    #[test]
    fn only_maps_count_as_maps() {
        let map = "pos:\t0\nmap_type:\t27\nmax_entries:\t16777216\nmemlock:\t16855368\nmap_id:\t1421\n";
        assert_eq!(map_memory(map), Some((1421, 16_855_368)));
        assert_eq!(map_memory("prog_type:\t26\nmemlock:\t4096\nprog_id:\t7\n"), None);
    }
}
