//! One direction of a connection: the pipeline's reader, and what stays of the bytes it takes.

use std::ops::Range;

use super::head::{self, HeadMask, MASK};
use super::kept::Kept;
use crate::http::head::Side;
use crate::http::http1::{Expected, Input, Part, Reader, end_of_chunks};

/// One direction.
#[derive(Debug)]
pub struct Stream {
    /// Reads as the pipeline's does.
    pub reader: Reader,
    head: HeadMask,
    side: Side,
}

impl Stream {
    /// At the start of a connection, or met midway.
    pub fn new(side: Side, is_midway: bool) -> Self {
        let reader = if is_midway { Reader::midway(side) } else { Reader::new(side) };
        Stream { reader, head: HeadMask::new(side), side }
    }
}

/// One call's way through a reader. What the reader does not need is overwritten.
#[derive(Debug)]
pub struct Pass<'a> {
    input: Input<'a>,
    total: u64,
    sample: &'a [u8],
    masked: &'a mut [u8],
    kept: &'a Kept,
    /// Where the head at hand begins, if it begins in this call.
    head_from: Option<usize>,
}

impl<'a> Pass<'a> {
    /// `input` begins with `sample`; `masked` is as long as that.
    pub fn new(input: Input<'a>, sample: &'a [u8], kept: &'a Kept, masked: &'a mut [u8]) -> Self {
        masked.fill(MASK);
        Pass { total: input.left(), input, sample, masked, kept, head_from: None }
    }

    /// Bytes left.
    pub fn left(&self) -> u64 {
        self.input.left()
    }

    /// As [`Input::begins_with`].
    pub fn begins_with(&self, prefix: &[u8]) -> bool {
        self.input.begins_with(prefix)
    }

    /// As [`Input::begins_like_a_request`].
    pub fn begins_like_a_request(&self) -> bool {
        self.input.begins_like_a_request()
    }

    /// As [`Reader::read`], and keeps what stays of the bytes read.
    pub fn read(&mut self, stream: &mut Stream) -> Option<Part> {
        while self.input.left() > 0 {
            let expected = stream.reader.expected();
            if expected == Expected::Decision {
                return None;
            }
            let from = self.position();
            let part = stream.reader.step(&mut self.input);
            self.keep(from..self.position(), expected, part.as_ref(), stream);
            if part.is_some() {
                return part;
            }
        }
        None
    }

    /// Bytes of the sample that are read.
    fn position(&self) -> usize {
        let taken = self.total - self.input.left();
        usize::try_from(taken).unwrap_or(usize::MAX).min(self.sample.len())
    }

    fn keep(&mut self, range: Range<usize>, expected: Expected, part: Option<&Part>, stream: &mut Stream) {
        match expected {
            Expected::Between => {
                if part == Some(&Part::Begin) {
                    stream.head.restart();
                    self.head_from = Some(range.start);
                }
                self.keep_those(range, is_line_end);
            }
            Expected::Head => self.keep_head(range, part, stream),
            Expected::ChunkSize => self.keep_those(range, |byte| {
                byte.is_ascii_hexdigit() || is_line_end(byte) || matches!(byte, b';' | b' ' | b'\t')
            }),
            Expected::ChunkLine => self.keep_those(range, is_line_end),
            Expected::LastChunk => {
                let end = end_of_chunks(&self.sample[range.clone()]);
                self.keep_those(range.end - end.len()..range.end, |_| true);
            }
            Expected::Decision | Expected::Body | Expected::Unknown => {}
        }
    }

    fn keep_those(&mut self, range: Range<usize>, stays: fn(u8) -> bool) {
        for at in range {
            if stays(self.sample[at]) {
                self.masked[at] = self.sample[at];
            }
        }
    }

    fn keep_head(&mut self, range: Range<usize>, part: Option<&Part>, stream: &mut Stream) {
        let (from, to) = (range.start, range.end);
        self.masked[range.clone()].copy_from_slice(&self.sample[range]);
        stream.head.mask(&mut self.masked[from..to], self.kept);
        let begun = if part.is_some() { self.head_from.take() } else { None };
        if let Some(begun) = begun
            && part == Some(&Part::Malformed)
        {
            self.masked[begun..to].copy_from_slice(&self.sample[begun..to]);
            head::mask_malformed(stream.side, &mut self.masked[begun..to]);
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
