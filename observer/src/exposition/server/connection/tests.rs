//! Over pipes and a clock that moves only when all wait: the limits at their real lengths, exact and at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::super::access::Ends;
use super::super::pages;
use super::super::tests::fill;
use super::*;
use crate::exposition::health::Health;
use crate::exposition::plugins::Plugins;
use crate::exposition::server::{Pages, Readiness};
use crate::exposition::snapshot::Snapshots;
use crate::exposition::text;
use crate::metrics::{Dialect, Metrics, Options};
use crate::tail::Hub;

/// The client's end of a connection, and what stops the server's.
struct Client {
    pipe: DuplexStream,
    server: JoinHandle<()>,
    stop: watch::Sender<()>,
    began: Instant,
}

/// Neither direction holds more than `pipe_bytes`.
fn connected(pipe_bytes: usize) -> Client {
    connected_to(&Metrics::new(Options::default()), pipe_bytes)
}

fn connected_to(metrics: &Metrics, pipe_bytes: usize) -> Client {
    let (_, readiness) = watch::channel(Readiness::Ready);
    let (registry, snapshots) = (metrics.registry().clone(), Snapshots::new(metrics.view()));
    let tail = Hub::new(&registry);
    let plugins = Arc::new(Plugins::open(None, false, Vec::new()).unwrap());
    let pages = Pages {
        registry,
        readiness,
        health: Health::default(),
        text: text::Options { own_metrics: false, ..text::Options::default() },
        dialects: vec![Dialect::First],
        auth: None,
        snapshots,
        tail,
        plugins,
    };
    let (pipe, io) = duplex(pipe_bytes);
    let (stop, stopped) = watch::channel(());
    let server = tokio::spawn(serve(
        io,
        ForPeer::new(pages::service(pages, Limits::default()), Peer { ends: Ends::default(), rules: Arc::default() }),
        Limits::default(),
        stopped,
    ));
    Client { pipe, server, stop, began: Instant::now() }
}

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.pipe.write_all(bytes.as_ref()).await.unwrap();
    }

    /// What comes until the server ends the connection.
    async fn rest(&mut self) -> String {
        let mut answer = String::new();
        self.pipe.read_to_string(&mut answer).await.unwrap();
        answer
    }

    async fn answer(&mut self) -> String {
        let mut answer = vec![0; 64 * 1024];
        let length = self.pipe.read(&mut answer).await.unwrap();
        String::from_utf8(answer[..length].to_vec()).unwrap()
    }

    /// Reads `bytes` at a time, once a second, until `total` are there or the server ends the connection.
    async fn read_slowly(&mut self, bytes: usize, total: usize) -> usize {
        let mut taken = 0;
        let mut buffer = vec![0; bytes];
        while taken < total {
            sleep(Duration::from_secs(1)).await;
            match self.pipe.read(&mut buffer).await.unwrap() {
                0 => break,
                length => taken += length,
            }
        }
        taken
    }

    /// When the server let go, from the connection's begin.
    async fn ended_after(self) -> Duration {
        self.server.await.unwrap();
        self.began.elapsed()
    }
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
const TEN_SECONDS: Duration = Duration::from_secs(10);
/// tokio's timer ticks in milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// The length of the answer to [`GET`].
async fn answer_bytes() -> usize {
    let mut client = connected(64 * 1024);
    client.send(GET).await;
    client.answer().await.len()
}

/// A request whose head has just `bytes`.
fn head_of(bytes: usize) -> String {
    let empty = "GET / HTTP/1.1\r\nX: \r\n\r\n";
    empty.replace("X: ", &format!("X: {}", "x".repeat(bytes - empty.len())))
}

