//! The HTTP/1 machine: what it finds does not depend on how the bytes come, and agrees with `httparse`.

use std::ops::Range;
use std::sync::Arc;

use observer::http::head::{HEAD_BYTES_MAX, Head, Side};
use observer::http::http1::{Input, Kind, Part, Reader};

/// Bytes of an input that choose: the side and the method, the pieces' length, the gap's begin and its length.
pub const CHOICES: usize = 4;

/// A call's last bytes that are known where its middle is not.
const TAIL_BYTES: usize = 8;

/// What the machine found, and at which byte of the stream it ends.
pub type Found = Vec<(Part, usize)>;

/// A reader, and what its responses answer.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Whose messages.
    pub side: Side,
    /// The method of all requests, if it reads responses.
    pub method: &'static str,
}

/// Takes [`CHOICES`] bytes and what a connection carries.
pub fn run(data: &[u8]) {
    let Some((&[side, pieces, gap_from, gap_bytes], text)) = data.split_first_chunk() else { return };
    if text.len() > HEAD_BYTES_MAX {
        return;
    }
    let machine = Machine {
        side: if side & 1 == 0 { Side::Request } else { Side::Response },
        method: ["GET", "HEAD", "CONNECT", ""][usize::from(side >> 1 & 3)],
    };
    machine.holds(text);
    machine.holds_in_pieces(text, 1 + usize::from(pieces));
    let from = usize::from(gap_from) * text.len() / 256;
    machine.holds_with_gap(text, from..(from + usize::from(gap_bytes)).min(text.len()));
}

impl Machine {
    /// What it finds in bytes that come at once.
    pub fn find(self, text: &[u8]) -> Found {
        self.read(&[known(text)], &mut Vec::new())
    }

    /// Whole, byte by byte and with bytes behind it finds the same, and what `httparse` finds.
    pub fn holds(self, text: &[u8]) {
        let whole = self.find(text);
        agrees_with_httparse(self.side, text, &whole);
        self.holds_in_pieces(text, 1);
        let with_more = self.find(&[text, b"\r\nGET / HTTP/1.1\r\n\r\n"].concat());
        assert_eq!(up_to(&with_more, text.len()), up_to(&whole, text.len()), "with bytes behind");
    }

    /// In pieces of so many bytes it finds the same.
    pub fn holds_in_pieces(self, text: &[u8], bytes: usize) {
        let pieces: Vec<_> = text.chunks(bytes).map(known).collect();
        assert_eq!(self.read(&pieces, &mut Vec::new()), self.find(text), "in pieces of {bytes}");
    }

    /// Before hidden bytes it finds the same, and all the same if they lie within a body.
    pub fn holds_with_gap(self, text: &[u8], gap: Range<usize>) {
        let mut is_body = Vec::new();
        let whole = self.read(&[known(text)], &mut is_body);
        let tail = &text[gap.start.max(gap.end.saturating_sub(TAIL_BYTES))..gap.end];
        for tail in [tail, &[]] {
            let pieces = [Input::new(&text[..gap.start], gap.len() as u64, tail), known(&text[gap.end..])];
            let found = self.read(&pieces, &mut Vec::new());
            assert_eq!(up_to(&found, gap.start), up_to(&whole, gap.start), "before the gap {gap:?}");
            if is_body.get(gap.clone()).is_some_and(|gap| gap.iter().all(|&is_body| is_body)) {
                assert_eq!(found, whole, "with the gap {gap:?} within a body");
            }
        }
    }
}

fn known(bytes: &[u8]) -> Input<'_> {
    Input::new(bytes, 0, &[])
}

/// The only thing that goes by how a head came.
fn without_marks(part: Part) -> Part {
    match part {
        Part::Head(head) => Part::Head(Arc::new(Head::clone(&head).from_pieces())),
        part => part,
    }
}

/// What was found by this byte; what takes none is found with the byte behind.
fn up_to(found: &[(Part, usize)], byte: usize) -> &[(Part, usize)] {
    let takes_none = |part: &Part| matches!(part, Part::Begin | Part::Blurred);
    let end = found.iter().position(|(part, at)| *at > byte || (*at == byte && takes_none(part)));
    &found[..end.unwrap_or(found.len())]
}

