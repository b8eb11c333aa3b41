//! Exchanges as they end, over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::harness::{Served, Setup, connect, exchange, served};
use crate::exposition::auth::{Role, add};
use crate::tail::{Entry, Line, QUEUE, READERS_MAX, TEXT_BYTES_MAX};

struct Case {
    served: Served,
    admin: String,
    reader: String,
    socket: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

fn case() -> Case {
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("users"), folder.path().join("socket"));
    let token = |name, role| add(&file, name, role).unwrap().reveal().to_owned();
    let (admin, reader) = (token("a", Role::Admin), token("r", Role::Metrics));
    let listen = ["127.0.0.1:0", "127.0.0.1:0,read=open", &format!("unix:{}", socket.display())].map(str::to_owned);
    let served = Setup { auth_file: Some(&file), listen: listen.to_vec(), ..Setup::default() }.serve();
    Case { served, admin, reader, socket, _folder: folder }
}

fn code(case: &Case, listener: usize, headers: &str) -> u16 {
    let request = format!("GET /tail?status=abc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    exchange(connect(case.served.addresses[listener]), request.as_bytes()).code()
}

#[test]
fn only_an_admin_or_who_opens_the_private_socket_may_listen() {
    let case = case();
    let as_reader = format!("Authorization: Bearer {}\r\n", case.reader);
    // 400: let in, and told that the query is wrong.
    let as_admin = format!("Kong-Admin-Token: {}\r\n", case.admin);
    for listener in [0, 1] {
        let codes = ["", &as_reader, &as_admin].map(|headers| code(&case, listener, headers));
        assert_eq!(codes, [401, 403, 400], "reading openly is no matter here");
    }
    let request =
        |forwarded: &str| format!("GET /tail?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{forwarded}\r\n");
    let local =
        |request: String| exchange(std::os::unix::net::UnixStream::connect(&case.socket).unwrap(), request.as_bytes());
    let refused = local(request(""));
    assert!(refused.code() == 400 && refused.body.contains("slower_than_ms"), "{}", refused.body);
    assert_eq!(local(request("X-Forwarded-For: 10.0.0.1\r\n")).code(), 401);
    let open = served(1);
    assert_eq!(open.ask("GET /tail").code(), 403, "without users nobody is an admin");
    assert_eq!(open.ask("HEAD /tail").code(), 405);
}

fn listen(case: &Case, query: &str) -> BufReader<TcpStream> {
    let mut stream = connect(case.served.addresses[0]);
    let token = &case.admin;
    write!(stream, "GET /tail{query} HTTP/1.1\r\nHost: x\r\nKong-Admin-Token: {token}\r\n\r\n").unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
    }
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("application/x-ndjson"), "{head}");
    reader
}

fn line(reader: &mut impl BufRead) -> String {
    let (mut size, mut line) = (String::new(), String::new());
    reader.read_line(&mut size).unwrap();
    reader.read_line(&mut line).unwrap();
    reader.read_line(&mut size).unwrap();
    line
}

#[test]
fn lines_come_as_exchanges_end_and_readers_that_leave_make_room() {
    let case = case();
    let entry = |status| Entry { status, path: "/a".into(), ..Entry::default() };
    let mut reader = listen(&case, "?status=5xx");
    case.served.tail.send(vec![entry(200), entry(503)]);
    let first: Entry = serde_json::from_str(&line(&mut reader)).unwrap();
    assert_eq!(first, entry(503));
    let others: Vec<_> = (1..READERS_MAX).map(|_| listen(&case, "")).collect();
    let as_admin = format!("Kong-Admin-Token: {}\r\n", case.admin);
    assert_eq!(case.served.ask_with("GET /tail", &as_admin).code(), 503);
    drop(others);
    drop(reader);
    let deadline = Instant::now() + Duration::from_secs(10);
    while case.served.tail.wanted().detail().is_some() {
        assert!(Instant::now() < deadline, "somebody still listens");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_pauses_is_told_what_it_lost_and_the_metrics_too() {
    let case = case();
    let mut reader = listen(&case, "");
    // Far more than the kernel keeps for a connection that nobody reads (some MiB by tcp_wmem), and the queue.
    let entry = Entry { path: "a".repeat(TEXT_BYTES_MAX), ..Entry::default() };
    const PIECES: usize = 40;
    for _ in 0..PIECES {
        case.served.tail.send(vec![entry.clone(); 1000]);
    }
    let (mut told, mut lost) = (0, 0);
    while told + lost < PIECES * 1000 {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "the stream ended after {told}, and {lost} lost");
        match line.starts_with('{').then(|| serde_json::from_str(&line).unwrap()) {
            Some(Line::Entry(_)) => told += 1,
            Some(Line::Lost { lost: more }) => lost += usize::try_from(more).unwrap(),
            // Chunks' sizes and ends.
            None => {}
        }
    }
    assert!(lost > 0 && told >= QUEUE, "{told} and {lost}");
    let families = case.served.metrics.registry().gather();
    let told = families.iter().find(|family| family.name == "observer_tail_lost_total").unwrap();
    assert_eq!(told.numbers().map(|(_, value)| value).sum::<f64>(), lost as f64);
}

#[test]
fn the_server_does_not_wait_for_those_who_listen_when_it_ends() {
    let case = case();
    let mut reader = listen(&case, "");
    case.served.tail.close();
    let mut rest = String::new();
    while reader.read_line(&mut rest).unwrap() > 2 {}
    assert_eq!(rest, "0\r\n\r\n");
}
