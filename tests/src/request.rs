//! Requests that clients send, down to the byte.

/// How a request carries its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// No body and no header line about it.
    None,
    /// `Content-Length`, with that many bytes.
    Sized(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked {
        /// Chunks before the last, empty one.
        chunks: usize,
        /// Content of each, in bytes.
        chunk_bytes: usize,
    },
}

/// A request; [`Request::bytes`] is what goes on the wire.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    version: &'static str,
    headers: Vec<(String, String)>,
    body: Body,
}

impl Request {
    /// HTTP/1.1, with a `Host` line and no body.
    pub fn new(method: &str, target: impl Into<String>) -> Self {
        Self {
            method: method.to_owned(),
            target: target.into(),
            version: "HTTP/1.1",
            headers: vec![("Host".to_owned(), "gateway.test".to_owned())],
            body: Body::None,
        }
    }

    /// `GET` of `target`.
    pub fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    /// `POST` of `body_bytes` bytes to `target`.
    pub fn post(target: impl Into<String>, body_bytes: usize) -> Self {
        Self::new("POST", target).body(Body::Sized(body_bytes))
    }

    /// Adds a header line.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Names the request in nginx's log (`X-Case`).
    pub fn case(self, name: &str) -> Self {
        self.header("X-Case", name)
    }

    /// Replaces the body.
    pub fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    /// Speaks HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// Asks for the end of the connection after the response.
    pub fn close(self) -> Self {
        self.header("Connection", "close")
    }

    /// True for `HEAD`, whose response has no body whatever it announces.
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The whole request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.head().into_bytes();
        match self.body {
            Body::None => {}
            Body::Sized(length) => bytes.extend(content(length)),
            Body::Chunked { chunks, chunk_bytes } => {
                for _ in 0..chunks {
                    bytes.extend(chunk(chunk_bytes));
                }
                bytes.extend(b"0\r\n\r\n");
            }
        }
        bytes
    }

    fn head(&self) -> String {
        let mut head = format!("{} {} {}\r\n", self.method, self.target, self.version);
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        match self.body {
            Body::None => {}
            Body::Sized(length) => head += &format!("Content-Length: {length}\r\n"),
            Body::Chunked { .. } => head += "Transfer-Encoding: chunked\r\n",
        }
        head + "\r\n"
    }
}

/// Printable content of `length` bytes, line by line, that looks like no HTTP.
pub fn content(length: usize) -> Vec<u8> {
    const LINE: &[u8] = b"the quick brown fox jumps over the lazy dog 0123456789 and again\n";
    // Whole copies: byte by byte, a megabyte costs an unoptimised build enough to disturb the times.
    let mut bytes = LINE.repeat(length / LINE.len() + 1);
    bytes.truncate(length);
    bytes
}

/// One chunk of `length` bytes of [`content`], with its framing.
pub fn chunk(length: usize) -> Vec<u8> {
    let mut bytes = format!("{length:x}\r\n").into_bytes();
    bytes.extend(content(length));
    bytes.extend(b"\r\n");
    bytes
}
