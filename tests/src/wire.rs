//! Reads HTTP/1 messages off a stream by their framing (RFC 9112, section 6), counting every byte.
//!
//! Deliberately apart from the agent's own parser: the tests must not share its mistakes.

use std::io::{self, Read, Write};

const READ_BYTES: usize = 64 * 1024;
/// A head longer than this means that the stream is out of step.
const HEAD_LIMIT_BYTES: usize = 1 << 20;

/// Start line and header lines of a message.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// The request line or status line, without its line end.
    pub start_line: String,
    /// Names as sent and trimmed values, in order.
    pub headers: Vec<(String, String)>,
}

/// A head as it comes, its blank line included, and no byte of what follows it.
pub fn read_head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

impl Head {
    /// The first header line of that name, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The framing that the header lines announce; `otherwise` where they announce none.
    pub fn framing(&self, otherwise: Framing) -> Framing {
        let is_chunked = |value: &str| value.eq_ignore_ascii_case("chunked");
        if self.header("transfer-encoding").is_some_and(is_chunked) {
            return Framing::Chunked;
        }
        self.header("content-length").and_then(|length| length.parse().ok()).map_or(otherwise, Framing::Length)
    }
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After that many bytes.
    Length(usize),
    /// After the last chunk and the trailers.
    Chunked,
    /// With the stream.
    Close,
}

/// A stream with what was read off it beyond the last message.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    held: Vec<u8>,
    consumed_bytes: usize,
}

impl<S: Read> Wire<S> {
    /// Starts at the stream's present place.
    pub fn new(stream: S) -> Self {
        Self { stream, held: Vec::new(), consumed_bytes: 0 }
    }

    /// The stream, to write to or to end.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Gives the stream back; bytes read ahead are lost.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// Takes what was read beyond the last message.
    pub fn held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// Bytes of all messages given out so far, framing included.
    pub fn consumed_bytes(&self) -> usize {
        self.consumed_bytes
    }

    /// The next head; `None` when the stream ends before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Head>> {
        let length = loop {
            if let Some(length) = find(&self.held, b"\r\n\r\n") {
                break length + 4;
            }
            if self.held.len() > HEAD_LIMIT_BYTES {
                return Err(io::Error::other("no end of head in sight: stream out of step?"));
            }
            if !self.fill()? {
                return match self.held.is_empty() {
                    true => Ok(None),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                };
            }
        };
        let bytes = self.take(length)?;
        Ok(Some(parse_head(&String::from_utf8_lossy(&bytes))))
    }

    /// A body's content. `UnexpectedEof` when the stream ends before it does.
    pub fn body(&mut self, framing: Framing) -> io::Result<Vec<u8>> {
        match framing {
            Framing::Length(length) => self.take(length),
            Framing::Chunked => self.chunks(),
            Framing::Close => {
                while self.fill()? {}
                self.take(self.held.len())
            }
        }
    }

    /// What comes up to the stream's end or failure.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill().unwrap_or(false) {}
        self.consumed_bytes += self.held.len();
        std::mem::take(&mut self.held)
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| io::Error::other(format!("not a chunk size: {line:?}")))?;
            if size == 0 {
                break;
            }
            content.extend(self.take(size)?);
            self.take(2)?;
        }
        while !self.line()?.is_empty() {}
        Ok(content)
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(length) = find(&self.held, b"\r\n") {
                let bytes = self.take(length + 2)?;
                return Ok(String::from_utf8_lossy(&bytes[..length]).into_owned());
            }
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.held.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        self.consumed_bytes += length;
        let rest = self.held.split_off(length);
        Ok(std::mem::replace(&mut self.held, rest))
    }

    /// Reads once; false at the end of the stream.
    fn fill(&mut self) -> io::Result<bool> {
        let start = self.held.len();
        self.held.resize(start + READ_BYTES, 0);
        let outcome = self.stream.read(&mut self.held[start..]);
        self.held.truncate(start + outcome.as_ref().unwrap_or(&0));
        Ok(outcome? > 0)
    }
}

impl<S: Write> Wire<S> {
    /// Writes all of `bytes`.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }
}

fn parse_head(text: &str) -> Head {
    let mut lines = text.split("\r\n");
    let start_line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Head { start_line, headers }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_messages_in_one_read_are_told_apart_and_counted() -> io::Result<()> {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n";
        let sized = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
        let mut wire = Wire::new(io::Cursor::new([&chunked[..], sized].concat()));

        let head = wire.head()?.unwrap();
        assert_eq!(wire.body(head.framing(Framing::Close))?, b"abcde");
        assert_eq!(wire.consumed_bytes(), chunked.len());

        let head = wire.head()?.unwrap();
        assert_eq!(wire.body(head.framing(Framing::Close))?, b"hi");
        assert_eq!(wire.consumed_bytes(), chunked.len() + sized.len());
        assert!(wire.head()?.is_none());
        Ok(())
    }

    #[test]
    fn a_body_cut_short_is_an_error() {
        let mut wire = Wire::new(io::Cursor::new(b"abc".to_vec()));
        let error = wire.body(Framing::Length(4)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
