//! A thread that follows connections.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use super::batch::Batch;
use crate::pipeline::Tracking;

/// A shard, and what it is to do. It comes back with nothing to do left.
pub struct Job {
    pub tracking: Box<Tracking>,
    pub batch: Batch,
}

/// What the threads' names begin with.
pub const NAME: &str = "shard-";

/// A running thread. Dropping it ends it.
pub struct Thread {
    /// `None` once it is to end.
    jobs: Option<Sender<Job>>,
    done: Receiver<Job>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts the thread of this index; it runs `prepare` first.
    pub fn start(index: usize, prepare: fn()) -> io::Result<Self> {
        let ((jobs, given), (finished, done)) = (channel::<Job>(), channel());
        let work = move || {
            prepare();
            for mut job in given {
                job.batch.play(&mut job.tracking);
                // Whoever gave it may have ended.
                if finished.send(job).is_err() {
                    return;
                }
            }
        };
        let handle = std::thread::Builder::new().name(format!("{NAME}{index}")).spawn(work)?;
        Ok(Thread { jobs: Some(jobs), done, handle: Some(handle) })
    }

    /// Gives the thread something to do.
    pub fn send(&self, job: Job) {
        let is_taken = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        assert!(is_taken, "{PANICKED}");
    }

    /// Waits for what was given first.
    pub fn receive(&self) -> Job {
        self.done.recv().expect(PANICKED)
    }
}

/// Its message stands in the log.
const PANICKED: &str = "a thread of the pipeline panicked";

impl Drop for Thread {
    fn drop(&mut self) {
        self.jobs = None;
        // A panic was told where it happened.
        let _ = self.handle.take().map(JoinHandle::join);
    }
}
