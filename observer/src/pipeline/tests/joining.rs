//! Whose the upstream exchanges are when the thread's order alone says otherwise.

use super::script::{ORDERS, Script, USERS, answer, get};
use crate::event::TcpState;
use crate::pipeline::Pair;

/// A script that keeps its pairs, with two clients that ask for the same at the same time.
fn two_alike() -> (Script, [u64; 2]) {
    let mut script = Script::new();
    script.pipeline.keep_pairs();
    let clients = [script.accepts(1), script.accepts(1)];
    for client in clients {
        script.reads(2, client, get("/orders"));
    }
    (script, clients)
}

/// Client socket and upstream socket of each pair that is a try, and its evidence.
fn pairs(script: &mut Script) -> Vec<(u64, u64, &'static str)> {
    let socket = |port: u16, base: u64| u64::from(port) - base;
    let of = |pair: &Pair| {
        let client = socket(pair.client.unwrap().port(), 20_000);
        (client, socket(pair.upstream.unwrap().port(), 40_000), pair.evidence.name())
    };
    script.pipeline.take_pairs().iter().filter(|pair| pair.is_try).map(of).collect()
}

fn counted(script: &Script, evidence: &str) -> Option<u64> {
    script.value(&format!("observer_pairs_total{{evidence=\"{evidence}\"}}"))
}

/// Their timers go off in the other order.
#[test]
fn the_way_back_corrects_the_way_forth() {
    let (mut script, [a, b]) = two_alike();
    let (for_a, for_b) = (script.connected(10, ORDERS), script.connected(10, ORDERS));
    script.writes(10, for_a, get("/orders"));
    script.writes(10, for_b, get("/orders"));
    for (at, upstream, client) in [(20, for_b, b), (30, for_a, a)] {
        script.reads(at, upstream, answer(200, "abc"));
        script.writes(at, client, answer(200, "abc"));
    }
    let pairs = pairs(&mut script);
    assert_eq!(pairs.iter().map(|pair| (pair.0, pair.1)).collect::<Vec<_>>(), [(b, for_b), (a, for_a)]);
    assert_eq!(script.told(), ["orders: 200 x2, 66+82 bytes, 16+30=46 ms"]);
}

