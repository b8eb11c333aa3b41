//! The start line: method or version, target or status.

use super::{HeadMask, Place, is_line_end, is_space, mask, mask_method};
use crate::http::head::Side;
use crate::recording::kept::{self, METHODS, SCHEMES, VERSIONS};

impl HeadMask {
    pub(super) fn method(&mut self, piece: &mut [u8]) -> usize {
        let end = piece.iter().position(|&byte| is_space(byte) || is_line_end(byte));
        let length = end.unwrap_or(piece.len());
        let token = &mut piece[..length];
        self.remember(token, |byte| byte);
        let stays = match end {
            Some(_) => METHODS.iter().any(|method| method.as_bytes() == self.word),
            None => kept::begins(&METHODS, &self.word),
        };
        if !stays {
            mask_method(token);
        }
        if let Some(end) = end {
            self.go(if is_space(piece[end]) { Place::BeforeTarget } else { Place::Malformed });
        }
        length
    }

    /// A scheme stays as far as it is one.
    pub(super) fn scheme(&mut self, piece: &[u8]) -> usize {
        for (at, &byte) in piece.iter().enumerate() {
            self.remember(&[byte], |byte| byte.to_ascii_lowercase());
            if !kept::begins(&SCHEMES, &self.word) {
                self.go(Place::OtherTarget);
                return at;
            }
            if SCHEMES.iter().any(|scheme| scheme.as_bytes() == self.word) {
                self.go(Place::Authority);
                return at + 1;
            }
        }
        piece.len()
    }

    /// The host stays, what is before an `@` does not: without the authority's end in sight nothing does.
    pub(super) fn authority(&mut self, piece: &mut [u8]) -> usize {
        let end = piece.iter().position(|&byte| matches!(byte, b'/' | b'?' | b' ') || is_line_end(byte));
        let Some(end) = end else {
            mask(piece, kept::is_target);
            return piece.len();
        };
        let userinfo = piece[..end].iter().rposition(|&byte| byte == b'@').unwrap_or(0);
        mask(&mut piece[..userinfo], kept::is_target);
        self.go(Place::Path);
        end
    }

    /// Up to a query or the target's end.
    pub(super) fn target(&mut self, piece: &mut [u8]) -> usize {
        let is_query = self.place == Place::Query;
        let end = piece.iter().position(|&byte| is_space(byte) || is_line_end(byte) || (byte == b'?' && !is_query));
        if self.place != Place::Path {
            let length = end.unwrap_or(piece.len());
            mask(&mut piece[..length], kept::is_target);
        }
        match end {
            Some(end) if piece[end] == b'?' => {
                self.go(Place::Query);
                end + 1
            }
            Some(end) => {
                self.go(if is_space(piece[end]) { Place::Gap } else { Place::Malformed });
                end
            }
            None => piece.len(),
        }
    }

    pub(super) fn version(&mut self, piece: &[u8]) -> usize {
        for (at, &byte) in piece.iter().enumerate() {
            self.remember(&[byte], |byte| byte);
            if !kept::begins(&VERSIONS, &self.word) {
                self.go(Place::Malformed);
                return at;
            }
            if VERSIONS.iter().any(|version| version.len() == self.word.len()) {
                self.go(match self.side {
                    Side::Request => Place::Rest,
                    Side::Response => Place::Gap,
                });
                return at + 1;
            }
        }
        piece.len()
    }

    /// Three digits.
    pub(super) fn status(&mut self, piece: &[u8]) -> usize {
        for (at, &byte) in piece.iter().enumerate() {
            let next = match (self.word.len(), byte) {
                (0..3, b'0'..=b'9') => {
                    self.word.push(byte);
                    continue;
                }
                (3, b' ') => Place::Reason,
                (3, b'\r' | b'\n') => Place::Rest,
                _ => Place::Malformed,
            };
            self.go(next);
            return at;
        }
        piece.len()
    }

    /// The rest of a line. Spaces before a reason stay: the parser asks for one.
    pub(super) fn line(&mut self, piece: &mut [u8]) -> usize {
        let spaces = match self.place {
            Place::Reason => piece.iter().take_while(|&&byte| is_space(byte)).count(),
            _ => 0,
        };
        let end = memchr::memchr(b'\n', piece).map(|at| at + 1);
        let length = end.unwrap_or(piece.len());
        mask(&mut piece[spaces..length], kept::is_text);
        if end.is_some() {
            self.go(Place::LineStart);
        }
        length
    }
}
