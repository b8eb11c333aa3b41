//! Header fields: names, values and folded lines.

use super::{HeadMask, Place, Stays, mask};
use crate::recording::kept::{self, Kept, TARGETS};

impl HeadMask {
    pub(super) fn line_start(&mut self, piece: &[u8]) -> usize {
        match piece[0] {
            b'\r' | b'\n' => 1,
            // An obsolete line folding (RFC 9112, section 5.2) goes on with the field before it.
            b' ' | b'\t' if !self.is_first_field => {
                self.go(Place::Value);
                1
            }
            _ => {
                self.is_first_field = false;
                self.go(Place::Name);
                0
            }
        }
    }

    /// A field's name stays if it is one and its end is in sight; its start stays as long as it may become a kept one.
    pub(super) fn name(&mut self, piece: &mut [u8], kept: &Kept) -> usize {
        let end = piece.iter().position(|&byte| matches!(byte, b':' | b'\n'));
        let length = end.unwrap_or(piece.len());
        let delimiter = end.map(|end| piece[end]);
        let name = &mut piece[..length];
        self.remember(name, |byte| byte.to_ascii_lowercase());
        let word = self.word.trim_ascii();
        let stays = match delimiter {
            Some(b':') => name.trim_ascii().iter().all(|&byte| kept::is_token(byte)),
            Some(_) => false,
            None => kept.has_prefix(word),
        };
        if !stays {
            mask(name, kept::is_text);
        }
        self.stays = match (delimiter, kept.has(word)) {
            (Some(b':'), true) if TARGETS.contains(&word) => Stays::UpToQuery,
            (Some(b':'), true) => Stays::Whole,
            _ => Stays::Not,
        };
        match delimiter {
            Some(b':') => {
                self.go(Place::Value);
                length + 1
            }
            Some(_) => {
                self.go(Place::LineStart);
                length + 1
            }
            None => length,
        }
    }

    pub(super) fn value(&mut self, piece: &mut [u8]) -> usize {
        let end = memchr::memchr(b'\n', piece).map(|at| at + 1);
        let length = end.unwrap_or(piece.len());
        let value = &mut piece[..length];
        let from = match self.stays {
            Stays::Not => 0,
            Stays::Whole => length,
            Stays::UpToQuery => match memchr::memchr(b'?', value) {
                Some(query) => {
                    self.stays = Stays::Not;
                    query + 1
                }
                None => length,
            },
        };
        mask(&mut value[from..], kept::is_text);
        if end.is_some() {
            self.go(Place::LineStart);
        }
        length
    }
}
