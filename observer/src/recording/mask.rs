//! Overwrites in events what the pipeline does not read.

use observer_ebpf::limits::TAIL_BYTES;
use rustc_hash::FxHashMap;

use super::conversation::Conversation;
use super::head::MASK;
use super::kept::Kept;
use crate::event::{Cookie, Data, Event, Opened, Process, ProcessChange, Role, StateChange, TcpState};
use crate::gateways::Gateways;
use crate::http::http1::end_of_chunks;
use crate::pipeline::CONNECTIONS_MAX;

/// Sockets that are followed at once: as many as the pipeline follows. Of others nothing stays.
pub const SOCKETS_MAX: usize = CONNECTIONS_MAX;

/// Masks a stream of events, from its first one on.
///
/// Of the bytes moved there stay start lines without query and userinfo, names of fields and the values of those that
/// the pipeline reads, and the framing of chunks. Lengths stay the same, and so does what the pipeline makes of it, save
/// where it compares what is overwritten: two queries, or two unknown methods, of one length become equal.
#[derive(Debug)]
pub struct Masker {
    kept: Kept,
    gateways: Gateways,
    conversations: FxHashMap<Cookie, Conversation>,
    sample: Vec<u8>,
    tail: [u8; TAIL_BYTES],
}

impl Masker {
    /// `kept_headers`: names of fields that stay besides the pipeline's own, in any case of letters.
    pub fn new<'a>(kept_headers: impl IntoIterator<Item = &'a str>) -> Self {
        Masker {
            kept: Kept::new(kept_headers),
            gateways: Gateways::default(),
            conversations: FxHashMap::default(),
            sample: Vec::new(),
            tail: [MASK; TAIL_BYTES],
        }
    }

    /// The event as it may be kept.
    pub fn mask<'m>(&'m mut self, event: &Event<'m>) -> Event<'m> {
        match event {
            Event::Data(data) => return Event::Data(self.data(data)),
            Event::State(change) => self.state(change),
            Event::Opened(opened) => self.opened(opened),
            Event::Process(process) => self.process(process),
            Event::Lost(_) | Event::Resolved(_) | Event::Ready(_) | Event::Tick(_) => {}
        }
        event.clone()
    }

    /// Sockets followed now.
    pub fn sockets(&self) -> usize {
        self.conversations.len()
    }

    fn data<'m>(&'m mut self, data: &Data<'_>) -> Data<'m> {
        self.sample.clear();
        self.sample.resize(data.sample.len(), MASK);
        if let Some(conversation) = self.conversations.get_mut(&data.socket) {
            conversation.data(data, &self.kept, &mut self.sample);
        }
        let tail = &mut self.tail[..data.tail.len().min(TAIL_BYTES)];
        tail.fill(MASK);
        let end = end_of_chunks(&data.tail[..tail.len()]);
        let from = tail.len() - end.len();
        tail[from..].copy_from_slice(end);
        Data { sample: &self.sample, tail, ..*data }
    }

    fn state(&mut self, change: &StateChange) {
        if change.old == TcpState::Listen {
            self.gateways.stopped_listening(change.socket);
        }
        if change.new == TcpState::Close {
            self.conversations.remove(&change.socket);
        } else if let Some(conversation) = self.conversations.get_mut(&change.socket) {
            conversation.state(change);
        }
    }

    fn opened(&mut self, opened: &Opened) {
        if opened.role == Role::Listener {
            return self.gateways.listening(opened);
        }
        if self.conversations.len() >= SOCKETS_MAX || self.conversations.contains_key(&opened.socket) {
            return;
        }
        if let Some(role) = self.role(opened) {
            self.conversations.insert(opened.socket, Conversation::new(opened, role));
        }
    }

    /// As the pipeline tells it; it takes no notice of a connection that belongs to no gateway.
    fn role(&self, opened: &Opened) -> Option<Role> {
        let is_ours = self.gateways.of_process(opened.process).is_some();
        match opened.local.ip() {
            None => is_ours.then_some(opened.role),
            Some(local) if self.gateways.listening_at(opened.network, local).is_some() => Some(Role::Client),
            Some(_) => (is_ours && opened.role == Role::Upstream).then_some(Role::Upstream),
        }
    }

    fn process(&mut self, process: &Process) {
        if process.change == ProcessChange::Exited {
            let theirs = |conversation: &&mut Conversation| conversation.process == process.process;
            self.conversations.values_mut().filter(theirs).for_each(Conversation::process_ended);
        }
        self.gateways.process(process);
    }
}

#[cfg(test)]
mod tests;
