//! The observer.

pub mod attribution;
pub mod config;
