//! From those who enable to the pipeline, without making it wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::pipeline::Enabled;

/// What is enabled now, and how often that changed.
#[derive(Debug)]
pub struct Switch {
    version: AtomicU64,
    enabled: Mutex<Enabled>,
}

impl Switch {
    /// At version 1, so that who has seen none sees the first.
    pub fn new(enabled: Enabled) -> Switch {
        Switch { version: AtomicU64::new(1), enabled: Mutex::new(enabled) }
    }

    /// Changes it for every event that is taken from now on.
    pub fn set(&self, enabled: Enabled) {
        let mut current = self.enabled.lock().unwrap_or_else(PoisonError::into_inner);
        *current = enabled;
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Whether anything is counted.
    pub fn is_on(&self) -> bool {
        let current = self.enabled.lock().unwrap_or_else(PoisonError::into_inner);
        current.everywhere || !current.services.is_empty()
    }

    /// What is enabled if that is not the version already `seen`, which is brought up to date.
    pub fn changed(&self, seen: &mut u64) -> Option<Enabled> {
        if self.version.load(Ordering::Acquire) == *seen {
            return None;
        }
        let current = self.enabled.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = self.version.load(Ordering::Acquire);
        Some(current.clone())
    }
}
