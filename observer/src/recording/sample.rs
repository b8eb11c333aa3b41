//! What stays of one call's sample.

use std::ops::Range;

use super::head::{self, HeadMask, MASK};
use super::kept::Kept;
use crate::http::head::Side;
use crate::http::http1::{Kind, Part, Span, TLS_HANDSHAKE, end_of_chunks};
use crate::rules;

/// The heads at hand of a connection's two directions.
#[derive(Debug)]
pub struct Heads {
    requests: HeadMask,
    responses: HeadMask,
}

impl Heads {
    /// Both directions stand at their start.
    pub fn new() -> Self {
        Heads { requests: HeadMask::new(Side::Request), responses: HeadMask::new(Side::Response) }
    }

    fn of(&mut self, side: Side) -> &mut HeadMask {
        match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        }
    }
}

/// One call's sample on its way through its connection. What no span tells to be needed is overwritten.
#[derive(Debug)]
pub struct Sample<'a> {
    sample: &'a [u8],
    masked: &'a mut [u8],
    kept: &'a Kept,
    heads: &'a mut Heads,
    /// Bytes of the sample that spans have told of.
    position: usize,
    /// Where the head at hand begins, if it begins in this call.
    head_from: Option<usize>,
}

impl<'a> Sample<'a> {
    /// `masked` is as long as `sample`.
    pub fn new(sample: &'a [u8], masked: &'a mut [u8], kept: &'a Kept, heads: &'a mut Heads) -> Self {
        masked.fill(MASK);
        Sample { sample, masked, kept, heads, position: 0, head_from: None }
    }

    /// Keeps what is needed of the bytes that come next.
    pub fn take(&mut self, span: Span<'_>) {
        let from = self.position;
        let bytes = usize::try_from(span.bytes).unwrap_or(usize::MAX);
        self.position = from.saturating_add(bytes).min(self.sample.len());
        let range = from..self.position;
        match span.kind {
            Kind::Between => {
                if span.part == Some(&Part::Begin) {
                    self.heads.of(span.side).restart();
                    self.head_from = Some(from);
                }
                self.keep_those(range, is_line_end);
            }
            // As a proxy's header it is told from a request by all of it.
            Kind::Preamble => self.keep(range),
            Kind::Head => self.keep_head(range, span),
            Kind::ChunkSize => self.keep_those(range, |byte| {
                byte.is_ascii_hexdigit() || is_line_end(byte) || matches!(byte, b';' | b' ' | b'\t')
            }),
            Kind::ChunkLine => self.keep_those(range, is_line_end),
            Kind::LastChunk => {
                let end = end_of_chunks(&self.sample[range.clone()]);
                self.keep(range.end - end.len()..range.end);
            }
            Kind::Simple => {
                if rules::page_status(&self.sample[range]).is_some() {
                    self.keep(from..from + rules::PAGE_STATUS_BYTES);
                }
            }
            Kind::Body | Kind::Unknown => {}
        }
    }

    fn keep(&mut self, range: Range<usize>) {
        self.masked[range.clone()].copy_from_slice(&self.sample[range]);
    }

    fn keep_those(&mut self, range: Range<usize>, stays: fn(u8) -> bool) {
        for at in range {
            if stays(self.sample[at]) {
                self.masked[at] = self.sample[at];
            }
        }
    }

    fn keep_head(&mut self, range: Range<usize>, span: Span<'_>) {
        self.keep(range.clone());
        let (from, to) = (range.start, range.end);
        self.heads.of(span.side).mask(&mut self.masked[from..to], self.kept);
        let tls_from = self.head_from.filter(|&from| self.sample[from..to].starts_with(TLS_HANDSHAKE));
        let begun = if span.part.is_some() { self.head_from.take() } else { None };
        if let Some(begun) = begun
            && span.part == Some(&Part::Malformed)
        {
            self.keep(begun..to);
            head::mask_malformed(span.side, &mut self.masked[begun..to]);
        }
        if let Some(from) = tls_from {
            self.masked[from..from + TLS_HANDSHAKE.len()].copy_from_slice(TLS_HANDSHAKE);
        }
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
