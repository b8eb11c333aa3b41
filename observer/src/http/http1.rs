//! One direction of an HTTP/1 connection as a machine: bytes in, parts of messages out (RFC 9112).
//!
//! Bytes come known or hidden: of a long body only the count is known. As long as a message's end follows from what is
//! known, hidden bytes are as good as known ones; where it does not, the reader says so and waits to be told.

mod chunks;
mod input;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use zeroize::Zeroizing;

use super::head::{self, Framing, Head, Malformed, Side};
use super::secret::Secret;

pub use input::{Input, end_of_chunks};

use chunks::{Chunk, Step, next};

/// How a TLS handshake begins, where a message might (RFC 8446, section 5.1).
pub const TLS_HANDSHAKE: &[u8] = b"\x16\x03";

/// What the reader found in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bytes before a message that belong to none: nginx passes over empty lines there.
    Blank,
    /// A message begins.
    Begin,
    /// A head is complete. The reader waits for [`Reader::begin_body`].
    Head(Arc<Head>),
    /// A message is complete.
    End,
    /// What should be a head is none. Nothing more is read until [`Reader::restart`].
    Malformed,
    /// Where the message ends lies in hidden bytes. All that follows is taken for it until [`Reader::end`] or
    /// [`Reader::restart`].
    Blurred,
}

/// What bytes are to a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ahead of all messages: what a proxy tells of the client.
    Preamble,
    /// Empty lines, or the beginning of a message, which takes no bytes.
    Between,
    /// Of a head.
    Head,
    /// The size at the start of a chunk's line, or what ends it.
    ChunkSize,
    /// The rest of a chunk's line, the line end behind its data, or the trailer section.
    ChunkLine,
    /// Of a body.
    Body,
    /// The first bytes of a message without a head.
    Simple,
    /// All the input, or up to where a request follows; if [`end_of_chunks`] finds one at its end, the message ends there.
    LastChunk,
    /// All the input, which belongs to no message that the reader follows.
    Unknown,
}

/// A run of bytes of one kind, and the part that it ends with.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// The direction.
    pub side: Side,
    /// How many.
    pub bytes: u64,
    /// What they are.
    pub kind: Kind,
    /// What the reader found with the last of them.
    pub part: Option<&'a Part>,
}

/// Reads one direction.
#[derive(Debug)]
pub struct Reader {
    side: Side,
    state: State,
    /// The part of a head that came in earlier calls.
    head: Secret,
    /// Memory for the next one.
    spare: Option<Arc<Head>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Between messages.
    Idle,
    /// In a head.
    Head,
    /// A head was given out; its body's framing is not known yet.
    Decide,
    /// In a body of so many more bytes.
    Length(u64),
    /// In a chunked body (RFC 9112, section 7.1).
    Chunked(Chunk),
    /// At the start of a message without a head.
    Simple,
    /// In a body that ends with the connection.
    UntilClose,
    /// In a message whose end is not known.
    Blurred {
        /// A chunked body's last bytes would show its end.
        chunked: bool,
        /// The end lies in hidden bytes; else what was known was no chunk.
        hidden: bool,
    },
    /// Out of step, or never in step.
    Lost,
    /// Not HTTP any more.
    Tunnel,
}

impl Reader {
    /// A reader at the start of a connection.
    pub fn new(side: Side) -> Self {
        Reader { side, state: State::Idle, head: Secret::default(), spare: None }
    }

    /// A reader of a connection that was met on its way: it waits for [`Reader::restart`].
    pub fn midway(side: Side) -> Self {
        Reader { side, state: State::Lost, head: Secret::default(), spare: None }
    }