#[tokio::test(start_paused = true)]
async fn a_head_of_8_kib_is_answered_and_a_byte_more_is_refused() {
    let mut client = connected(64 * 1024);
    client.send(head_of(8192)).await;
    assert!(client.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
    client.send(head_of(8193)).await;
    let refusal = client.rest().await;
    assert!(refusal.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\n"), "{refusal}");
    assert!(refusal.contains("\r\nConnection: close\r\n"), "{refusal}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_refused_at_8_kib() {
    let mut client = connected(512);
    client.send("GET / HTTP/1.1\r\nX: ").await;
    let mut sent = 0;
    while client.pipe.write_all(&[b'x'; 64]).await.is_ok() {
        sent += 64;
    }
    assert!((8192 - 512..=8192 + 512).contains(&sent), "{sent}");
    assert!(client.rest().await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_too_slowly_is_cut_off() {
    let mut client = connected(512);
    let mut sent = 0;
    for byte in GET.as_bytes() {
        if client.pipe.write_all(&[*byte]).await.is_err() {
            break;
        }
        sent += 1;
        sleep(Duration::from_secs(1)).await;
    }
    assert!((10..=11).contains(&sent), "{sent}");
    assert_eq!(client.rest().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_ends_after_the_time_for_a_head_and_an_idle_one_too() {
    let silent = connected(512);
    let after = silent.ended_after().await;
    assert!(after.abs_diff(TEN_SECONDS) <= TICK, "{after:?}");

    let mut idle = connected(64 * 1024);
    sleep(Duration::from_secs(6)).await;
    idle.send(GET).await;
    assert!(idle.answer().await.starts_with("HTTP/1.1 200 OK\r\n"));
    let after = idle.ended_after().await;
    assert!(after.abs_diff(Duration::from_secs(16)) <= TICK, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_is_cut_off() {
    let mut client = connected(64);
    client.send(GET).await;
    let after = client.ended_after().await;
    assert!(after.abs_diff(TEN_SECONDS) <= TICK, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_byte_a_second_is_cut_off_as_soon() {
    let mut client = connected(64);
    client.send(GET).await;
    let taken = client.read_slowly(1, usize::MAX).await;
    assert!(taken < answer_bytes().await, "{taken}");
    // 10 s of a byte each, and what lay in the pipe.
    assert!((64 + 9..=64 + 11).contains(&taken), "{taken}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_a_piece_a_second_is_cut_off_as_soon() {
    const PIECE_BYTES: usize = 64 * 1024;
    let mut metrics = Metrics::new(Options::default());
    fill(&mut metrics);
    let mut client = connected_to(&metrics, PIECE_BYTES);
    client.send(GET).await;
    let taken = client.read_slowly(PIECE_BYTES, usize::MAX).await;
    let page = text::encode(metrics.registry().gather(), text::Options { own_metrics: false, ..Default::default() });
    assert!(taken < page.len() / 4, "{taken} of {}", page.len());
    let after = client.ended_after().await;
    // What was printed in time may still be taken.
    assert!((TEN_SECONDS..2 * TEN_SECONDS).contains(&after), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn each_answer_has_its_own_time() {
    let total = answer_bytes().await;
    let a_sixth = total.div_ceil(6);
    let mut client = connected(a_sixth);
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.read_slowly(a_sixth, total).await, total);
    }
    assert!(client.began.elapsed() > TEN_SECONDS);
}

#[tokio::test(start_paused = true)]
async fn a_request_body_is_neither_waited_for_nor_asked_for() {
    for expect in ["", "Expect: 100-continue\r\n"] {
        let mut client = connected(64 * 1024);
        client.send(format!("POST /metrics HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: 100000\r\n\r\nfirst")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{answer}");
        assert!(client.began.elapsed() < TICK, "the answer waited for the body");
    }
}

#[tokio::test(start_paused = true)]
async fn http2_is_not_offered() {
    let mut client = connected(64 * 1024);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_idle_connections_at_once_and_others_after_their_answer() {
    let silent = connected(512);
    let mut idle = connected(64 * 1024);
    idle.send(GET).await;
    idle.answer().await;
    let mut busy = connected(64);
    busy.send(GET).await;
    let first = busy.pipe.read_u8().await.unwrap();
    assert_eq!(first, b'H');

    for client in [silent, idle] {
        drop(client.stop);
        client.server.await.unwrap();
        assert!(client.began.elapsed() < TICK);
    }
    drop(busy.stop);
    let mut rest = String::new();
    busy.pipe.read_to_string(&mut rest).await.unwrap();
    assert_eq!(1 + rest.len(), answer_bytes().await);
}
