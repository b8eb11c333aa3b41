//! Limits that need real sockets; those of one connection are tested beside it.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::harness::{connect, served_within};
use super::{fill, is_cut_short};
use crate::exposition::server::Limits;

#[test]
fn connections_over_the_limit_are_closed_on_every_listener_until_one_ends() {
    let served = served_within(Limits { connections: 3, ..Limits::default() }, 2);
    let [one, other] = served.addresses[..] else { unreachable!() };
    let mut open: Vec<_> = [one, one, other].map(connect).into();
    // The answers show that these were accepted.
    open.iter_mut().for_each(get_root);
    for address in [one, other] {
        assert_eq!(first_byte(connect(address)), None);
    }
    open.iter_mut().for_each(get_root);
    open.pop();
    until("the slot is free", || first_byte(connect(one)).is_some());
}

#[test]
fn a_slow_reader_is_cut_off_and_its_slot_is_free_again() {
    let limits = Limits { response_time: Duration::from_millis(200), connections: 1, ..Limits::default() };
    let mut served = served_within(limits, 1);
    fill(&mut served.metrics);
    let mut slow = served.connect();
    slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    until("the slow reader has lost its slot", || first_byte(served.connect()).is_some());
    assert!(is_cut_short(slow));
}

/// Asks for `/` on a connection that stays open.
fn get_root(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"visit /metrics") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
}

/// The first byte of an answer; none if the server closes or resets the connection instead.
fn first_byte(mut stream: TcpStream) -> Option<u8> {
    let mut byte = [0];
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    match stream.read(&mut byte) {
        Ok(1) => Some(byte[0]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("neither answered nor closed"),
        _ => None,
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
