//! TLS libraries in other processes: which a process has mapped, where their functions are, and where a probe in them
//! costs little.

mod flow;
pub mod inner;
mod library;
mod mapped;
mod methods;
pub mod place;
mod values;

pub use library::{Function, Library, LibraryError};
pub use mapped::{FileId, Mapped, mapped_files};
