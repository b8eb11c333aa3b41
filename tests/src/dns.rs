//! A name server that knows one address.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;

/// Bytes of a message's header (RFC 1035, section 4.1.1).
const HEADER_BYTES: usize = 12;
const TYPE_A: [u8; 2] = [0, 1];
/// How often the server looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);

/// Answers every question for an IPv4 address with 127.0.0.1, some milliseconds late. Dropping it ends it.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopping: AtomicBool,
    questions: AtomicU64,
}

impl Dns {
    /// Answers after 1 to `late_ms` ms, each question after another time.
    pub fn start(late_ms: u64) -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (address, shared) = (socket.local_addr()?, Arc::new(Shared::default()));
        let thread = thread::spawn({
            let shared = Arc::clone(&shared);
            move || serve(&Arc::new(socket), &shared, late_ms)
        });
        Ok(Self { address, shared, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions for an IPv4 address so far.
    pub fn questions(&self) -> u64 {
        self.shared.questions.load(Ordering::SeqCst)
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.is_stopping.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(socket: &Arc<UdpSocket>, shared: &Shared, late_ms: u64) {
    let mut question = [0; 512];
    while !shared.is_stopping.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
        let Some((answer, is_address)) = answer(&question[..length]) else { continue };
        let count = shared.questions.fetch_add(u64::from(is_address), Ordering::SeqCst);
        let (late, socket) = (1 + count * 7 % late_ms, Arc::clone(socket));
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(late));
            let _ = socket.send_to(&answer, from);
        });
    }
}

/// The answer to a message with one question, and whether that is for an IPv4 address; others have none.
fn answer(question: &[u8]) -> Option<(Vec<u8>, bool)> {
    let name_bytes = question.get(HEADER_BYTES..)?.iter().position(|&byte| byte == 0)? + 1;
    let end = HEADER_BYTES + name_bytes + 4;
    let kind = question.get(end - 4..end - 2)?;
    let is_address = kind == TYPE_A;
    let mut answer = question.get(..end)?.to_vec();
    // A response with recursion; as many answers as are known; nothing else.
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..HEADER_BYTES].copy_from_slice(&[0, u8::from(is_address), 0, 0, 0, 0]);
    if is_address {
        // The name as in the question, A, IN, for a second, four bytes.
        answer.extend([0xc0, HEADER_BYTES as u8, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4, 127, 0, 0, 1]);
    }
    Some((answer, is_address))
}
