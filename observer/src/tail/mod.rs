//! One line an exchange as it ends, for those who listen: like an access log that the gateway never had to write.
//!
//! The pipeline looks at one atomic for each exchange; as long as nobody listens it does nothing more.

mod entry;
mod filter;
mod format;
mod hub;

pub use self::entry::{Detail, Entry, Line, TEXT_BYTES_MAX, Wanted};
pub use self::filter::{BadQuery, Filter, StatusFilter, Wish};
pub use self::format::{Format, print, shown};
pub use self::hub::{Hub, NoRoom, QUEUE, READERS_MAX, Reader};
