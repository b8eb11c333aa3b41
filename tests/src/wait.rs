//! Waiting with a deadline, being alone on the host, and free ports.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Limit for what a healthy host does within milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(10);

const POLL: Duration = Duration::from_millis(5);

/// Ports below Linux's ephemeral range (32768 on), so that no outgoing connection takes one meanwhile.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// Polls `probe` until it gives a value.
///
/// Errors: the probe's own, or one that names `what` once `limit` has passed.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        ensure!(Instant::now() < deadline, "{what}: did not happen within {limit:?}");
        thread::sleep(POLL);
    }
}

/// Polls until `condition` is true; see [`until`].
pub fn until_true(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || Ok(condition()?.then_some(())))
}

/// Held by a test for as long as it runs; see [`alone`].
#[derive(Debug)]
pub struct Alone {
    _lock: File,
}

/// Waits until no other end-to-end test runs on this host, in this process or another.
pub fn alone() -> Result<Alone> {
    let path = std::env::temp_dir().join("observer-tests.lock");
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    lock.lock().context("lock against other tests")?;
    Ok(Alone { _lock: lock })
}

/// A port that nothing listens on, on either loopback address. No port is given twice by one process.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let start = (std::process::id() % u32::from(span)) as u16;
    for _ in 0..span {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + ((u32::from(start) + u32::from(offset)) % u32::from(span)) as u16;
        let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let v6 = TcpListener::bind((Ipv6Addr::LOCALHOST, port));
        if v4.is_ok() && v6.is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no free port in {PORTS:?} on the loopback addresses")
}
