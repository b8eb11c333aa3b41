//! What name servers tell the gateways.

use rustc_hash::FxHashMap;

use crate::attribution::Attribution;
use crate::dns::{self, Messages};
use crate::event::{Cookie, Data, Datagram, Direction, Layer, Opened};

/// Connections to name servers kept at once: resolvers turn to TCP for one long answer, and close.
const STREAMS_MAX: usize = 1024;

/// Answers that are not whole yet.
#[derive(Debug, Default)]
pub struct NameServers {
    streams: FxHashMap<Cookie, Messages>,
}

impl NameServers {
    /// Takes an answer over UDP.
    pub fn datagram(&self, datagram: &Datagram<'_>, attribution: &mut Attribution) {
        if let Some(answer) = dns::answer(datagram.sample) {
            attribution.answered(datagram.network, &answer, datagram.time_ns);
        }
    }

    /// Takes what moved on a connection to an upstream, in case that is a name server.
    pub fn data(&mut self, opened: &Opened, data: &Data<'_>, attribution: &mut Attribution) {
        let is_answer =
            data.direction == Direction::Received && data.layer == Layer::Socket && dns::is_name_server(opened);
        if !is_answer || self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&data.socket) {
            return;
        }
        self.streams.entry(data.socket).or_default().take(data, |message| {
            if let Some(answer) = dns::answer(message) {
                attribution.answered(opened.network, &answer, data.time_ns);
            }
        });
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
