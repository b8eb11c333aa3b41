//! Connections, or all there is, handed from one who follows connections to another.

use crate::connection::Connection;
use crate::event::{Cookie, StateChange};
use crate::exchange::Unobserved;

use super::Tracking;

/// A connection that was handed over before any call was made on it.
#[derive(Debug)]
pub struct Moved {
    connection: Connection,
    /// Its peer reset it, and its close is awaited.
    reset: Option<StateChange>,
}

impl Tracking {
    /// Whether a connection is kept.
    pub fn has(&self, socket: Cookie) -> bool {
        self.connections.contains_key(&socket)
    }

    /// Hands over a connection that no call was made on: no thread, exchange or process has to do with it yet.
    pub fn give_up(&mut self, socket: Cookie) -> Option<Box<Moved>> {
        let connection = self.connections.remove(&socket)?;
        Some(Box::new(Moved { connection, reset: self.resets.give_up(socket) }))
    }

    /// Takes such a connection, which is not followed any further if there is no room.
    pub fn adopt(&mut self, moved: Moved) {
        let Moved { connection, reset } = moved;
        let socket = connection.opened.socket;
        let is_unix = connection.is_unix();
        let is_full = self.connections.len() >= self.options.connections_max;
        self.connections.insert(socket, connection);
        if is_full {
            self.forget(socket);
            return self.stray(Unobserved::TableFull);
        }
        if let Some(reset) = &reset {
            self.resets.hold(reset);
        }
        if is_unix {
            self.make_room_for_unix(socket);
        }
    }

    /// Takes all that the other one keeps, which is left with nothing.
    pub fn absorb(&mut self, other: &mut Tracking) {
        self.connections.extend(other.connections.drain());
        self.unix.append(&mut other.unix);
        self.resets.absorb(&mut other.resets);
        self.pairing.absorb(&mut other.pairing);
        self.name_servers.absorb(&mut other.name_servers);
        self.held.append(&mut other.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::tests::script::Script;
    use crate::pipeline::tracking::Options;
    use crate::pipeline::{ClientFact, Fact};

    #[test]
    fn what_finds_no_room_is_closed_and_unobserved() {
        let mut script = Script::new();
        let client = script.accepts(1);
        let (mut lobby, room) = (Tracking::new(Options::default()), Options::default());
        script.log().drain(|_, event| lobby.handle(event));
        let mut full = Tracking::new(Options { connections_max: 0, ..room });
        full.adopt(*lobby.give_up(client).unwrap());
        assert!(!lobby.has(client) && !full.has(client));
        let facts: Vec<Fact> = full.facts().drain().map(|(_, fact)| fact).collect();
        let is_told = |what: fn(&Fact) -> bool| assert_eq!(facts.iter().filter(|fact| what(fact)).count(), 1);
        is_told(|fact| matches!(fact, Fact::Client { what: ClientFact::Closed(_), .. }));
        is_told(|fact| matches!(fact, Fact::Gone { .. }));
        is_told(|fact| matches!(fact, Fact::Stray(Unobserved::TableFull)));
    }
}
