//! The observer.

pub mod config;
