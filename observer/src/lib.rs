//! The observer.

pub mod exposition;
pub mod metrics;
