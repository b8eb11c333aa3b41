//! Masks a head in place, however its bytes come.
//!
//! Every byte that is overwritten becomes one that the parser takes for the same thing, so a masked head is one
//! exactly if the head was, with the same lines. Where a call ends within a word, what the word is going to be is not
//! known: it stays only as far as it is the beginning of one that may stay.

mod fields;
mod start_line;
#[cfg(test)]
mod tests;

use super::kept::{self, Kept};
use crate::http::head::Side;
use crate::http::http1::TLS_HANDSHAKE;

/// What overwritten bytes become.
pub const MASK: u8 = b'x';

/// For a byte that no part of a head may have.
const INVALID: u8 = 1;

/// What a response begins with, for a connection that is out of step.
const START: &[u8] = b"HTTP/1.";

/// A longer word is none that may stay.
const WORD_BYTES_MAX: usize = 128;

/// Masks the heads of one direction, one after the other.
#[derive(Debug)]
pub struct HeadMask {
    side: Side,
    place: Place,
    /// The word at hand as far as it came in earlier pieces.
    word: Vec<u8>,
    /// The field at hand stays.
    stays: Stays,
    /// No field has begun.
    is_first_field: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before the start line; a few servers send empty lines there.
    Before,
    Method,
    /// Spaces before the target.
    BeforeTarget,
    /// In a target that may have a scheme.
    Scheme,
    Authority,
    Path,
    Query,
    /// In a target of no form that is needed.
    OtherTarget,
    /// Spaces before the version or the status.
    Gap,
    Version,
    Status,
    Reason,
    /// In the rest of a start line that nothing is needed of.
    Rest,
    /// Behind a start line that is none, up to the head's end.
    Malformed,
    LineStart,
    Name,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stays {
    Not,
    Whole,
    UpToQuery,
}

impl HeadMask {
    /// Stands at the start of a head.
    pub fn new(side: Side) -> Self {
        HeadMask { side, place: Place::Before, word: Vec::new(), stays: Stays::Not, is_first_field: true }
    }

    /// The next bytes are those of a new head.
    pub fn restart(&mut self) {
        self.go(Place::Before);
        self.stays = Stays::Not;
        self.is_first_field = true;
    }

    /// Masks the head's next bytes.
    pub fn mask(&mut self, mut piece: &mut [u8], kept: &Kept) {
        while !piece.is_empty() {
            let taken = self.part(piece, kept);
            piece = &mut piece[taken..];
        }
    }

    /// Masks up to the end of the part at hand. Returns its bytes; 0 only together with another place.
    fn part(&mut self, piece: &mut [u8], kept: &Kept) -> usize {
        match self.place {
            Place::Before => self.pass(
                piece,
                is_line_end,
                match self.side {
                    Side::Request => Place::Method,
                    Side::Response => Place::Version,
                },
            ),
            Place::Method => self.method(piece),
            Place::BeforeTarget => {
                let is_path = piece.iter().find(|&&byte| byte != b' ') == Some(&b'/');
                self.pass(piece, is_space, if is_path { Place::Path } else { Place::Scheme })
            }
            Place::Scheme => self.scheme(piece),
            Place::Authority => self.authority(piece),
            Place::Path | Place::Query | Place::OtherTarget => self.target(piece),
            Place::Gap => self.pass(
                piece,
                is_space,
                match self.side {
                    Side::Request => Place::Version,
                    Side::Response => Place::Status,
                },
            ),
            Place::Version => self.version(piece),
            Place::Status => self.status(piece),
            Place::Reason | Place::Rest => self.line(piece),
            Place::Malformed => {
                mask(piece, kept::is_text);
                piece.len()
            }
            Place::LineStart => self.line_start(piece),
            Place::Name => self.name(piece, kept),
            Place::Value => self.value(piece),
        }
    }

    /// Passes over bytes of a kind; the first other one is at the next place.
    fn pass(&mut self, piece: &[u8], is_of_kind: fn(u8) -> bool, next: Place) -> usize {
        let end = piece.iter().position(|&byte| !is_of_kind(byte));
        if end.is_some() {
            self.go(next);
        }
        end.unwrap_or(piece.len())
    }

    fn go(&mut self, place: Place) {
        self.place = place;
        self.word.clear();
    }

    /// Adds to the word at hand; one that is too long is like no other.
    fn remember(&mut self, bytes: &[u8], spelling: fn(u8) -> u8) {
        let room = WORD_BYTES_MAX.saturating_sub(self.word.len());
        self.word.extend(bytes.iter().take(room).map(|&byte| spelling(byte)));
    }
}

/// Masks the start of a head that turned out to be none: only that it begins like one stays, since that is where the
/// pipeline gets into step again.
pub fn mask_malformed(side: Side, head: &mut [u8]) {
    let start = match side {
        Side::Request => head.iter().position(|&byte| is_space(byte) || is_line_end(byte)).unwrap_or(head.len()),
        Side::Response => START.iter().zip(&*head).take_while(|(expected, byte)| expected == byte).count(),
    };
    let (start, rest) = head.split_at_mut(start);
    if side == Side::Request {
        mask_method(start);
    }
    let spaces = rest.iter().take_while(|&&byte| is_space(byte)).count().min(1);
    mask(&mut rest[spaces..], kept::is_text);
}

/// Overwrites bytes; those that end lines or make any line invalid stay.
fn mask(bytes: &mut [u8], is_valid: fn(u8) -> bool) {
    for byte in bytes {
        *byte = match *byte {
            b'\r' | b'\n' | 0 => *byte,
            valid if is_valid(valid) => MASK,
            _ => INVALID,
        };
    }
}

/// What begins like a method goes on to do so.
fn mask_method(bytes: &mut [u8]) {
    for byte in bytes {
        *byte = match *byte {
            b'A'..=b'Z' => MASK.to_ascii_uppercase(),
            b'_' | b'-' | 0 => *byte,
            // Byte by byte, too: a TLS handshake is no malformed head before it ends.
            handshake if TLS_HANDSHAKE.contains(&handshake) => handshake,
            token if kept::is_token(token) => MASK,
            _ => INVALID,
        };
    }
}

fn is_space(byte: u8) -> bool {
    byte == b' '
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}
