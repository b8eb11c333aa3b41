//! Events on their way to another thread.

use zeroize::Zeroize;

use crate::event::{Data, Datagram, Event, Nanoseconds};
use crate::pipeline::{Moved, Tracking};

/// A batch is sent out when one shard's part of it has that many bytes of samples. One more may be in it, of 64 KiB at most.
pub const BATCH_BYTES: usize = 256 << 10;

/// Bytes of a step without samples.
#[cfg(test)]
pub const ITEM_BYTES: usize = size_of::<Item>();

/// What one shard is to do, in the events' order.
#[derive(Default)]
pub struct Batch {
    items: Vec<Item>,
    /// The events' samples and tails, one behind the other.
    bytes: Vec<u8>,
}

/// A step, and its event's index among all shards'.
struct Item {
    event: u32,
    what: What,
}

enum What {
    /// An event without its bytes, and where its sample ends among those of the batch, and where its tail.
    Event(Event<'static>, [usize; 2]),
    /// A connection from the lobby.
    Adopted(Box<Moved>),
    /// Another second has begun.
    ItIs(Nanoseconds),
}

impl Batch {
    /// Appends an event.
    pub fn push(&mut self, index: u32, event: &Event<'_>) {
        let (sample, tail): (&[u8], &[u8]) = match event {
            Event::Data(data) => (data.sample, data.tail),
            Event::Datagram(datagram) => (datagram.sample, &[]),
            _ => (&[], &[]),
        };
        self.bytes.extend_from_slice(sample);
        let sample_end = self.bytes.len();
        self.bytes.extend_from_slice(tail);
        let what = What::Event(without_bytes(event), [sample_end, self.bytes.len()]);
        self.items.push(Item { event: index, what });
    }

    /// Appends a connection from the lobby.
    pub fn adopt(&mut self, index: u32, moved: Box<Moved>) {
        self.items.push(Item { event: index, what: What::Adopted(moved) });
    }

    /// Appends that it is that late.
    pub fn it_is(&mut self, index: u32, time_ns: Nanoseconds) {
        self.items.push(Item { event: index, what: What::ItIs(time_ns) });
    }

    /// Bytes of samples.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Does what is to be done, and leaves nothing, of strangers' bytes least of all.
    pub fn play(&mut self, tracking: &mut Tracking) {
        let mut start = 0;
        for Item { event: index, what } in self.items.drain(..) {
            tracking.facts().of_event(index);
            match what {
                What::Event(event, [sample_end, end]) => {
                    let (sample, tail) = (&self.bytes[start..sample_end], &self.bytes[sample_end..end]);
                    whole(&event, sample, tail, |event| tracking.handle(event));
                    start = end;
                }
                What::Adopted(moved) => tracking.adopt(*moved),
                What::ItIs(time_ns) => tracking.it_is(time_ns),
            }
        }
        self.wipe();
    }

    /// Takes the events out, each with its index; the batch has nothing else.
    pub fn drain(&mut self, mut take: impl FnMut(u32, &Event<'_>)) {
        let mut start = 0;
        for Item { event: index, what } in self.items.drain(..) {
            if let What::Event(event, [sample_end, end]) = what {
                let (sample, tail) = (&self.bytes[start..sample_end], &self.bytes[sample_end..end]);
                whole(&event, sample, tail, |event| take(index, event));
                start = end;
            }
        }
        self.wipe();
    }

    fn wipe(&mut self) {
        self.bytes.as_mut_slice().zeroize();
        self.bytes.clear();
    }
}

fn without_bytes(event: &Event<'_>) -> Event<'static> {
    match event {
        Event::Data(data) => Event::Data(data_with(data, &[], &[])),
        Event::Datagram(datagram) => Event::Datagram(datagram_with(datagram, &[])),
        Event::Opened(opened) => Event::Opened(opened.clone()),
        Event::State(change) => Event::State(*change),
        Event::Handshake(handshake) => Event::Handshake(handshake.clone()),
        Event::Process(process) => Event::Process(process.clone()),
        Event::Lost(lost) => Event::Lost(lost.clone()),
        Event::Resolved(resolved) => Event::Resolved(resolved.clone()),
        Event::Remaining(remaining) => Event::Remaining(remaining.clone()),
        Event::Ready(time_ns) => Event::Ready(*time_ns),
        Event::Tick(time_ns) => Event::Tick(*time_ns),
    }
}

/// Hands an event on with its bytes.
fn whole(event: &Event<'static>, sample: &[u8], tail: &[u8], take: impl FnOnce(&Event<'_>)) {
    match event {
        Event::Data(data) => take(&Event::Data(data_with(data, sample, tail))),
        Event::Datagram(datagram) => take(&Event::Datagram(datagram_with(datagram, sample))),
        other => take(other),
    }
}

fn data_with<'a>(data: &Data<'_>, sample: &'a [u8], tail: &'a [u8]) -> Data<'a> {
    let Data { time_ns, socket, sequence, process, thread, direction, .. } = *data;
    let Data { call, layer, offset, result, unseen_bytes, .. } = *data;
    Data {
        time_ns,
        socket,
        sequence,
        process,
        thread,
        direction,
        call,
        layer,
        offset,
        result,
        unseen_bytes,
        sample,
        tail,
    }
}

fn datagram_with<'a>(datagram: &Datagram<'_>, sample: &'a [u8]) -> Datagram<'a> {
    let Datagram { time_ns, socket, sequence, process, thread, network, .. } = *datagram;
    Datagram { time_ns, socket, sequence, process, thread, network, sample }
}
