//! The observer.

pub mod check;
pub mod host;
