use proptest::prelude::*;

use super::*;

const POINTER_TO_QUESTION: [u8; 2] = [0xc0, 12];

fn wire_name(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn record(owner: &[u8], kind: u16, ttl_s: u32, data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u16).to_be_bytes();
    [owner, &kind.to_be_bytes(), &CLASS_IN.to_be_bytes(), &ttl_s.to_be_bytes(), &length, data].concat()
}

/// An answer to a query, with these records.
fn message(name: &str, question: Question, records: &[Vec<u8>]) -> Vec<u8> {
    let mut message = query(7, name, question).unwrap();
    message[2] |= 0x80;
    message[7] = records.len() as u8;
    message.extend(records.concat());
    message
}

/// An answer that gives a name one address for a minute.
pub fn an_address(name: &str, address: [u8; 4]) -> Vec<u8> {
    message(name, Question::A, &[record(&POINTER_TO_QUESTION, TYPE_A, 60, &address)])
}

fn srv(port: u16, target: &str) -> Vec<u8> {
    [&[0, 1, 0, 2][..], &port.to_be_bytes(), &wire_name(target)].concat()
}

fn ip(text: &str, port: Option<u16>, ttl_s: u32) -> Address {
    Address { ip: text.parse().unwrap(), port, ttl_s }
}

fn chain() -> Vec<u8> {
    message(
        "Orders.Example",
        Question::A,
        &[
            record(&POINTER_TO_QUESTION, TYPE_CNAME, 30, &wire_name("lb.example")),
            record(&wire_name("LB.example"), TYPE_CNAME, 300, &wire_name("node.example")),
            record(&wire_name("node.example"), TYPE_A, 60, &[10, 0, 0, 7]),
            record(&wire_name("node.example"), TYPE_A, 20, &[10, 0, 0, 8]),
            record(&wire_name("other.example"), TYPE_A, 60, &[10, 9, 9, 9]),
        ],
    )
}

#[test]
fn addresses_at_the_end_of_a_chain_of_aliases_are_the_names() {
    let answer = answer(&chain()).unwrap();
    assert_eq!((answer.name.as_str(), answer.question), ("orders.example", Question::A));
    assert_eq!(answer.addresses, [ip("10.0.0.7", None, 30), ip("10.0.0.8", None, 20)]);
    assert_eq!(answer.targets, []);
}

#[test]
fn ipv6_addresses_are_told_and_mapped_ones_count_as_ipv4() {
    let own = "fd00::7".parse::<Ipv6Addr>().unwrap().octets();
    let mapped = "::ffff:10.0.0.7".parse::<Ipv6Addr>().unwrap().octets();
    let records = [own, mapped].map(|data| record(&POINTER_TO_QUESTION, TYPE_AAAA, 60, &data));
    let answer = answer(&message("a.b", Question::Aaaa, &records)).unwrap();
    assert_eq!(answer.addresses, [ip("fd00::7", None, 60), ip("10.0.0.7", None, 60)]);
}

#[test]
fn servers_bring_their_ports_and_those_without_address_are_named() {
    let records = [
        record(&POINTER_TO_QUESTION, TYPE_SRV, 60, &srv(8080, "one.node")),
        record(&POINTER_TO_QUESTION, TYPE_SRV, 50, &srv(9090, "two.node")),
        record(&POINTER_TO_QUESTION, TYPE_SRV, 50, &srv(1, ".")),
        record(&wire_name("one.node"), TYPE_A, 10, &[10, 0, 0, 1]),
    ];
    let answer = answer(&message("_http._tcp.orders", Question::Srv, &records)).unwrap();
    assert_eq!(answer.addresses, [ip("10.0.0.1", Some(8080), 10)]);
    assert_eq!(answer.targets, [Target { name: "two.node".into(), port: 9090, ttl_s: 50 }]);
}

#[test]
fn what_is_no_answer_without_error_to_one_question_is_none() {
    let good = chain();
    assert!(answer(&good).is_some());
    for (at, value) in [(2, 0x01), (2, 0xa1), (2, 0x83), (3, 0x83), (5, 2), (5, 0)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert_eq!(answer(&bad), None, "byte {at} is {value:#x}");
    }
    let mut text = query(1, "a.b", Question::A).unwrap();
    (text[2], text[18]) = (0x80, 16);
    assert_eq!(answer(&text), None);
}

#[test]
fn of_a_message_that_was_cut_what_came_before_is_taken() {
    let whole = chain();
    let all = answer(&whole).unwrap().addresses;
    let mut counts: Vec<usize> =
        (0..=whole.len()).filter_map(|end| answer(&whole[..end])).map(|told| told.addresses.len()).collect();
    assert!(counts.is_sorted());
    counts.dedup();
    assert_eq!((counts, all.len()), (vec![0, 1, 2], 2));
}

#[test]
fn names_that_run_in_circles_or_ahead_are_senseless() {
    for pointer in [[0xc0, 29], [0xc0, 200], [0xff, 0xff], [0x40, 0]] {
        let alias = record(&pointer, TYPE_A, 60, &[10, 0, 0, 7]);
        let told = answer(&message("orders.example", Question::A, &[alias])).unwrap();
        assert_eq!(told.addresses, [], "{pointer:?}");
    }
    let circle = [
        record(&POINTER_TO_QUESTION, TYPE_CNAME, 60, &wire_name("b.test")),
        record(&wire_name("b.test"), TYPE_CNAME, 60, &POINTER_TO_QUESTION),
    ];
    assert_eq!(answer(&message("a.test", Question::A, &circle)).unwrap().addresses, []);
}

#[test]
fn a_time_to_live_is_bounded_and_a_negative_one_is_none() {
    let records = [u32::MAX, 1 << 30].map(|ttl_s| record(&POINTER_TO_QUESTION, TYPE_A, ttl_s, &[10, 0, 0, 7]));
    let told = answer(&message("a.b", Question::A, &records)).unwrap();
    assert_eq!(told.addresses.iter().map(|address| address.ttl_s).collect::<Vec<_>>(), [0, TTL_MAX_S]);
}

#[test]
fn a_dot_within_a_label_makes_no_other_name() {
    let mut bytes = message("a-b.c", Question::A, &[]);
    bytes[HEADER_BYTES + 2] = b'.';
    assert_eq!(answer(&bytes).unwrap().name, "a?b.c");
}

#[test]
fn what_is_no_name_is_not_asked_for() {
    let long = ["a"; 200].join(".");
    for name in ["", "a..b", &"x".repeat(64), &long] {
        assert_eq!(query(1, name, Question::A), None, "{name}");
    }
    assert_eq!(query(1, "a.b.", Question::A), query(1, "a.b", Question::A));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = answer(&bytes);
        if bytes.len() > HEADER_BYTES {
            bytes[..HEADER_BYTES].copy_from_slice(&[0, 0, 0x80, 0, 0, 1, 0, 9, 0, 9, 0, 9]);
            let _ = answer(&bytes);
        }
    }

    #[test]
    fn a_damaged_answer_is_read_without_harm(at in 0_usize..130, value in any::<u8>()) {
        let mut bytes = chain();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Some(told) = answer(&bytes) {
            prop_assert!(told.addresses.len() <= 4);
        }
    }
}
