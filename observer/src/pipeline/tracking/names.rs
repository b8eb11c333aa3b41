//! What name servers tell the gateways.

use rustc_hash::FxHashMap;

use crate::dns::{self, Messages};
use crate::event::{Cookie, Data, Datagram, Direction, Layer, Nanoseconds, Opened};

use crate::pipeline::fact::{Fact, Facts};

/// Connections to name servers kept at once: resolvers turn to TCP for one long answer, and close.
const STREAMS_MAX: usize = 1024;

/// Answers that are not whole yet.
#[derive(Debug, Default)]
pub struct NameServers {
    streams: FxHashMap<Cookie, Messages>,
}

/// Takes an answer over UDP.
pub fn datagram(datagram: &Datagram<'_>, facts: &mut Facts) {
    answered(datagram.network, datagram.sample, datagram.time_ns, facts);
}

impl NameServers {
    /// Takes what moved on a connection to an upstream, in case that is a name server.
    pub fn data(&mut self, opened: &Opened, data: &Data<'_>, facts: &mut Facts) {
        let is_answer =
            data.direction == Direction::Received && data.layer == Layer::Socket && dns::is_name_server(opened);
        if !is_answer || self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&data.socket) {
            return;
        }
        self.streams.entry(data.socket).or_default().take(data, |message| {
            answered(opened.network, message, data.time_ns, facts);
        });
    }

    /// Takes all of another one's.
    pub fn absorb(&mut self, other: &mut NameServers) {
        self.streams.extend(other.streams.drain());
    }

    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }

    /// A connection is over.
    pub fn closed(&mut self, socket: Cookie) {
        self.streams.remove(&socket);
    }
}

fn answered(network: u32, message: &[u8], time_ns: Nanoseconds, facts: &mut Facts) {
    if let Some(answer) = dns::answer(message) {
        facts.push(Fact::Answered { network, answer: Box::new(answer), time_ns });
    }
}
