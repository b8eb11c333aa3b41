//! `observer top`: what two snapshots say of the time between them, on a screen or as a plain table.

mod draw;
mod figures;
mod history;
mod keys;
mod quantile;
mod rates;
mod table;

pub use self::draw::draw;
pub use self::history::{History, WINDOWS};
pub use self::keys::{After, Screen, Sort, Timing};
pub use self::rates::{Rates, Row};
pub use self::table::table;