#[test]
fn a_response_that_contradicts_what_was_read_just_before_is_not_joined_with_it() {
    let (mut script, [a, b]) = two_alike();
    let upstream = script.connected(10, ORDERS);
    script.writes(10, upstream, get("/orders"));
    script.reads(20, upstream, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcde");
    script.writes(20, a, "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
    script.reads(30, upstream, "fghi");
    script.writes(30, b, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi");
    assert_eq!(pairs(&mut script), [(b, upstream, "thread_order")]);
}

/// As Kong 3 has it. The client's response comes when the thread was at something else.
#[test]
fn an_id_in_the_upstreams_request_and_the_clients_response_joins_them() {
    let (mut script, [a, b]) = two_alike();
    let (first, second) = (script.connected(10, ORDERS), script.connected(10, ORDERS));
    let asked = |id: &str| format!("GET /orders HTTP/1.1\r\nHost: x\r\nX-Kong-Request-Id: {id}\r\n\r\n");
    let answered = |id: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Kong-Request-Id: {id}\r\n\r\n");
    script.writes(10, first, asked("a"));
    script.writes(10, second, asked("b"));
    script.reads(20, first, answer(200, ""));
    script.reads(21, second, answer(200, ""));
    script.writes(22, a, answered("a"));
    script.writes(23, b, answered("b"));
    assert_eq!(pairs(&mut script), [(a, first, "request_id"), (b, second, "request_id")]);
}

/// Lua sleeps, asks a server of its own, and lets the request be proxied then.
#[test]
fn what_was_asked_just_before_goes_with_the_exchange_that_is_passed_on() {
    let (mut script, [a, b]) = two_alike();
    let call = script.connected(10, USERS);
    script.writes(10, call, get("/called"));
    script.reads(15, call, answer(200, "yes"));
    let upstream = script.connected(15, ORDERS);
    script.writes(15, upstream, get("/orders"));
    script.reads(30, upstream, answer(200, "abc"));
    script.writes(30, a, answer(200, "abc"));
    script.writes(31, b, answer(401, ""));
    let joined = script.pipeline.take_pairs();
    assert_eq!(joined.len(), 2, "{joined:?}");
    assert!(joined.iter().all(|pair| u64::from(pair.client.unwrap().port()) == 20_000 + a));
    assert_eq!(joined.iter().map(|pair| pair.is_try).collect::<Vec<_>>(), [false, true]);
    assert_eq!(script.told(), ["orders: 200 x1, 401 x1, 66+79 bytes, 42+15=57 ms"]);
}

/// nginx turns to the next request when all that the one before asked for is over.
#[test]
fn what_is_not_answered_when_the_next_request_comes_was_anothers() {
    let (mut script, [a, b]) = two_alike();
    let (first, second) = (script.connected(10, ORDERS), script.connected(10, USERS));
    script.writes(10, first, get("/orders"));
    script.writes(10, second, "GET /copy HTTP/1.1\r\nHost: y\r\n\r\n");
    script.reads(20, first, answer(200, "abc"));
    script.writes(20, b, answer(200, "abc"));
    script.reads(21, b, get("/orders"));
    script.reads(30, second, answer(200, "abcd"));
    script.writes(30, a, answer(200, "abcd"));
    assert_eq!(pairs(&mut script), [(b, first, "thread_order"), (a, second, "way_back")]);
}

/// The gateway answers a request that was sent ahead by itself, when it has heard what another one's upstream says.
#[test]
fn what_was_asked_before_a_requests_turn_had_come_is_anothers() {
    let mut script = Script::new();
    script.pipeline.keep_pairs();
    let [proxied, ahead] = [script.accepts(1), script.accepts(1)];
    script.reads(2, proxied, get("/orders"));
    let upstream = script.connected(3, ORDERS);
    script.writes(3, upstream, get("/orders"));
    script.reads(4, ahead, get("/users/1") + &get("/users/2"));
    script.writes(10, ahead, answer(200, "abc"));
    script.reads(11, upstream, answer(200, "abc"));
    script.writes(12, ahead, answer(200, "abc"));
    script.writes(13, proxied, answer(200, "abc"));
    assert_eq!(pairs(&mut script), [(proxied, upstream, "thread_order")]);
}

/// The thread hears of something else than what it was at.
fn is_led_astray(script: &mut Script) {
    let other = script.connected(4, USERS);
    script.writes(4, other, "PING\r\n");
    script.turns(5, other, TcpState::Established, TcpState::CloseWait);
    let idle = script.accepts(5);
    script.reads(6, idle, "\r\n");
}

#[test]
fn the_length_of_the_body_alone_counts_as_content() {
    let mut script = Script::new();
    let post = |body: &str| format!("POST /orders HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let clients = ["abc", "abcde", "abcd"].map(|body| {
        let client = script.accepts(1);
        script.reads(2, client, post(body));
        client
    });
    script.pipeline.keep_pairs();
    is_led_astray(&mut script);
    let upstream = script.connected(10, ORDERS);
    script.writes(10, upstream, post("abcde"));
    script.gateway_closes(20, upstream);
    for client in clients {
        script.peer_closes(21, client);
    }
    assert_eq!(counted(&script, "content"), Some(1));
    assert_eq!(pairs(&mut script), [(clients[1], upstream, "content")]);
}

#[test]
fn one_of_several_that_may_have_asked_is_ambiguous() {
    let (mut script, [a, b]) = two_alike();
    // Neither client is answered.
    is_led_astray(&mut script);
    let upstream = script.connected(10, ORDERS);
    script.writes(10, upstream, get("/orders"));
    script.gateway_closes(20, upstream);
    script.peer_closes(21, a);
    script.peer_closes(21, b);
    assert_eq!(counted(&script, "ambiguous"), Some(1));
}

#[test]
fn requests_to_upstreams_count_by_target_and_answer() {
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, get("/users/7"));
    let refused = script.connects(2, ORDERS);
    script.turns_with(3, refused, TcpState::SynSent, TcpState::Close, false);
    let silent = script.connects(3, ORDERS);
    script.turns(5, silent, TcpState::SynSent, TcpState::Established);
    script.writes(5, silent, get("/users/7"));
    script.gateway_closes(30, silent);
    let good = script.connects(30, USERS);
    script.turns(34, good, TcpState::SynSent, TcpState::Established);
    script.writes(34, good, get("/users/7"));
    script.reads(64, good, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n");
    script.reads(71, good, "abc");
    script.writes(71, client, answer(200, "abc"));
    for (series, expected) in [
        ("observer_upstream_requests_total{code=\"none\",service=\"users\",target=\"10.1.0.1:8080\"}", 2),
        ("observer_upstream_requests_total{code=\"200\",service=\"users\",target=\"10.1.0.2:8080\"}", 1),
        ("observer_upstream_retries_total{service=\"users\"}", 2),
        ("observer_upstream_failures_in_a_row{service=\"users\",target=\"10.1.0.1:8080\"}", 2),
        ("observer_upstream_failures_in_a_row{service=\"users\",target=\"10.1.0.2:8080\"}", 0),
        ("observer_upstream_phase_ms_sum{phase=\"connect\",service=\"users\"}", 6),
        ("observer_upstream_phase_ms_sum{phase=\"wait\",service=\"users\"}", 30),
        ("observer_upstream_phase_ms_sum{phase=\"receive\",service=\"users\"}", 7),
        ("observer_upstream_phase_ms_count{phase=\"receive\",service=\"users\"}", 1),
    ] {
        assert_eq!(script.value(series), Some(expected), "{series}\n{}", script.page(Default::default()));
    }
}

/// Each on a connection of its own: what the upstream does, and what becomes of the client.
#[test]
fn a_failed_exchange_is_laid_at_the_door_of_who_broke_it() {
    type Breaks = fn(&mut Script, u64);
    let cases: [(&str, Breaks); 7] = [
        ("client", |script, client| {
            let upstream = script.connected(2, ORDERS);
            script.writes(2, upstream, get("/orders"));
            script.turns(9, client, TcpState::Established, TcpState::CloseWait);
            script.gateway_closes(9, upstream);
            script.turns_with(9, client, TcpState::CloseWait, TcpState::LastAck, true);
        }),
        ("upstream", |script, client| {
            let upstream = script.connected(2, ORDERS);
            script.writes(2, upstream, get("/orders"));
            script.reads_end(5, upstream);
            script.gateway_closes(5, upstream);
            script.writes(5, client, answer(502, ""));
        }),
        ("upstream", |script, client| {
            let upstream = script.connects(2, ORDERS);
            script.refuses(3, upstream);
            script.writes(3, client, answer(502, ""));
        }),
        ("upstream", |script, client| {
            let upstream = script.connected(2, ORDERS);
            script.writes(2, upstream, get("/orders"));
            script.reads(5, upstream, answer(503, "x"));
            script.writes(5, client, answer(503, "x"));
        }),
        ("network", |script, client| {
            let upstream = script.connects(2, ORDERS);
            script.turns(3002, upstream, TcpState::SynSent, TcpState::Close);
            script.writes(3002, client, answer(504, ""));
        }),
        ("gateway", |script, client| script.writes(5, client, answer(500, ""))),
        ("none", |script, client| {
            let upstream = script.connected(2, ORDERS);
            script.writes(2, upstream, get("/orders"));
            script.reads(5, upstream, answer(404, ""));
            script.writes(5, client, answer(404, ""));
        }),
    ];
    for (by, breaks) in cases {
        let mut script = Script::new();
        let client = script.accepts(1);
        script.reads(1, client, get("/orders"));
        breaks(&mut script, client);
        let page = script.page(Default::default());
        let failures: Vec<&str> = page.lines().filter(|line| line.starts_with("observer_failures_total{")).collect();
        let expected = format!("observer_failures_total{{by=\"{by}\",service=\"orders\"}} 1");
        assert_eq!(failures, if by == "none" { vec![] } else { vec![expected.as_str()] });
    }
}
