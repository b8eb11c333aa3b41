//! What is made of files and made anew when they change: certificates, users.

use std::fmt::Display;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The files are looked at no more often than this.
const PERIOD: Duration = Duration::from_millis(500);

/// A value and the files that it was made of. A change that cannot be read is told in the log, and the value stays.
pub struct Watched<T> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, Box<dyn std::error::Error + Send + Sync>> + Send + Sync>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: T,
    stamps: Vec<Option<Stamp>>,
    next_look: Instant,
}

/// Device, inode, size, and time of the last change of contents or attributes in s and ns.
type Stamp = (u64, u64, u64, i64, i64);

impl<T: Clone> Watched<T> {
    /// Makes the value for the first time.
    pub fn new<E>(files: Vec<PathBuf>, load: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Result<Self, E>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        // Before the files are read: a change in between then shows at the next look.
        let stamps = stamps(&files);
        let value = load()?;
        let state = State { value, stamps, next_look: Instant::now() + PERIOD };
        Ok(Watched { files, load: Box::new(move || load().map_err(Into::into)), state: Mutex::new(state) })
    }

    /// The value that the files give now, or gave when they could last be read.
    pub fn current(&self) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if now >= state.next_look {
            state.next_look = now + PERIOD;
            self.look(&mut state);
        }
        state.value.clone()
    }

    fn look(&self, state: &mut State<T>) {
        let stamps = stamps(&self.files);
        if stamps == state.stamps {
            return;
        }
        state.stamps = stamps;
        match (self.load)() {
            Ok(value) => {
                state.value = value;
                log::info!("read {} again, changed", self.names());
            }
            Err(error) => log::warn!("{} changed and cannot be used, going on with the old: {error}", self.names()),
        }
    }

    fn names(&self) -> impl Display {
        let names: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        names.join(", ")
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |file: &PathBuf| {
        let meta = fs::metadata(file).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), meta.ctime(), meta.ctime_nsec()))
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait_for(watched: &Watched<u32>, value: u32) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while watched.current() != value {
            assert!(Instant::now() < deadline, "{} stays {value}", watched.current());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn a_change_is_seen_and_one_that_cannot_be_read_leaves_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        fs::write(&file, "1").unwrap();
        let load = {
            let file = file.clone();
            move || fs::read_to_string(&file).unwrap_or_default().parse::<u32>()
        };
        let watched = Watched::new(vec![file.clone()], load).unwrap();
        assert_eq!(watched.current(), 1);
        fs::write(&file, "2").unwrap();
        wait_for(&watched, 2);
        fs::write(&file, "rubbish").unwrap();
        std::thread::sleep(PERIOD * 2);
        assert_eq!(watched.current(), 2);
        fs::remove_file(&file).unwrap();
        fs::write(&file, "3").unwrap();
        wait_for(&watched, 3);
    }

    #[test]
    fn what_cannot_be_read_at_first_is_an_error() {
        assert!(Watched::new(Vec::new(), || "x".parse::<u32>()).is_err());
    }
}
