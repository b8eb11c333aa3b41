//! Calls that move bytes, as the records tell of them.

use observer::event::{Call, Data, Direction, Event, Layer, TcpState};
use observer::http::http1::Span;
use observer::pipeline::Following;

use super::script::Observed;
use super::world::{Way, World};

const TAIL_BYTES: usize = 8;

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Moved<'a> {
    pub(super) direction: Direction,
    pub(super) result: i32,
    pub(super) call: Call,
    pub(super) sample: &'a [u8],
    pub(super) tail: &'a [u8],
    /// Bytes that left unseen before.
    pub(super) unseen: usize,
    /// Its record never comes.
    pub(super) is_lost: bool,
}

impl<'a> Moved<'a> {
    /// A call of which no byte is known.
    pub(super) fn new(direction: Direction, result: i32) -> Self {
        Moved { direction, result, call: Call::Buffer, sample: b"", tail: b"", unseen: 0, is_lost: false }
    }

    /// A call of these bytes, all known.
    fn of(direction: Direction, sample: &'a [u8]) -> Self {
        Moved { sample, ..Moved::new(direction, sample.len() as i32) }
    }
}

impl World {
    /// Bytes move, of requests or of responses.
    pub(super) fn bytes(&mut self, slot: usize, is_asked: bool, bytes: &[u8], observed: Observed) {
        let is_client = slot.is_multiple_of(2);
        let direction = if is_asked == is_client { Direction::Received } else { Direction::Sent };
        if bytes.is_empty() {
            return;
        }
        match self.way {
            Way::Pieces(length) => {
                bytes.chunks(length).for_each(|piece| self.call(slot, Moved::of(direction, piece)));
            }
            Way::Whole => self.call(slot, Moved::of(direction, bytes)),
            Way::AsTold => self.call(slot, observe(Moved::of(direction, bytes), observed)),
        }
    }

    /// A call ends.
    pub(super) fn call(&mut self, slot: usize, moved: Moved<'_>) {
        let Moved { direction, result, .. } = moved;
        let Some(cookie) = self.seen(slot, true) else { return };
        let Some(socket) = &mut self.slots[slot] else { return };
        let is_over = match direction {
            Direction::Received => socket.is_at_end,
            Direction::Sent => socket.state == TcpState::FinWait,
        };
        if socket.is_closed || is_over {
            return;
        }
        socket.is_at_end |= result <= 0;
        let stream = match direction {
            Direction::Received => &mut socket.received,
            Direction::Sent => &mut socket.sent,
        };
        let offset = *stream + moved.unseen as u64;
        *stream = offset + u64::try_from(result).unwrap_or(0);
        let sequence = socket.sequence;
        socket.sequence += 1;
        if moved.is_lost && self.way == Way::AsTold {
            return;
        }
        let process = self.workers[socket.worker];
        let data = Data {
            time_ns: self.now,
            socket: cookie,
            sequence,
            process,
            thread: process,
            direction,
            layer: Layer::Socket,
            call: moved.call,
            offset,
            result,
            unseen_bytes: moved.unseen as u32,
            sample: moved.sample,
            tail: moved.tail,
        };
        self.pipeline.handle(&Event::Data(data));
        let mut look = |span: Span<'_>| self.traffic.take_span(&span);
        socket.connection.data_with(&data, &mut self.moments, &mut look);
        self.moments.told.drain(..).for_each(|moment| self.traffic.take(&moment));
    }
}

fn observe(moved: Moved<'_>, observed: Observed) -> Moved<'_> {
    let bytes = moved.sample;
    let hidden = Moved { sample: b"", ..moved };
    match observed {
        Observed::Whole => moved,
        Observed::Sampled(count) if count < bytes.len() => {
            Moved { sample: &bytes[..count], tail: &bytes[bytes.len().saturating_sub(TAIL_BYTES)..], ..moved }
        }
        Observed::Sampled(_) => moved,
        Observed::Pages => Moved { call: Call::Pages, ..hidden },
        Observed::Unsampled => Moved { call: Call::Unsampled, ..hidden },
        Observed::Unseen(count) => {
            let unseen = count.min(bytes.len() - 1);
            Moved { unseen, ..Moved::of(moved.direction, &bytes[unseen..]) }
        }
        Observed::Lost => Moved { is_lost: true, ..hidden },
    }
}
