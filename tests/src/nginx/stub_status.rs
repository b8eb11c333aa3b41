//! nginx's own connection counts.
//!
//! They are asked for over TCP, on a port apart from the main server's and not in the access log. The asking
//! connection is one of the gateway's connections, for nginx and for an observer alike: `active` and `writing` are
//! given here without it (it is gone when the agent is scraped), while `accepted`, `handled` and `requests` include
//! it. So between two answers the counts grow by one more than the test's own traffic.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::client::Client;
use crate::request::Request;

/// Counts since the master's start, and connections by state now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StubStatus {
    /// Open connections, but for the asking one.
    pub active: u64,
    /// Since the start, the asking one included.
    pub accepted: u64,
    /// Since the start, the asking one included.
    pub handled: u64,
    /// Requests since the start, the asking one included.
    pub requests: u64,
    /// Connections whose request head is not complete.
    pub reading: u64,
    /// Connections with a request under way, but for the asking one.
    pub writing: u64,
    /// Open connections with no request under way.
    pub waiting: u64,
}

/// Asks the stub_status server at `address`.
pub fn ask(address: SocketAddr) -> Result<StubStatus> {
    let response = Client::connect(address)?.exchange(&Request::get("/").close())?;
    let text = String::from_utf8_lossy(&response.body).into_owned();
    parse(&text).with_context(|| format!("stub_status answered {text:?}"))
}

fn parse(text: &str) -> Result<StubStatus> {
    let numbers = text.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<u64>>();
    let [active, accepted, handled, requests, reading, writing, waiting] =
        numbers.try_into().ok().context("seven numbers were expected")?;
    Ok(StubStatus {
        active: active.checked_sub(1).context("the asking connection")?,
        accepted,
        handled,
        requests,
        reading,
        writing: writing.checked_sub(1).context("the asking request")?,
        waiting,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_asking_connection_is_taken_out_of_the_states() {
        let text = "Active connections: 3 \nserver accepts handled requests\n 8 8 21 \n\
            Reading: 0 Writing: 1 Waiting: 2 \n";
        let status = parse(text).unwrap();
        assert_eq!((status.active, status.writing, status.waiting, status.reading), (2, 0, 2, 0));
        assert_eq!((status.accepted, status.handled, status.requests), (8, 8, 21));
    }
}
