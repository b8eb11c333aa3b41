//! What the agent reads from its host: which processes are gateways, which sockets they hold, how
//! the kernel lays out its structures.
//!
//! Everything here asks the kernel and returns plain values; nothing keeps state between two calls.
//! Processes and sockets come and go while they are read, so "gone" is never an error.

pub mod btf;
pub mod diag;
pub mod memory;
pub mod processes;
pub mod selector;
pub mod sockets;
