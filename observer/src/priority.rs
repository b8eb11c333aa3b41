//! The pipeline's place among the host's threads.

use rustix::process::{getpriority_process, setpriority_process};

/// A thread that waits its turn behind others loses records: the ring holds well under a second of a gateway at full
/// speed. With this one it gets a processor soon after it wants one (sched(7)), which is for some of each 20 ms.
const NICE: i32 = -10;

/// The priority that a thread had before.
#[derive(Debug)]
#[must_use = "threads that are started later begin with the raised priority"]
pub struct Usual(i32);

/// Puts the calling thread, and those that it starts, before the host's usual ones. Without the right to
/// (`CAP_SYS_NICE`) it stays where it is.
pub fn raise() -> Usual {
    // On Linux "the calling process" is the calling thread (setpriority(2), C library/kernel differences).
    let usual = getpriority_process(None).unwrap_or(0);
    if usual > NICE
        && let Err(error) = setpriority_process(None, NICE)
    {
        log::debug!("the pipeline's thread stays at its usual priority: {error}");
    }
    Usual(usual)
}

impl Usual {
    /// Puts the calling thread back; needs no right.
    pub fn restore(self) {
        if let Err(error) = setpriority_process(None, self.0) {
            log::warn!("the serving threads go before the host's usual ones: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_started_between_goes_first_and_the_others_stay() {
        let now = || getpriority_process(None).unwrap();
        let before = now();
        let (between, behind) = std::thread::spawn(move || {
            let usual = raise();
            let between = std::thread::spawn(now).join().unwrap();
            usual.restore();
            (between, now())
        })
        .join()
        .unwrap();
        // Without the right to it nothing changes.
        assert!(between == NICE || between == before, "{between}");
        assert_eq!((behind, now()), (before, before));
    }
}
