//! What an upstream answers, read from the request's path.
//!
//! Segments that mean nothing are skipped, so a service's prefix may stay in the path. Modifiers come before the
//! reply: `/alpha/delay/20/status/404/bytes/1000` waits 20 ms, then answers 404 with 1,000 bytes.
//!
//! | segment | effect |
//! |---|---|
//! | `delay/MS` | waits before the answer |
//! | `hold` | waits until the test calls `Upstream::release` |
//! | `status/CODE` | instead of 200 |
//! | `early-hints`, `continue` | a 103 or a 100 before the answer |
//! | `think/MS` | waits behind those |
//! | `accelerate` | `X-Accel-Redirect` to the path that follows |
//! | `headers/N` | N more header lines of 100 bytes |
//! | `bytes/N` | N bytes with `Content-Length` (the default, with 12) |
//! | `chunked/COUNTxSIZE` | COUNT chunks of SIZE bytes |
//! | `drip/COUNTxMS` | COUNT single bytes with `Content-Length`, MS apart |
//! | `close-delimited/N` | N bytes ended by the close |
//! | `echo` | the request's body |
//! | `no-content`, `not-modified` | 204, 304 |
//! | `early-close` | closes without an answer |
//! | `reset` | the same, with a reset |
//! | `truncate/N` | announces twice the N bytes it sends, closes |
//! | `reset-after/N` | announces twice the N bytes it sends, resets |
//! | `garbage/N` | N bytes that are not HTTP, closes |

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use crate::request::{chunk, content};
use crate::wire::Head;

/// What becomes of the connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Read the next request.
    KeepAlive,
    /// End in an orderly way.
    Close,
    /// End with a reset.
    Reset,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Stands at the gate first.
    pub holds: bool,
    delay: Duration,
    interim: &'static [u8],
    thinks: Duration,
    status: u16,
    more_headers: usize,
    accelerate: Option<String>,
    reply: Reply,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Bytes(usize),
    Chunked(usize, usize),
    Drip(usize, u64),
    CloseDelimited(usize),
    Echo,
    Nothing(After),
    Partial(usize, After),
    Garbage(usize),
}

impl Script {
    /// The script that a request asks for.
    pub fn of(head: &Head) -> Self {
        let target = head.start_line.split(' ').nth(1).unwrap_or_default();
        let path = target.split('?').next().unwrap_or_default();
        let mut script = Self {
            holds: false,
            delay: Duration::ZERO,
            interim: b"",
            thinks: Duration::ZERO,
            status: 200,
            more_headers: 0,
            accelerate: None,
            reply: Reply::Bytes(12),
        };
        let mut segments = path.split('/');
        while let Some(segment) = segments.next() {
            script.apply(segment, &mut segments);
        }
        script
    }

