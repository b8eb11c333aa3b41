//! What comes out of order, late, or not at all.

use super::super::{Connection, Moment, Moments};
use crate::event::{Call, Data, Direction, Endpoint, Layer, Opened, Origin, Role, StateChange, TcpState};
use crate::exchange::{Ending, Unobserved};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn connection() -> Connection {
    let opened = Opened {
        time_ns: 0,
        socket: 1,
        sequence: 0,
        process: 7,
        thread: 7,
        network: 1,
        role: Role::Client,
        origin: Origin::Beginning,
        state: 1,
        local: Endpoint::Ip("10.0.0.1:80".parse().unwrap()),
        remote: Endpoint::Ip("10.0.0.2:4000".parse().unwrap()),
    };
    Connection::new(opened, 0)
}

fn data(sequence: u32, direction: Direction, sample: &[u8]) -> Data<'_> {
    Data {
        time_ns: u64::from(sequence),
        socket: 1,
        sequence,
        process: 7,
        thread: 7,
        direction,
        call: Call::Buffer,
        layer: Layer::Socket,
        offset: 0,
        result: sample.len() as i32,
        unseen_bytes: 0,
        sample,
        tail: b"",
    }
}

fn closed(sequence: u32, old: TcpState, is_closed: bool) -> StateChange {
    StateChange {
        time_ns: u64::from(sequence),
        socket: 1,
        sequence,
        old,
        new: TcpState::Close,
        local_port: 80,
        local: [0; 16],
        error: 0,
        is_closed,
        unseen_bytes: 0,
    }
}

fn ending(moments: &[Moment]) -> Option<(Option<u16>, Ending)> {
    moments.iter().find_map(|moment| match moment {
        Moment::Ended(exchange, ending) => Some((exchange.status(), *ending)),
        _ => None,
    })
}

#[test]
fn an_answer_told_of_behind_the_reset_that_it_met_counts() {
    let (mut connection, mut moments) = (connection(), Moments::default());
    connection.data(&data(1, Direction::Received, REQUEST), &mut moments);
    assert!(!connection.state(&closed(2, TcpState::Established, false), &mut moments));
    connection.data(&data(3, Direction::Sent, RESPONSE), &mut moments);
    connection.state(&closed(4, TcpState::Close, true), &mut moments);
    assert_eq!(ending(&moments.told), Some((Some(200), Ending::Complete)));
}

#[test]
fn a_client_that_resets_and_gets_no_answer_closed_first() {
    let (mut connection, mut moments) = (connection(), Moments::default());
    connection.data(&data(1, Direction::Received, REQUEST), &mut moments);
    connection.state(&closed(2, TcpState::Established, false), &mut moments);
    assert_eq!(ending(&moments.told), None, "the gateway still has it");
    assert!(connection.state(&closed(3, TcpState::Close, true), &mut moments));
    assert_eq!(ending(&moments.told), Some((None, Ending::ByPeer)));
}

#[test]
fn what_was_missing_before_says_nothing_of_the_next_exchange() {
    let (mut connection, mut moments) = (connection(), Moments::default());
    connection.data(&data(3, Direction::Received, REQUEST), &mut moments);
    connection.data(&data(4, Direction::Sent, RESPONSE), &mut moments);
    moments.told.clear();
    let offset = REQUEST.len() as u64;
    connection.data(&Data { offset, ..data(5, Direction::Received, REQUEST) }, &mut moments);
    connection.state(&closed(6, TcpState::Established, false), &mut moments);
    connection.state(&closed(7, TcpState::Close, true), &mut moments);
    assert_eq!(ending(&moments.told), Some((None, Ending::ByPeer)));
}

#[test]
fn bytes_lost_in_both_directions_cost_what_was_open_and_not_the_next_exchange() {
    let (mut connection, mut moments) = (connection(), Moments::default());
    connection.data(&data(1, Direction::Received, REQUEST), &mut moments);
    // The answer, another request and its answer are lost.
    let received = 2 * REQUEST.len() as u64;
    connection.data(&Data { offset: received, ..data(5, Direction::Received, REQUEST) }, &mut moments);
    let sent = 2 * RESPONSE.len() as u64;
    connection.data(&Data { offset: sent, ..data(6, Direction::Sent, RESPONSE) }, &mut moments);
    let endings: Vec<_> = moments.told.iter().filter_map(|moment| ending(std::slice::from_ref(moment))).collect();
    assert_eq!(endings, [(None, Ending::Lost(Unobserved::RecordsLost)), (Some(200), Ending::Complete)]);
}

#[test]
fn a_lost_answer_does_not_shift_those_that_follow() {
    let (mut connection, mut moments) = (connection(), Moments::default());
    connection.data(&data(1, Direction::Received, REQUEST), &mut moments);
    // The answer is lost.
    let (mut received, mut sent) = (REQUEST.len() as u64, RESPONSE.len() as u64);
    for sequence in [3, 5] {
        connection.data(&Data { offset: received, ..data(sequence, Direction::Received, REQUEST) }, &mut moments);
        connection.data(&Data { offset: sent, ..data(sequence + 1, Direction::Sent, RESPONSE) }, &mut moments);
        received += REQUEST.len() as u64;
        sent += RESPONSE.len() as u64;
    }
    let endings: Vec<_> = moments.told.iter().filter_map(|moment| ending(std::slice::from_ref(moment))).collect();
    let lost = (None, Ending::Lost(Unobserved::RecordsLost));
    assert_eq!(endings, [lost, (Some(200), Ending::Complete), (Some(200), Ending::Complete)]);
}
