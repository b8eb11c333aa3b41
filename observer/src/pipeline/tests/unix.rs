//! UNIX sockets: no state changes tell of their end.

use super::script::{Script, WORKER, answer, get};
use crate::event::{Cookie, Endpoint, Origin, ProcessChange, Role};
use crate::pipeline::UNIX_CONNECTIONS_MAX;

const CLOSING: &str = "GET / HTTP/1.0\r\nHost: x\r\nConnection: close\r\n\r\n";

fn upstream(script: &mut Script, at: u64) -> Cookie {
    let path = Endpoint::Unix(b"/run/app.sock"[..].into());
    script.opened(at, Role::Upstream, Origin::Midway, Endpoint::Unix([].into()), path)
}

fn client(script: &mut Script, at: u64) -> Cookie {
    let path = Endpoint::Unix(b"/run/gateway.sock"[..].into());
    script.opened(at, Role::Client, Origin::Midway, path, Endpoint::Unix([].into()))
}

#[test]
fn an_upstream_connection_is_forgotten_with_its_last_exchange_or_its_stream() {
    let mut script = Script::new();
    let once = upstream(&mut script, 1);
    script.writes(1, once, CLOSING);
    script.reads(2, once, answer(200, ""));
    assert!(!script.pipeline.tracking.connections.contains_key(&once));

    let kept = upstream(&mut script, 3);
    script.writes(3, kept, get("/"));
    script.reads(4, kept, answer(200, ""));
    assert!(script.pipeline.tracking.connections.contains_key(&kept));
    script.reads_end(5, kept);
    assert!(script.pipeline.tracking.connections.is_empty());
}

#[test]
fn the_oldest_idle_connections_make_room_for_new_ones() {
    let mut script = Script::new();
    let busy = upstream(&mut script, 1);
    script.writes(1, busy, get("/"));
    let idle = upstream(&mut script, 1);
    let mut newest = idle;
    for _ in 0..UNIX_CONNECTIONS_MAX {
        newest = upstream(&mut script, 2);
        assert!(script.pipeline.tracking.connections.len() <= UNIX_CONNECTIONS_MAX);
    }
    let is_kept = |socket| script.pipeline.tracking.connections.contains_key(&socket);
    assert_eq!([busy, idle, newest].map(is_kept), [true, false, true]);
}

#[test]
fn connections_that_are_gone_take_no_room() {
    let mut script = Script::new();
    let idle = upstream(&mut script, 1);
    for _ in 0..2 * UNIX_CONNECTIONS_MAX {
        let once = upstream(&mut script, 1);
        script.reads_end(1, once);
    }
    assert!(script.pipeline.tracking.connections.contains_key(&idle));
    assert!(script.pipeline.tracking.unix.len() <= UNIX_CONNECTIONS_MAX);
}

#[test]
fn connections_of_a_process_that_ended_are_gone() {
    let mut script = Script::new();
    let (asking, asked) = (client(&mut script, 1), upstream(&mut script, 1));
    script.reads(1, asking, get("/orders"));
    script.writes(1, asked, get("/"));
    script.process(2, WORKER, ProcessChange::Exited);
    assert!(script.pipeline.tracking.connections.is_empty());
    assert_eq!(script.gauge(), [1, 0, 1, 0], "nginx's shared counters keep what a killed worker had under way");
    assert_eq!(script.told(), ["unobserved: process_ended x1"]);
}

#[test]
fn a_clients_connection_ends_with_its_stream_or_its_last_answer() {
    let mut script = Script::new();
    let kept = client(&mut script, 1);
    script.reads(1, kept, get("/orders"));
    script.writes(3, kept, answer(200, ""));
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
    script.reads_end(5, kept);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);

    let once = client(&mut script, 6);
    script.reads(6, once, "GET /orders HTTP/1.0\r\n\r\n");
    script.writes(8, once, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
    assert_eq!(script.told(), ["orders: 200 x2, 57+95 bytes, 4+-=4 ms"]);
}

#[test]
fn a_client_that_goes_unanswered_is_a_499() {
    let mut script = Script::new();
    let gone = client(&mut script, 1);
    script.reads(1, gone, get("/orders"));
    script.reads_end(5, gone);
    assert_eq!(script.told(), ["orders: 499 x1, 33+0 bytes, 4+-=4 ms", "inferred: client_closed_waiting x1"]);
}