    fn apply<'a>(&mut self, segment: &str, rest: &mut impl Iterator<Item = &'a str>) {
        let mut argument = || rest.next().unwrap_or_default();
        match segment {
            "hold" => self.holds = true,
            "delay" => self.delay = Duration::from_millis(number(argument())),
            "early-hints" => self.interim = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
            "continue" => self.interim = b"HTTP/1.1 100 Continue\r\n\r\n",
            "think" => self.thinks = Duration::from_millis(number(argument())),
            "status" => self.status = number(argument()) as u16,
            "headers" => self.more_headers = number(argument()) as usize,
            "accelerate" => self.accelerate = Some(rest.map(|segment| format!("/{segment}")).collect()),
            "no-content" => self.status = 204,
            "not-modified" => self.status = 304,
            "bytes" => self.reply = Reply::Bytes(number(argument()) as usize),
            "echo" => self.reply = Reply::Echo,
            "chunked" => {
                let (count, size) = pair(argument());
                self.reply = Reply::Chunked(count as usize, size as usize);
            }
            "drip" => {
                let (count, apart_ms) = pair(argument());
                self.reply = Reply::Drip(count as usize, apart_ms);
            }
            "close-delimited" => self.reply = Reply::CloseDelimited(number(argument()) as usize),
            "early-close" => self.reply = Reply::Nothing(After::Close),
            "reset" => self.reply = Reply::Nothing(After::Reset),
            "truncate" => self.reply = Reply::Partial(number(argument()) as usize, After::Close),
            "reset-after" => self.reply = Reply::Partial(number(argument()) as usize, After::Reset),
            "garbage" => self.reply = Reply::Garbage(number(argument()) as usize),
            _ => {}
        }
    }

    /// Answers the request `head` with its `body`.
    pub fn play(&self, head: &Head, body: &[u8], out: &mut impl Write) -> io::Result<After> {
        thread::sleep(self.delay);
        out.write_all(self.interim)?;
        thread::sleep(self.thinks);
        let asked = Asked::of(head);
        match self.reply {
            Reply::Bytes(length) => self.sized(&asked, &content(length), out),
            Reply::Echo => self.sized(&asked, body, out),
            // HTTP/1.0 has no chunks.
            Reply::Chunked(count, size) if asked.is_http10 => self.until_close(&asked, count * size, out),
            Reply::Chunked(count, size) => self.chunked(&asked, count, size, out),
            Reply::Drip(count, apart_ms) => self.drip(&asked, count, apart_ms, out),
            Reply::CloseDelimited(length) => self.until_close(&asked, length, out),
            Reply::Nothing(after) => Ok(after),
            Reply::Partial(length, after) => {
                let mut message = self.head(&[("Content-Length", &(2 * length).to_string())]);
                message.extend(content(length));
                out.write_all(&message)?;
                Ok(after)
            }
            Reply::Garbage(length) => {
                out.write_all(&content(length))?;
                Ok(After::Close)
            }
        }
    }

    fn sized(&self, asked: &Asked, body: &[u8], out: &mut impl Write) -> io::Result<After> {
        let is_bare = matches!(self.status, 204 | 304);
        let mut message = match is_bare {
            true => self.head(&[asked.connection()]),
            false => self.head(&[asked.connection(), ("Content-Length", &body.len().to_string())]),
        };
        if !is_bare && !asked.is_head {
            message.extend(body);
        }
        out.write_all(&message)?;
        Ok(asked.after)
    }

    fn chunked(&self, asked: &Asked, count: usize, size: usize, out: &mut impl Write) -> io::Result<After> {
        out.write_all(&self.head(&[asked.connection(), ("Transfer-Encoding", "chunked")]))?;
        if !asked.is_head {
            for _ in 0..count {
                out.write_all(&chunk(size))?;
            }
            out.write_all(b"0\r\n\r\n")?;
        }
        Ok(asked.after)
    }

    fn drip(&self, asked: &Asked, count: usize, apart_ms: u64, out: &mut impl Write) -> io::Result<After> {
        let length = ("Content-Length", &*count.to_string());
        out.write_all(&self.head(&[asked.connection(), length]))?;
        for byte in content(count) {
            thread::sleep(Duration::from_millis(apart_ms));
            out.write_all(&[byte])?;
        }
        Ok(asked.after)
    }

    fn until_close(&self, asked: &Asked, length: usize, out: &mut impl Write) -> io::Result<After> {
        let mut message = self.head(&[("Connection", "close")]);
        if !asked.is_head {
            message.extend(content(length));
        }
        out.write_all(&message)?;
        Ok(After::Close)
    }

    fn head(&self, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        if matches!(self.status, 301 | 302) {
            head += "Location: /elsewhere\r\n";
        }
        if let Some(path) = &self.accelerate {
            head += &format!("X-Accel-Redirect: {path}\r\n");
        }
        for index in 0..self.more_headers {
            head += &format!("X-More-{index:03}: {}\r\n", "m".repeat(86));
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        (head + "\r\n").into_bytes()
    }
}

/// What the request says about its response's form.
struct Asked {
    is_head: bool,
    is_http10: bool,
    after: After,
}

impl Asked {
    fn of(head: &Head) -> Self {
        let is_http10 = head.start_line.ends_with("HTTP/1.0");
        let asks = |option: &str| head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(option));
        let is_kept = if is_http10 { asks("keep-alive") } else { !asks("close") };
        Self {
            is_head: head.start_line.starts_with("HEAD "),
            is_http10,
            after: if is_kept { After::KeepAlive } else { After::Close },
        }
    }

    fn connection(&self) -> (&'static str, &'static str) {
        match self.after {
            After::KeepAlive => ("Connection", "keep-alive"),
            After::Close | After::Reset => ("Connection", "close"),
        }
    }
}

/// A mistyped number in a test's path must not pass as another answer.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("not a number in a scripted path: {text:?}"))
}

fn pair(text: &str) -> (u64, u64) {
    let (left, right) = text.split_once('x').unwrap_or_else(|| panic!("not COUNTxSIZE in a scripted path: {text:?}"));
    (number(left), number(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(request_line: &str) -> (String, After) {
        let head = Head { start_line: request_line.to_owned(), headers: Vec::new() };
        let mut out = Vec::new();
        let after = Script::of(&head).play(&head, b"body", &mut out).unwrap();
        (String::from_utf8(out).unwrap(), after)
    }

    #[test]
    fn modifiers_and_reply_are_read_past_a_prefix() {
        let (text, after) = answer("GET /alpha/status/404/bytes/3?q=1 HTTP/1.1");
        assert_eq!(text, "HTTP/1.1 404 Scripted\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nthe");
        assert_eq!(after, After::KeepAlive);
    }

    #[test]
    fn http10_gets_no_chunks_and_a_close() {
        let (text, after) = answer("GET /chunked/2x2 HTTP/1.0");
        assert!(text.ends_with("\r\n\r\nthe "), "{text}");
        assert_eq!(after, After::Close);
    }
}
