#![no_std]
//! The ABI between the kernel programs and the agent: records, table entries and limits.
//!
//! Everything the two sides must agree on stands here and nowhere else. The kernel part is the binary of this package.

pub mod limits;
pub mod record;
pub mod tables;
