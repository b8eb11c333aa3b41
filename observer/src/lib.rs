//! Watches an API gateway from outside and serves its Kong metrics.
//!
//! The modules stand in the order in which a request flows through them.

pub mod event;
pub mod exposition;
pub mod http;
pub mod metrics;