impl Machine {
    /// Reads up to the first message whose end is not known. Empty lines count for nothing: each call tells of its own.
    fn read(self, pieces: &[Input<'_>], is_body: &mut Vec<bool>) -> Found {
        let (mut reader, mut found, mut at) = (Reader::new(self.side), Found::new(), 0);
        for piece in pieces {
            let mut input = *piece;
            while input.left() > 0 {
                let before = input.left();
                let part = reader.read(&mut input, &mut |span| {
                    is_body.extend((0..span.bytes).map(|_| span.kind == Kind::Body));
                });
                at += (before - input.left()) as usize;
                let Some(part) = part.filter(|part| *part != Part::Blank) else { continue };
                let framing = match &part {
                    Part::Head(head) if self.side == Side::Request => Some(head.request_framing()),
                    Part::Head(head) => Some(head.response_framing(self.method)),
                    Part::Blank | Part::Begin | Part::End | Part::Malformed | Part::Blurred => None,
                };
                found.push((without_marks(part), at));
                if let Some(framing) = framing {
                    found.extend(reader.begin_body(framing).map(|end| (end, at)));
                }
                if reader.is_blurred() {
                    return found;
                }
            }
        }
        found
    }
}

/// A head that `httparse` takes at its strictest is one here, and says the same.
fn agrees_with_httparse(side: Side, text: &[u8], found: &[(Part, usize)]) {
    let mut headers = vec![httparse::EMPTY_HEADER; text.len() / 3 + 1];
    let head = |bytes: usize| match found {
        [(Part::Begin, _), (Part::Head(head), at), ..] if *at == bytes => head,
        _ => panic!("httparse takes a head of {bytes} bytes: {found:?}"),
    };
    match side {
        Side::Request => {
            let mut strict = httparse::Request::new(&mut headers);
            let Ok(httparse::Status::Complete(bytes)) = strict.parse(text) else { return };
            let head = head(bytes);
            assert_eq!((Some(head.method()), Some(head.target())), (strict.method, strict.path));
            assert_eq!(Some(head.minor), strict.version);
            agree_on_fields(side, head, strict.headers);
        }
        // httparse passes over empty lines before a response too.
        Side::Response if text.first().is_none_or(u8::is_ascii_whitespace) => {}
        Side::Response => {
            let mut strict = httparse::Response::new(&mut headers);
            let Ok(httparse::Status::Complete(bytes)) = strict.parse(text) else { return };
            let head = head(bytes);
            assert_eq!((Some(head.status), Some(head.minor)), (strict.code, strict.version));
            agree_on_fields(side, head, strict.headers);
        }
    }
}

fn agree_on_fields(side: Side, head: &Head, headers: &[httparse::Header<'_>]) {
    // Of a response without ids the text is not kept.
    let has_text = side == Side::Request || head.has_ids();
    for header in headers.iter().filter(|header| has_text && !header.name.is_empty()) {
        let strict = headers.iter().filter(|other| other.name.eq_ignore_ascii_case(header.name));
        let strict: Vec<_> = strict.map(|other| other.value.trim_ascii()).collect();
        assert_eq!(head.fields(header.name).collect::<Vec<_>>(), strict, "the fields {}", header.name);
    }
    let strict = |name: &'static str| headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    let length = strict("content-length").next_back().and_then(|header| std::str::from_utf8(header.value).ok());
    assert_eq!(head.content_length, length.and_then(|length| length.trim().parse().ok()));
    let tokens = |name| strict(name).flat_map(|header| header.value.split(|&byte| byte == b','));
    let names = |name, token: &[u8]| tokens(name).any(|own| own.trim_ascii().eq_ignore_ascii_case(token));
    assert_eq!(head.close, names("connection", b"close"));
    assert_eq!(head.keep_alive, names("connection", b"keep-alive"));
    assert_eq!(head.upgrade, names("connection", b"upgrade"));
}