    /// Reads up to the next part or the input's end. What it takes from `input` belongs to the part it returns, and is
    /// told to `spans` run by run.
    pub fn read(&mut self, input: &mut Input<'_>, spans: &mut impl FnMut(Span<'_>)) -> Option<Part> {
        while input.left() > 0 && self.state != State::Decide {
            let (kind, before) = (self.kind(), input.left());
            let part = self.step(input);
            spans(Span { side: self.side, bytes: before - input.left(), kind, part: part.as_ref() });
            if part.is_some() {
                return part;
            }
        }
        None
    }

    /// Tells how the body of the head just given out ends. Returns [`Part::End`] if it has none.
    pub fn begin_body(&mut self, framing: Framing) -> Option<Part> {
        self.state = match framing {
            Framing::Empty => return Some(self.finish()),
            Framing::Length(bytes) => State::Length(bytes),
            Framing::Chunked => State::Chunked(Chunk::Size { value: 0, digits: 0 }),
            Framing::UntilClose => State::UntilClose,
            Framing::Tunnel => State::Tunnel,
        };
        None
    }

    /// Gives it memory for the head that comes next.
    pub fn lend(&mut self, spare: Option<Arc<Head>>) {
        self.spare = spare.or(self.spare.take());
    }

    /// A message without a head begins, up to the connection's end (HTTP/0.9).
    pub fn begin_simple(&mut self) {
        if self.state == State::Idle {
            self.state = State::Simple;
        }
    }

    /// Ends the message under way: something else than its own bytes told so.
    pub fn end(&mut self) {
        self.finish();
    }

    /// Out of step: nothing is read until [`Reader::restart`].
    pub fn lose(&mut self) {
        self.head.clear();
        self.state = State::Lost;
    }

    /// Starts again at a message's beginning.
    pub fn restart(&mut self) {
        self.finish();
    }

    /// Whether a message is under way.
    pub fn is_in_message(&self) -> bool {
        !matches!(self.state, State::Idle | State::Lost | State::Tunnel)
    }

    /// Whether the message under way ends only with the connection or by other evidence.
    pub fn is_open_ended(&self) -> bool {
        matches!(self.state, State::Simple | State::UntilClose | State::Blurred { .. })
    }

    /// Whether the message under way may have ended in hidden bytes.
    pub fn may_have_ended(&self) -> bool {
        matches!(self.state, State::Blurred { hidden: true, .. })
    }

    /// Whether the end of the message under way is not known.
    pub fn is_blurred(&self) -> bool {
        matches!(self.state, State::Blurred { .. })
    }

    /// The bytes so far of a head that is not complete yet; empty anywhere else.
    pub fn begun_head(&self) -> &[u8] {
        if self.state == State::Head { &self.head } else { &[] }
    }

    /// Whether the reader is out of step.
    pub fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// What the next step will take its bytes for.
    fn kind(&self) -> Kind {
        match self.state {
            State::Idle => Kind::Between,
            State::Head => Kind::Head,
            State::Chunked(Chunk::Size { .. }) => Kind::ChunkSize,
            State::Length(_) | State::Chunked(Chunk::Data(_)) | State::UntilClose => Kind::Body,
            State::Chunked(
                Chunk::Extension { .. }
                | Chunk::SizeReturn { .. }
                | Chunk::DataEnd
                | Chunk::TrailerStart
                | Chunk::Trailer
                | Chunk::LastReturn,
            ) => Kind::ChunkLine,
            State::Simple => Kind::Simple,
            State::Blurred { chunked: true, .. } => Kind::LastChunk,
            State::Decide | State::Blurred { chunked: false, .. } | State::Lost | State::Tunnel => Kind::Unknown,
        }
    }

    /// Reads as far as all bytes are of one kind.
    fn step(&mut self, input: &mut Input<'_>) -> Option<Part> {
        match self.state {
            State::Idle => self.idle(input),
            State::Head => self.head(input),
            State::Decide => None,
            State::Length(left) => self.length(left, input),
            State::Chunked(chunk) => self.chunked(chunk, input),
            State::Blurred { chunked, .. } => {
                if chunked && let Some(bytes) = input.chunks_before_a_request() {
                    input.take(bytes);
                    return Some(self.finish());
                }
                let ends = chunked && input.ends_like_a_chunked_body();
                input.take_all();
                ends.then(|| self.finish())
            }
            State::Simple => {
                self.state = State::UntilClose;
                input.take_all();
                None
            }
            State::UntilClose | State::Lost | State::Tunnel => {
                input.take_all();
                None
            }
        }
    }

    fn finish(&mut self) -> Part {
        self.head.clear();
        self.state = State::Idle;
        Part::End
    }

    fn blur(&mut self, chunked: bool, hidden: bool) -> Option<Part> {
        self.head.clear();
        self.state = State::Blurred { chunked, hidden };
        Some(Part::Blurred)
    }

    fn idle(&mut self, input: &mut Input<'_>) -> Option<Part> {
        let blank = match self.side {
            Side::Request => input.known().iter().take_while(|&&byte| byte == b'\r' || byte == b'\n').count(),
            Side::Response => 0,
        };
        if blank > 0 {
            input.take(blank as u64);
            return Some(Part::Blank);
        }
        self.state = State::Head;
        Some(Part::Begin)
    }

    fn head(&mut self, input: &mut Input<'_>) -> Option<Part> {
        if !input.is_known() {
            return self.blur(false, true);
        }
        if self.head.is_empty()
            && let Some(head) = Head::parse_usual(self.side, input.known(), &mut self.spare)
        {
            input.take(head.bytes());
            return Some(self.give_out(head));
        }
        if let Some((head, bytes)) = self.simple_request(input.known()) {
            input.take(bytes as u64);
            self.head.clear();
            return Some(self.give_out(Arc::new(head)));
        }
        if self.head.is_empty() {
            // The whole head in one call: parsed where it lies.
            if let Some(end) = head::end_of_head(input.known(), 0) {
                let text = &input.known()[..end];
                input.take(end as u64);
                return Some(self.parsed(Head::parse(self.side, text)));
            }
        }
        let seen = self.head.len();
        let known = input.known();
        self.head.extend(known);
        if let Some(end) = head::end_of_head(&self.head, seen) {
            input.take((end - seen) as u64);
            let text = std::mem::take(&mut self.head);
            let head = Head::parse(self.side, &text[..end]);
            return Some(self.parsed(head.map(Head::from_pieces)));
        }
        input.take(known.len() as u64);
        if self.head.len() > head::HEAD_BYTES_MAX {
            self.lose();
            return Some(Part::Malformed);
        }
        None
    }

    /// A request of HTTP/0.9 whose line ends in `known`, and how many bytes of that it takes.
    fn simple_request(&self, known: &[u8]) -> Option<(Head, usize)> {
        if self.side != Side::Request || memchr::memchr(b'\n', &self.head).is_some() {
            return None;
        }
        let end = memchr::memchr(b'\n', known)? + 1;
        let head = if self.head.is_empty() {
            Head::simple(&known[..end])
        } else {
            Head::simple(&Zeroizing::new([&*self.head, &known[..end]].concat()))
        };
        head.map(|head| (head, end))
    }

    fn parsed(&mut self, head: Result<Head, Malformed>) -> Part {
        match head {
            Ok(head) => self.give_out(Arc::new(head)),
            Err(_) => {
                self.lose();
                Part::Malformed
            }
        }
    }

    fn give_out(&mut self, head: Arc<Head>) -> Part {
        self.spare = None;
        self.state = State::Decide;
        Part::Head(head)
    }

    fn length(&mut self, left: u64, input: &mut Input<'_>) -> Option<Part> {
        let taken = left.min(input.left());
        input.take(taken);
        if taken == left {
            return Some(self.finish());
        }
        self.state = State::Length(left - taken);
        None
    }

    fn chunked(&mut self, chunk: Chunk, input: &mut Input<'_>) -> Option<Part> {
        if let Chunk::Data(left) = chunk {
            let taken = left.min(input.left());
            input.take(taken);
            self.state = State::Chunked(if taken == left { Chunk::DataEnd } else { Chunk::Data(left - taken) });
            return None;
        }
        let Some(&byte) = input.known().first() else {
            // The same bytes may hold the end, if the reader can see them.
            let part = self.blur(true, true);
            return if input.ends_like_a_chunked_body() { None } else { part };
        };
        input.take(1);
        match next(chunk, byte) {
            Step::Go(chunk) => {
                self.state = State::Chunked(chunk);
                None
            }
            Step::End => Some(self.finish()),
            // What follows is no chunk either, whatever it looks like.
            Step::Bad => self.blur(false, false),
        }
    }
}
