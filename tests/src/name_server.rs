//! A name server that says what a test wants, over UDP and TCP (RFC 1035).

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};

const PORT: u16 = 53;
const POLL: Duration = Duration::from_millis(20);

/// What is known of a name.
#[derive(Debug, Clone)]
pub struct Entry {
    name: String,
    /// Names that it is an alias of, one after the other, before the one that has the addresses.
    aliases: Vec<String>,
    addresses: Vec<Ipv4Addr>,
    ttl_s: u32,
    is_for_tcp: bool,
}

impl Entry {
    /// A name with one address.
    pub fn new(name: &str, address: Ipv4Addr) -> Self {
        Self { name: name.to_owned(), aliases: Vec::new(), addresses: vec![address], ttl_s: 60, is_for_tcp: false }
    }

    /// The addresses are those of `to`, which the name before it is an alias of.
    pub fn alias(mut self, to: &str) -> Self {
        self.aliases.push(to.to_owned());
        self
    }

    /// How long the answer holds.
    pub fn ttl(mut self, seconds: u32) -> Self {
        self.ttl_s = seconds;
        self
    }

    /// Too long for UDP.
    pub fn over_tcp(mut self) -> Self {
        self.is_for_tcp = true;
        self
    }
}

type Entries = Arc<Mutex<HashMap<String, Entry>>>;

/// A running name server. Dropping it ends it.
#[derive(Debug)]
pub struct NameServer {
    address: Ipv4Addr,
    entries: Entries,
    is_stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl NameServer {
    /// On port 53 of an address of the loopback.
    pub fn start(address: Ipv4Addr, entries: &[Entry]) -> Result<Self> {
        let at = SocketAddr::from((address, PORT));
        let udp = UdpSocket::bind(at).with_context(|| format!("a UDP socket at {at}"))?;
        let tcp = TcpListener::bind(at).with_context(|| format!("listen on {at}"))?;
        udp.set_read_timeout(Some(POLL))?;
        tcp.set_nonblocking(true)?;
        let mut server =
            Self { address, entries: Entries::default(), is_stopping: Arc::default(), threads: Vec::new() };
        entries.iter().for_each(|entry| server.set(entry.clone()));
        let serving = [
            server.thread(move |entries| serve_udp(&udp, entries)),
            server.thread(move |entries| {
                // A client that goes away ends its own connection only.
                let _ = tcp.accept().map(|(stream, _)| serve_tcp(stream, entries));
                thread::sleep(POLL);
            }),
        ];
        server.threads.extend(serving);
        Ok(server)
    }

    /// For nginx's `resolver`.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// Says this of the name from now on.
    pub fn set(&self, entry: Entry) {
        lock(&self.entries).insert(entry.name.clone(), entry);
    }

    fn thread(&self, step: impl Fn(&Entries) + Send + 'static) -> JoinHandle<()> {
        let (entries, is_stopping) = (Arc::clone(&self.entries), Arc::clone(&self.is_stopping));
        thread::spawn(move || {
            while !is_stopping.load(Ordering::SeqCst) {
                step(&entries);
            }
        })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve_udp(socket: &UdpSocket, entries: &Entries) {
    let mut query = [0; 512];
    if let Ok((length, client)) = socket.recv_from(&mut query)
        && let Some(answer) = answer(&query[..length], entries, true)
    {
        let _ = socket.send_to(&answer, client);
    }
}

fn serve_tcp(mut stream: TcpStream, entries: &Entries) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut query = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut query)?;
    let answer = answer(&query, entries, false).unwrap_or_default();
    // In two writes, so that the gateway may read it in two calls.
    stream.write_all(&(answer.len() as u16).to_be_bytes())?;
    thread::sleep(POLL);
    stream.write_all(&answer)
}

fn answer(query: &[u8], entries: &Entries, is_udp: bool) -> Option<Vec<u8>> {
    const A: u16 = 1;
    const CNAME: u16 = 5;
    let (name, question_end) = question(query)?;
    let asks_for_v4 = query[question_end - 4..question_end - 2] == A.to_be_bytes();
    let entry = lock(entries).get(&name).cloned();
    let (mut records, mut flags) = (Vec::new(), 0x8180_u16);
    match &entry {
        None => flags |= 3,
        Some(entry) if entry.is_for_tcp && is_udp => flags |= 0x0200,
        Some(entry) => {
            let mut owner = wire_name(&entry.name);
            for alias in &entry.aliases {
                let to = wire_name(alias);
                records.push(record(&owner, CNAME, entry.ttl_s, &to));
                owner = to;
            }
            let addresses = entry.addresses.iter().filter(|_| asks_for_v4);
            records.extend(addresses.map(|address| record(&owner, A, entry.ttl_s, &address.octets())));
        }
    }
    let counts = [1, records.len() as u16, 0, 0];
    let mut message = query[..2].to_vec();
    message.extend(flags.to_be_bytes());
    message.extend(counts.map(u16::to_be_bytes).concat());
    message.extend(&query[12..question_end]);
    message.extend(records.concat());
    Some(message)
}

/// The name that is asked for, and where the question ends.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let (mut labels, mut at) = (Vec::new(), 12);
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).to_ascii_lowercase());
        at += length;
    }
    (at + 4 <= query.len()).then(|| (labels.join("."), at + 4))
}

fn record(owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) -> Vec<u8> {
    const CLASS_IN: u16 = 1;
    let length = data.len() as u16;
    let head = [kind.to_be_bytes(), CLASS_IN.to_be_bytes()].concat();
    [owner, &head, &ttl_s.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
