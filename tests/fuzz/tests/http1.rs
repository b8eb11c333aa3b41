//! The HTTP/1 machine on messages of every kind: whole, byte by byte, with bytes behind and with gaps at every place; and
//! on messages made up, beside `httparse`.

use observer::http::head::Side;
use observer::http::http1::Part;
use observer_fuzz::http1::Machine;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const REQUESTS: Machine = Machine { side: Side::Request, method: "" };
const TO_GET: Machine = Machine { side: Side::Response, method: "GET" };
const TO_HEAD: Machine = Machine { side: Side::Response, method: "HEAD" };
const TO_CONNECT: Machine = Machine { side: Side::Response, method: "CONNECT" };

/// Messages, and how many heads and ends are in them.
const MESSAGES: [(Machine, &str, [usize; 2]); 21] = [
    (REQUESTS, "GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close, upgrade\r\n\r\n", [1, 1]),
    (REQUESTS, "GET /a HTTP/1.0\nConnection: Keep-Alive\n\n", [1, 1]),
    (REQUESTS, "\r\n\nGET /a HTTP/1.1\r\n\r\n\r\nHEAD /b HTTP/1.1\r\n\r\n", [2, 2]),
    (REQUESTS, "POST /a HTTP/1.1\r\nContent-Length: 12\r\n\r\n0123456789abGET /b HTTP/1.1\r\n\r\n", [2, 2]),
    (
        REQUESTS,
        "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nwxyz\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        [1, 1],
    ),
    (
        REQUESTS,
        "PUT /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT: t\r\nU: u\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        [2, 2],
    ),
    (REQUESTS, "POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc", [1, 1]),
    (REQUESTS, "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\nGET http://y:81/z HTTP/1.1\r\nHost:x\r\n\r\n", [2, 2]),
    (REQUESTS, "GET /a\r\n", [1, 1]),
    (REQUESTS, "\x16\x03\x01\x02\x00\x01\x00\r\n\r\nGET / HTTP/1.1\r\n\r\n", [0, 0]),
    (
        TO_GET,
        "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n0123456789abHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        [2, 2],
    ),
    (
        TO_GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nwxyz\r\nC;y\r\n0123456789ab\r\n0\r\n\r\nHTTP/1.1 204 N\r\n\r\n",
        [2, 2],
    ),
    (
        TO_GET,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n",
        [3, 3],
    ),
    (TO_GET, "HTTP/1.0 200 OK\r\nServer: x\r\n\r\nup to the connection's end\r\n\r\n", [1, 0]),
    (TO_GET, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: w\r\n\r\n\x01\x02any bytes", [1, 0]),
    (TO_GET, "HTTP/1.1 200\r\nX-Folded: a\r\n b\r\nContent-Length : 3\r\n\r\nabc", [1, 1]),
    (TO_GET, "HTTP/1.1 2O0 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", [0, 0]),
    (TO_GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n0\r\n\r\n", [1, 0]),
    (
        TO_HEAD,
        "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        [2, 2],
    ),
    (TO_CONNECT, "HTTP/1.1 200 OK\r\n\r\n\x01\x02any bytes", [1, 0]),
    (TO_CONNECT, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 3\r\n\r\nabc", [1, 1]),
];

#[test]
fn each_message_is_found() {
    for (machine, text, expected) in MESSAGES {
        let found = machine.find(text.as_bytes());
        let heads = found.iter().filter(|(part, _)| matches!(part, Part::Head(_))).count();
        let ends = found.iter().filter(|(part, _)| *part == Part::End).count();
        assert_eq!([heads, ends], expected, "{text:?}: {found:?}");
    }
}

#[test]
fn each_is_found_byte_by_byte_and_with_bytes_behind() {
    MESSAGES.iter().for_each(|(machine, text, _)| machine.holds(text.as_bytes()));
}

#[test]
fn each_is_found_in_pieces_of_every_length() {
    for (machine, text, _) in MESSAGES {
        (1..text.len()).for_each(|bytes| machine.holds_in_pieces(text.as_bytes(), bytes));
    }
}

#[test]
fn each_beginning_of_each_is_taken_as_such() {
    for (machine, text, _) in MESSAGES {
        (0..text.len()).for_each(|bytes| machine.holds(&text.as_bytes()[..bytes]));
    }
}

#[test]
fn a_gap_at_any_place_changes_nothing_before_it_and_nothing_at_all_within_a_body() {
    for (machine, text, _) in MESSAGES {
        for from in 0..text.len() {
            (from..=text.len()).for_each(|to| machine.holds_with_gap(text.as_bytes(), from..to));
        }
    }
}

fn machine() -> impl Strategy<Value = Machine> {
    select(vec![REQUESTS, TO_GET, TO_HEAD, TO_CONNECT])
}

fn start_line() -> impl Strategy<Value = String> {
    let method = prop_oneof![8 => "[A-Z]{1,8}", 1 => "[!-~]{1,9}"];
    let target = prop_oneof![8 => "/[a-z/%?=&.]{0,20}", 1 => "http://[a-z.:]{1,9}(/[a-z?]{0,5})?", 1 => "[ -~]{0,9}"];
    let version = select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "HTTP/1.12", "http/1.1", ""]);
    let space = || select(vec![" ", " ", " ", "  ", "\t", ""]);
    let request = (method, space(), target, space(), version.clone())
        .prop_map(|(method, left, target, right, version)| format!("{method}{left}{target}{right}{version}"));
    let response = (version, space(), "[0-9]{3}|[0-9a-z]{0,4}", "( [ -~]{0,9})?")
        .prop_map(|(version, space, status, reason)| format!("{version}{space}{status}{reason}"));
    prop_oneof![request, response]
}

fn field() -> impl Strategy<Value = String> {
    let known = select(vec![
        "Content-Length: 3",
        "Content-Length: 03",
        "content-length: 3, 3",
        "Content-Length: -1",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: gzip ,\tchunked",
        "Transfer-Encoding: chunked, gzip",
        "Connection: close",
        "connection: Keep-Alive,Upgrade",
        "Host: a.test:81",
        "Host:",
        "Expect: 100-continue",
        " folded",
        "no colon",
        "bad name: x",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "[A-Za-z-]{1,9}:[ -~\u{80}-\u{ff}]{0,12}", "[ -~\r\0]{0,9}"]
}

fn message() -> impl Strategy<Value = Vec<u8>> {
    let end = select(vec!["\r\n", "\r\n", "\r\n", "\n", "\r"]);
    let body =
        select(vec!["", "abc", "3\r\nabc\r\n0\r\n\r\n", "3;x\r\nabc\r\nfffffffffffffffff\r\n", "0\r\nT: t\r\n\r\n"]);
    (start_line(), vec(field(), 0..5), end, body, vec(any::<u8>(), 0..4)).prop_map(|(line, fields, end, body, junk)| {
        let head: String = [line].into_iter().chain(fields).map(|line| line + end).collect();
        [head.as_bytes(), end.as_bytes(), body.as_bytes(), &junk].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_agrees_with_httparse_and_with_itself(
        machine in machine(), messages in vec(message(), 1..4), bytes in 1..40_usize, gap in [any::<u16>(), any::<u16>()],
    ) {
        let text = messages.concat();
        machine.holds(&text);
        machine.holds_in_pieces(&text, bytes);
        let [from, to] = gap.map(|place| usize::from(place) % (text.len() + 1));
        machine.holds_with_gap(&text, from.min(to)..from.max(to));
    }
}
