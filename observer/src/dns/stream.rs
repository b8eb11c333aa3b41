//! Messages over TCP: each after its length in two bytes (RFC 1035, section 4.2.2).

use crate::event::Data;

/// Bytes kept of a message that comes in several calls. Answers about a service's addresses are shorter.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What came on one connection and is no whole message yet.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    /// Where in the stream the next call has to begin.
    next: u64,
    is_broken: bool,
}

impl Messages {
    /// Takes a call's bytes and tells each message that is whole by then. With bytes that were not sampled, or a message
    /// longer than what is kept, the rest of the stream is lost.
    pub fn take(&mut self, data: &Data<'_>, mut tell: impl FnMut(&[u8])) {
        let bytes = u64::try_from(data.result).unwrap_or(0);
        self.is_broken |= data.offset != self.next || data.sample.len() as u64 != bytes;
        self.next = data.offset + bytes;
        if self.is_broken {
            self.bytes = Vec::new();
            return;
        }
        self.bytes.extend_from_slice(data.sample);
        let mut rest = &*self.bytes;
        while let Some((length, after)) = rest.split_first_chunk()
            && let Some(message) = after.get(..u16::from_be_bytes(*length).into())
        {
            tell(message);
            rest = &after[message.len()..];
        }
        let done = self.bytes.len() - rest.len();
        self.bytes.drain(..done);
        let is_too_long = |(high, low): (&u8, &u8)| usize::from(u16::from_be_bytes([*high, *low])) > MESSAGE_BYTES_MAX;
        self.is_broken = self.bytes.first().zip(self.bytes.get(1)).is_some_and(is_too_long);
    }

    /// Whether all that came so far may be messages.
    pub fn is_sound(&self) -> bool {
        !self.is_broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Call, Direction, Layer};

    fn data(offset: u64, bytes: usize, sample: &[u8]) -> Data<'_> {
        Data {
            time_ns: 0,
            socket: 1,
            sequence: 0,
            process: 1,
            thread: 1,
            layer: Layer::Socket,
            direction: Direction::Received,
            call: Call::Buffer,
            offset,
            result: bytes as i32,
            unseen_bytes: 0,
            sample,
            tail: &[],
        }
    }

    fn told(calls: &[Data<'_>]) -> Vec<Vec<u8>> {
        let (mut messages, mut told) = (Messages::default(), Vec::new());
        calls.iter().for_each(|call| messages.take(call, |message| told.push(message.to_vec())));
        told
    }

    #[test]
    fn messages_are_told_however_they_are_cut_into_calls() {
        let stream = b"\0\x03abc\0\0\0\x02de";
        for size in 1..=stream.len() {
            let pieces = stream.chunks(size).enumerate();
            let calls: Vec<Data<'_>> = pieces.map(|(i, piece)| data((i * size) as u64, piece.len(), piece)).collect();
            assert_eq!(told(&calls), [b"abc".to_vec(), vec![], b"de".to_vec()], "{size} bytes at once");
        }
    }

    #[test]
    fn nothing_is_told_behind_bytes_that_were_not_seen() {
        assert_eq!(told(&[data(0, 9, b"\0\x02ab"), data(9, 4, b"\0\x02cd")]), [] as [Vec<u8>; 0]);
        assert_eq!(told(&[data(0, 4, b"\0\x02ab"), data(5, 4, b"\0\x02cd")]), [b"ab".to_vec()]);
    }

    #[test]
    fn a_message_that_never_ends_is_not_kept() {
        let mut messages = Messages::default();
        messages.take(&data(0, 8, b"HTTP/1.1"), |_| panic!("no message ends here"));
        assert!(!messages.is_sound());
        messages.take(&data(8, 8, b"\0\x01a\0\x01b\0\0"), |_| panic!("the stream is lost"));
        assert!(messages.bytes.is_empty());
    }
}
