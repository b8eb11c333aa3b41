//! Overwrites in events what the pipeline does not read.

use observer_ebpf::limits::TAIL_BYTES;
use rustc_hash::FxHashMap;

use super::head::MASK;
use super::kept::Kept;
use super::sample::{Heads, Sample};
use crate::connection::{Connection, Moments, telling_bytes, telling_unsent_bytes};
use crate::dns::{self, Messages, is_name_server};
use crate::event::{
    Cookie, Data, Datagram, Direction, Event, Handshake, Layer, Opened, Process, ProcessChange, Role, StateChange,
    TcpState,
};
use crate::gateways::Gateways;
use crate::http::http1::end_of_chunks;
use crate::pipeline::CONNECTIONS_MAX;
use crate::resets::Resets;

/// Sockets that are followed at once: as many as the pipeline follows. Of others nothing stays.
pub const SOCKETS_MAX: usize = CONNECTIONS_MAX;

/// Masks a stream of events, from its first one on.
///
/// Of the bytes moved there stay start lines without query and userinfo, names of fields and the values of those that
/// the pipeline reads, and the framing of chunks. Lengths stay the same, and so does what the pipeline makes of it, save
/// where it compares what is overwritten: two queries, two unknown methods, or two responses' fields of one length become
/// equal.
#[derive(Debug)]
pub struct Masker {
    kept: Kept,
    gateways: Gateways,
    followed: FxHashMap<Cookie, Followed>,
    resets: Resets,
    /// What connections tell; nobody listens.
    moments: Moments,
    sample: Vec<u8>,
    tail: [u8; TAIL_BYTES],
}

/// A connection as the pipeline follows it, and the heads that are masked on it.
#[derive(Debug)]
struct Followed {
    connection: Connection,
    heads: Heads,
    /// What a name server says, of a connection to one.
    names: Option<Messages>,
}

impl Masker {
    /// `kept_headers`: names of fields that stay besides the pipeline's own, in any case of letters.
    pub fn new<'a>(kept_headers: impl IntoIterator<Item = &'a str>) -> Self {
        Masker {
            kept: Kept::new(kept_headers),
            gateways: Gateways::default(),
            followed: FxHashMap::default(),
            resets: Resets::default(),
            moments: Moments::default(),
            sample: Vec::new(),
            tail: [MASK; TAIL_BYTES],
        }
    }

    /// The event as it may be kept.
    pub fn mask<'m>(&'m mut self, event: &Event<'m>) -> Event<'m> {
        while let Some(close) = self.resets.overdue(event.time_ns(), |socket| self.followed.contains_key(&socket)) {
            self.state(&close);
        }
        match event {
            Event::Data(data) => return Event::Data(self.data(data)),
            Event::Datagram(datagram) => return Event::Datagram(names_only(datagram)),
            Event::State(change) => self.state(change),
            Event::Handshake(handshake) => self.handshake(handshake),
            Event::Opened(opened) => self.opened(opened),
            Event::Process(process) => self.process(process),
            Event::Remaining(remaining) => self.followed.retain(|_, followed| !followed.connection.is_gone(remaining)),
            Event::Lost(_) | Event::Resolved(_) | Event::Ready(_) | Event::Tick(_) => {}
        }
        event.clone()
    }

    /// Sockets followed now.
    pub fn sockets(&self) -> usize {
        self.followed.len()
    }

    fn data<'m>(&'m mut self, data: &Data<'_>) -> Data<'m> {
        self.sample.clear();
        self.sample.resize(data.sample.len(), MASK);
        if let Some(Followed { connection, heads, names }) = self.followed.get_mut(&data.socket) {
            let mut sample = Sample::new(data.sample, &mut self.sample, &self.kept, heads);
            connection.data_with(data, &mut self.moments, &mut |span| sample.take(span));
            self.moments.told.clear();
            if let Some(messages) = names
                && (data.direction, data.layer) == (Direction::Received, Layer::Socket)
                && are_names(messages, data)
            {
                self.sample.copy_from_slice(data.sample);
            }
            if connection.is_over_unseen() {
                self.followed.remove(&data.socket);
            }
        }
        let telling = telling_bytes(data.sample).max(telling_unsent_bytes(data));
        self.sample[..telling].copy_from_slice(&data.sample[..telling]);
        let tail = &mut self.tail[..data.tail.len().min(TAIL_BYTES)];
        tail.fill(MASK);
        let end = end_of_chunks(&data.tail[..tail.len()]);
        let from = tail.len() - end.len();
        tail[from..].copy_from_slice(end);
        Data { sample: &self.sample, tail, ..*data }
    }

    fn state(&mut self, change: &StateChange) {
        if (change.old, change.new) == (TcpState::Listen, TcpState::Close) {
            self.gateways.stopped_listening(change.socket);
        }
        if change.new == TcpState::Close && !change.is_reset() {
            self.followed.remove(&change.socket);
        } else if let Some(followed) = self.followed.get_mut(&change.socket) {
            followed.connection.state(change, &mut self.moments);
            if change.is_reset() {
                self.resets.hold(change);
            }
            self.moments.told.clear();
        }
    }

    fn handshake(&mut self, handshake: &Handshake) {
        if let Some(followed) = self.followed.get_mut(&handshake.socket) {
            followed.connection.handshake(handshake, &mut self.moments);
            self.moments.told.clear();
        }
    }

    fn opened(&mut self, opened: &Opened) {
        if opened.role == Role::Listener {
            return self.gateways.listening(opened);
        }
        if self.followed.len() >= SOCKETS_MAX || self.followed.contains_key(&opened.socket) {
            return;
        }
        if let Some((role, gateway)) = self.gateways.side(opened) {
            let connection = Connection::new(Opened { role, ..opened.clone() }, gateway);
            let names = is_name_server(opened).then(Messages::default);
            self.followed.insert(opened.socket, Followed { connection, heads: Heads::new(), names });
        }
    }

    fn process(&mut self, process: &Process) {
        if process.change == ProcessChange::Exited {
            self.followed.retain(|_, Followed { connection, .. }| {
                let is_theirs = connection.process == process.process;
                if is_theirs {
                    connection.process_ended(&mut self.moments);
                }
                !(is_theirs && connection.is_unix())
            });
            self.moments.told.clear();
        }
        self.gateways.process(process);
    }
}

/// Of a name server's answers those stay that the pipeline reads.
fn names_only<'m>(datagram: &Datagram<'m>) -> Datagram<'m> {
    let sample = if dns::answer(datagram.sample).is_some() { datagram.sample } else { &[] };
    Datagram { sample, ..*datagram }
}

/// Whether all messages that end in this call are such answers, and the next one may be.
fn are_names(messages: &mut Messages, data: &Data<'_>) -> bool {
    let mut are_all = true;
    messages.take(data, |message| are_all &= dns::answer(message).is_some());
    are_all && messages.is_sound()
}

#[cfg(test)]
mod tests;
