//! Gateways that begin, end, and talk to each other.

use super::script::{GATEWAY, MASTER, ORDERS, Script, WORKER, answer, get, ip};
use crate::event::{Endpoint, Origin, ProcessChange, Role, TcpState};
use crate::pipeline::{Following, Options};

/// A second nginx, the upstream of the first.
const BACKEND: &str = "10.1.0.1:8080";

#[test]
fn exchanges_between_observed_gateways_are_counted_apart() {
    let mut script = Script::new();
    script.starts(50, "nginx", BACKEND);
    let client = script.accepts(1);
    script.reads(1, client, get("/orders"));
    let upstream = script.connected(2, BACKEND);
    let accepted = script.accepts_from(2, BACKEND, &format!("10.0.0.1:{}", 40_000 + upstream));
    assert_eq!(script.gauge(), [1, 0, 1, 0], "the connection between them is no client's");
    script.writes(2, upstream, get("/orders"));
    script.thread = 50;
    script.reads(3, accepted, get("/orders"));
    script.writes(7, accepted, answer(200, ""));
    script.thread = WORKER;
    script.reads(8, upstream, answer(200, ""));
    script.writes(9, client, answer(200, ""));
    assert_eq!(script.told(), ["orders: 200 x1, 33+38 bytes, 2+6=8 ms", "filtered: internal x1"]);
    assert_eq!(script.value("observer_internal_requests_total"), Some(1));
    script.gateway_closes(10, upstream);
    script.peer_closes(10, accepted);
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
}

/// A scan lists the ends in any order.
#[test]
fn a_connection_that_was_found_before_its_other_end_is_internal_all_the_same() {
    let mut script = Script::new();
    script.starts(50, "nginx", BACKEND);
    script.thread = 50;
    let accepted = script.opened(1, Role::Client, Origin::Scan, ip(BACKEND), ip("10.0.0.1:40001"));
    script.thread = WORKER;
    script.opened(1, Role::Upstream, Origin::Scan, ip("10.0.0.1:40001"), ip(BACKEND));
    script.thread = 50;
    script.reads(3, accepted, get("/orders"));
    script.writes(7, accepted, answer(200, ""));
    assert_eq!(script.told(), ["filtered: internal x1"]);
    assert_eq!(script.gauge(), [0, 0, 0, 0]);
}

#[test]
fn a_worker_that_ends_takes_its_open_exchanges_along() {
    let mut script = Script::new();
    let (asking, idle) = (script.accepts(1), script.accepts(1));
    script.reads(2, asking, get("/orders"));
    let upstream = script.connected(3, ORDERS);
    script.writes(3, upstream, get("/orders"));
    script.process(4, WORKER, ProcessChange::Exited);
    assert_eq!(script.told(), ["unobserved: process_ended x1"]);
    for socket in [asking, idle, upstream] {
        script.turns_with(5, socket, TcpState::Established, TcpState::Close, true);
    }
    // As nginx's shared counters do, the gauge keeps what the worker had under way.
    assert_eq!(script.gauge(), [1, 0, 1, 0]);
    assert_eq!(script.told(), ["unobserved: process_ended x1"]);
    assert!(script.pipeline.tracking.connections.is_empty());
}

#[test]
fn a_gateway_that_starts_again_is_observed_again() {
    let mut script = Script::new();
    let listener = script.starts(20, "kong", "10.0.0.2:8000");
    assert_eq!(script.pipeline.counting.gateways(), 2);
    script.process(5, 20, ProcessChange::Exited);
    script.turns(5, listener, TcpState::Listen, TcpState::Close);
    assert_eq!(script.pipeline.counting.gateways(), 1);
    let refused = script.accepts_from(6, "10.0.0.2:8000", "10.0.0.7:1000");
    script.process(7, 21, ProcessChange::Executed { name: "kong".into(), watched: true });
    script.thread = 21;
    script.opened(7, Role::Listener, Origin::Beginning, ip("10.0.0.2:8000"), ip("0.0.0.0:0"));
    assert_eq!(script.pipeline.counting.gateways(), 2);
    let client = script.accepts_from(8, "10.0.0.2:8000", "10.0.0.7:1001");
    script.reads(9, client, get("/orders"));
    script.writes(10, client, answer(200, ""));
    assert_eq!(script.told(), ["orders: 200 x1, 33+38 bytes, 1+-=1 ms"]);
    assert!(!script.pipeline.tracking.connections.contains_key(&refused), "nobody listened there");
}

#[test]
fn gateways_are_told_apart_when_asked_to() {
    let options = Options { per_gateway_label: true, ..Options::default() };
    let config = "services: [{name: orders, url: 'http://10.1.0.1:8080', routes: [{paths: [/orders]}]}]";
    let mut script = Script::with(config, options);
    script.starts(MASTER, "nginx", GATEWAY);
    script.starts(20, "kong", "10.0.0.2:8000");
    for (process, address, requests) in [(MASTER, GATEWAY, 1), (20, "10.0.0.2:8000", 2)] {
        script.thread = process;
        let client = script.accepts_from(1, address, &format!("10.0.0.7:{process}"));
        for _ in 0..requests {
            script.reads(2, client, get("/orders"));
            script.writes(3, client, answer(200, ""));
        }
    }
    script.pipeline.publish();
    for (gateway, requests) in [("nginx", 1), ("kong", 2)] {
        let status = format!("kong_http_status{{code=\"200\",service=\"orders\",gateway=\"{gateway}\"}}");
        assert_eq!(script.value(&status), Some(requests));
        let total = format!("kong_nginx_http_current_connections{{state=\"total\",gateway=\"{gateway}\"}}");
        assert_eq!(script.value(&total), Some(requests));
    }
}

#[test]
fn connections_that_a_scan_found_are_open_but_not_accepted() {
    let mut script = Script::new();
    script.opened(1, Role::Client, Origin::Scan, ip(GATEWAY), ip("10.0.0.7:1"));
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
    assert_eq!(script.value("kong_nginx_http_current_connections{state=\"accepted\"}"), Some(0));
}

#[test]
fn connections_of_processes_that_are_no_gateway_are_none_of_ours() {
    let mut script = Script::new();
    script.thread = 999;
    let foreign = script.connects(1, ORDERS);
    script.writes(2, foreign, get("/orders"));
    let unix = Endpoint::Unix(b"/run/x"[..].into());
    script.opened(3, Role::Upstream, Origin::Midway, Endpoint::Unix([].into()), unix);
    assert!(script.pipeline.tracking.connections.is_empty());
    assert_eq!(script.told(), [""; 0]);
}
