//! What is under way, told to whoever waits: on a terminal a line that is written over, else now and then a log line.

use std::io::{IsTerminal, Write, stderr};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Nothing is told of what is done within this.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the terminal's line is written anew, ...
const TERMINAL_PERIOD: Duration = Duration::from_millis(500);

/// ... and how often a log line tells that it goes on.
const LOG_PERIOD: Duration = Duration::from_secs(30);

/// Tells until it is dropped. Its thread has the privileges of the one that starts it.
#[derive(Debug)]
pub struct Progress {
    done: Option<Sender<()>>,
    telling: Option<JoinHandle<()>>,
}

impl Progress {
    /// From the second on; `state` says what is under way and how far it is.
    pub fn start(state: impl Fn() -> String + Send + 'static) -> Progress {
        let (done, is_done) = channel();
        Progress { done: Some(done), telling: Some(thread::spawn(move || tell(&is_done, &state))) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        // A panic in there has been printed.
        let _ = self.telling.take().map(JoinHandle::join);
    }
}

/// Does `work`, and tells of it if it takes long.
pub fn during<T>(what: &'static str, work: impl FnOnce() -> T) -> T {
    let _progress = Progress::start(move || what.to_owned());
    work()
}

fn tell(is_done: &Receiver<()>, state: &impl Fn() -> String) {
    let (started, is_terminal) = (Instant::now(), stderr().is_terminal());
    let mut pause = PATIENCE;
    let mut has_told = false;
    while is_done.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let line = line(&state(), started.elapsed());
        if is_terminal {
            // Back to the line's beginning, and over what stood there.
            let _ = write!(stderr(), "\r\x1b[K{line}");
            let _ = stderr().flush();
        } else {
            log::info!("{line}");
        }
        has_told = true;
        pause = if is_terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
    }
    if has_told && is_terminal {
        let _ = write!(stderr(), "\r\x1b[K");
    }
}

fn line(state: &str, elapsed: Duration) -> String {
    format!("{state} ({} s)", elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn what_is_done_at_once_is_not_told() {
        let asked = Arc::new(AtomicUsize::new(0));
        let progress = Progress::start({
            let asked = Arc::clone(&asked);
            move || {
                asked.fetch_add(1, Ordering::Relaxed);
                "waiting".to_owned()
            }
        });
        drop(progress);
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        assert_eq!(during("adding", || 1 + 1), 2);
    }

    #[test]
    fn what_takes_long_is_told_with_its_state() {
        let (told, is_told) = channel();
        let progress = Progress::start(move || {
            let _ = told.send(());
            "half of it".to_owned()
        });
        is_told.recv_timeout(Duration::from_secs(20)).unwrap();
        drop(progress);
        assert_eq!(line("half of it", Duration::from_millis(1_200)), "half of it (1 s)");
    }
}
