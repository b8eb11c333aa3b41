//! TLS libraries in other processes: which a process has mapped, where their functions are, and where a probe in them
//! costs little.

mod flow;
mod library;
mod mapped;
pub mod place;

pub use library::{Function, Library, LibraryError};
pub use mapped::{FileId, Mapped, mapped_files};
