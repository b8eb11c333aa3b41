//! A server on free ports of the loopback, and clients that send raw bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use super::super::{Access, Limits, Pages, Readiness, bind, serve};
use crate::exposition::auth::Auth;
use crate::exposition::health::Health;
use crate::exposition::listen::Listen;
use crate::exposition::plugins::Plugins;
use crate::exposition::snapshot::Snapshots;
use crate::exposition::text;
use crate::metrics::{Dialect, Metrics, Options, Switches};
use crate::tail::Hub;

/// What a test wants to have served.
pub(super) struct Setup<'a> {
    pub(super) limits: Limits,
    /// As on the command line, best with port 0.
    pub(super) listen: Vec<String>,
    pub(super) access: Access,
    pub(super) auth_file: Option<&'a Path>,
    pub(super) own_metrics: bool,
    pub(super) dialects: Vec<Dialect>,
    pub(super) state_dir: Option<&'a Path>,
    pub(super) start_disabled: bool,
    pub(super) services: &'a [&'a str],
}

impl Default for Setup<'_> {
    fn default() -> Self {
        let listen = vec![loopback(0).to_string()];
        Setup {
            limits: Limits::default(),
            listen,
            access: Access::default(),
            auth_file: None,
            own_metrics: false,
            dialects: vec![Dialect::First],
            state_dir: None,
            start_disabled: false,
            services: &[],
        }
    }
}

/// A server, and the test's end of everything it listens to.
pub(super) struct Served {
    pub(super) runtime: Runtime,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) readiness: watch::Sender<Readiness>,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) server: JoinHandle<()>,
    pub(super) metrics: Metrics,
    pub(super) plugins: Arc<Plugins>,
    pub(super) tail: Arc<Hub>,
}

pub(super) fn served(listeners: usize) -> Served {
    served_within(Limits::default(), listeners)
}

pub(super) fn served_within(limits: Limits, listeners: usize) -> Served {
    Setup { limits, listen: vec![loopback(0).to_string(); listeners], ..Setup::default() }.serve()
}

/// One listener with these rules.
pub(super) fn served_at(listen: impl Into<String>) -> Served {
    Setup { listen: vec![listen.into()], ..Setup::default() }.serve()
}

impl Setup<'_> {
    pub(super) fn serve(self) -> Served {
        let runtime = Runtime::new().unwrap();
        let metrics = Metrics::new(Options { today: Some(Switches::ALL), ..Options::default() });
        let registry = metrics.registry().clone();
        let (readiness, receiver) = watch::channel(Readiness::Waiting("the first scan".into()));
        let auth = self.auth_file.map(|file| Arc::new(Auth::open(file, &registry).unwrap()));
        let services = self.services.iter().map(|name| (*name).into()).collect();
        let plugins = Arc::new(Plugins::open(self.state_dir, self.start_disabled, services).unwrap());
        let text = text::Options { own_metrics: self.own_metrics, ..text::Options::default() };
        let (snapshots, tail) = (Snapshots::new(metrics.view()), Hub::new(&registry));
        let pages = Pages {
            registry,
            readiness: receiver,
            health: Health::default(),
            text,
            dialects: self.dialects,
            auth,
            snapshots,
            tail: Arc::clone(&tail),
            plugins: Arc::clone(&plugins),
        };
        let listeners: Vec<Listen> = self.listen.iter().map(|text| text.parse().unwrap()).collect();
        let bound = bind(&listeners, &self.access).unwrap();
        let addresses = bound.iter().filter_map(|bound| bound.local_addr()).collect();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            let _ = stopped.await;
        };
        let server = runtime.spawn(async move { serve(bound, pages, self.limits, shutdown).await.unwrap() });
        Served { runtime, addresses, readiness, stop, server, metrics, plugins, tail }
    }
}

pub(super) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Served {
    pub(super) fn connect(&self) -> TcpStream {
        connect(self.addresses[0])
    }

    pub(super) fn ask(&self, request_line: &str) -> Answer {
        ask(self.addresses[0], request_line)
    }

    /// Asks with further header lines, each ended by `\r\n`.
    pub(super) fn ask_with(&self, request_line: &str, headers: &str) -> Answer {
        let request = format!("{request_line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        exchange(self.connect(), request.as_bytes())
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream
}

/// An answer as it came: the head without its empty line, and what followed until the close.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn status(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    pub(super) fn code(&self) -> u16 {
        self.status().split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub(super) fn has(&self, line: &str) -> bool {
        self.head.lines().any(|header| header == line)
    }
}

pub(super) fn ask(address: SocketAddr, request_line: &str) -> Answer {
    let request = format!("{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    exchange(connect(address), request.as_bytes())
}

/// Sends a request that asks for the connection's end, and takes all that comes.
pub(super) fn exchange(stream: impl Read + Write, request: &[u8]) -> Answer {
    let (head, body) = exchange_bytes(stream, request);
    Answer { head, body: String::from_utf8(body).unwrap() }
}

/// The same for a body that is no text: the head without its empty line, and the body.
pub(super) fn exchange_bytes(mut stream: impl Read + Write, request: &[u8]) -> (String, Vec<u8>) {
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = memchr::memmem::find(&answer, b"\r\n\r\n").expect("a whole head");
    let body = answer.split_off(end + 4);
    answer.truncate(end);
    let head = String::from_utf8(answer).unwrap();
    let is_chunked = head.lines().any(|line| line == "Transfer-Encoding: chunked");
    (head, if is_chunked { joined(&body) } else { body })
}

/// The body that chunks make up; it must be whole.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = memchr::memmem::find(chunks, b"\r\n").expect("a chunk's size");
        let size = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        let (chunk, rest) = chunks[end + 2..].split_at(size);
        body.extend(chunk);
        chunks = rest.strip_prefix(b"\r\n").expect("a chunk's end");
        if size == 0 {
            return body;
        }
    }
}
