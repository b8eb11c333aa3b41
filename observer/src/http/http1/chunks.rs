//! The framing of a chunked body (RFC 9112, section 7.1).

/// Bytes of a chunk's size line that are kept in mind; sizes have at most 16 digits, extensions are passed over.
const SIZE_DIGITS_MAX: u32 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    /// In the digits of a size line.
    Size { value: u64, digits: u32 },
    /// Behind the digits, up to the line's end.
    Extension { value: u64 },
    /// Behind the carriage return at a size line's end.
    SizeReturn { value: u64 },
    /// In a chunk's data.
    Data(u64),
    /// In the line end behind a chunk's data.
    DataEnd,
    /// At the start of a line of the trailer section.
    TrailerStart,
    /// In a line of the trailer section.
    Trailer,
    /// Behind a carriage return at a trailer line's start.
    LastReturn,
}

pub(super) enum Step {
    Go(Chunk),
    End,
    Bad,
}

/// The transitions of a chunked body, but for its data.
pub(super) fn next(chunk: Chunk, byte: u8) -> Step {
    match (chunk, byte) {
        (Chunk::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if digits < SIZE_DIGITS_MAX => {
            let digit = char::from(byte).to_digit(16).unwrap_or(0);
            Step::Go(Chunk::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
        }
        (Chunk::Size { digits: 0, .. }, _) => Step::Bad,
        (Chunk::Size { value, .. } | Chunk::Extension { value } | Chunk::SizeReturn { value }, b'\n') => {
            Step::Go(if value == 0 { Chunk::TrailerStart } else { Chunk::Data(value) })
        }
        // nginx takes no carriage return within the line (`ngx_http_parse_chunked`).
        (Chunk::Size { value, .. } | Chunk::Extension { value }, b'\r') => Step::Go(Chunk::SizeReturn { value }),
        (Chunk::SizeReturn { .. }, _) => Step::Bad,
        (Chunk::Size { value, .. }, b';' | b' ' | b'\t') => Step::Go(Chunk::Extension { value }),
        (Chunk::Size { .. }, _) => Step::Bad,
        (Chunk::Extension { value }, _) => Step::Go(Chunk::Extension { value }),
        (Chunk::DataEnd, b'\r') => Step::Go(Chunk::DataEnd),
        (Chunk::DataEnd, b'\n') => Step::Go(Chunk::Size { value: 0, digits: 0 }),
        (Chunk::DataEnd, _) => Step::Bad,
        (Chunk::TrailerStart, b'\r') => Step::Go(Chunk::LastReturn),
        (Chunk::TrailerStart | Chunk::LastReturn, b'\n') => Step::End,
        (Chunk::TrailerStart | Chunk::LastReturn, _) => Step::Go(Chunk::Trailer),
        (Chunk::Trailer, b'\n') => Step::Go(Chunk::TrailerStart),
        (Chunk::Trailer, _) => Step::Go(Chunk::Trailer),
        (Chunk::Data(_), _) => Step::Bad,
    }
}
