//! Bodies that the gateway reads, or does not, for an answer of its own.

use super::script::{Script, USERS, answer, get};
use crate::event::TcpState;

fn post(framing: &str) -> String {
    format!("POST /orders HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n")
}

/// A body that is thrown away is answered at once, whether or not it has come.
#[test]
fn a_body_that_was_waited_for_was_read_by_a_handler() {
    let head = post("Content-Length: 5");
    for (later, ingress) in [(50, head.len() + 5), (10, head.len())] {
        let mut script = Script::new();
        let client = script.accepts(1);
        script.reads(1, client, &head);
        script.reads(1 + later, client, "abcde");
        script.writes(61, client, answer(201, ""));
        assert_eq!(script.told()[0], format!("orders: 201 x1, {ingress}+38 bytes, 60+-=60 ms"));
        let uses = |series: &str| script.value(series).unwrap_or(0);
        assert_eq!(uses("observer_inferred_total{rule=\"body_read_by_handler\"}"), u64::from(later > 10));
        assert_eq!(uses("observer_uncertain_total{reason=\"discarded_body\"}"), u64::from(later == 10));
    }
}

/// nginx looks at the length of chunks as it reads them, and takes nothing back of a call in which they become too long.
#[test]
fn of_chunks_that_become_too_large_all_counts_that_was_read_with_them() {
    let (head, body) = (post("Transfer-Encoding: chunked"), format!("1388\r\n{}\r\n0\r\n\r\n", "x".repeat(5_000)));
    let mut script = Script::new();
    let client = script.accepts(1);
    script.reads(1, client, &head);
    script.reads(1, client, body.clone() + &get("/orders"));
    script.writes(2, client, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    script.gateway_closes(3, client);
    let ingress = head.len() + body.len() + get("/orders").len();
    assert_eq!(script.told()[0], format!("orders: 413 x1, {ingress}+64 bytes, 2+-=2 ms"));
}

/// The gateway asks for leave, and has read no more of the body than came with the head.
#[test]
fn a_client_that_goes_while_leave_is_asked_for_did_not_go_within_its_body() {
    let head = post("Content-Length: 5000");
    for (is_end_read, status, ingress) in [(false, 499, head.len()), (true, 400, head.len() + 100)] {
        let mut script = Script::new();
        let client = script.accepts(1);
        script.reads(1, client, head.clone() + &"x".repeat(100));
        let leave = script.connected(2, USERS);
        script.writes(2, leave, get("/leave"));
        script.turns(40, client, TcpState::Established, TcpState::CloseWait);
        if is_end_read {
            script.reads_end(40, client);
        }
        script.gateway_closes(40, leave);
        script.turns_with(40, client, TcpState::CloseWait, TcpState::LastAck, true);
        let told = script.told().into_iter().find(|line| line.contains(" bytes, ")).unwrap();
        assert!(told.contains(&format!(": {status} x1, {ingress}+0 bytes")), "{told}");
    }
}
