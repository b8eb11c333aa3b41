//! Name servers' messages (RFC 1035), as far as they tell where a name's services are.

mod message;
mod stream;

pub use message::{Address, Answer, Question, Target, answer, query};
pub use stream::Messages;

#[cfg(test)]
pub use message::tests::an_address;

use crate::event::{Opened, Role};

/// Where name servers answer (RFC 1035, section 4.2).
pub const PORT: u16 = 53;

/// Whether a connection leads to a name server.
pub fn is_name_server(opened: &Opened) -> bool {
    opened.role == Role::Upstream && opened.remote.ip().is_some_and(|remote| remote.port() == PORT)
}
