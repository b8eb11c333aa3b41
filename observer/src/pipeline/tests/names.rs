//! Name servers' answers on their way to the service, and requests that have none.

use super::script::{GATEWAY, MASTER, Script, WORKER, answer, get};
use crate::dns;
use crate::event::{Datagram, Event, ProcessChange};
use crate::pipeline::Options;

const ORDERS: [u8; 4] = [10, 1, 0, 1];
const CONFIG: &str = "services: [{name: orders, host: orders.test, port: 8080}]";

fn gateway(config: &str, options: Options) -> Script {
    let mut script = Script::with(config, options);
    script.starts(MASTER, "nginx", GATEWAY);
    script.process(0, WORKER, ProcessChange::Forked { parent: MASTER });
    script
}

fn hears(script: &mut Script, network: u32, sample: &[u8]) {
    let datagram = Datagram { time_ns: 0, socket: 99, sequence: 0, process: WORKER, thread: WORKER, network, sample };
    script.handle(&Event::Datagram(datagram));
}

fn proxies(script: &mut Script, at_ms: u64) {
    let client = script.accepts(at_ms);
    script.reads(at_ms, client, get("/x"));
    let upstream = script.connected(at_ms + 1, "10.1.0.1:8080");
    script.writes(at_ms + 1, upstream, get("/x"));
    script.reads(at_ms + 2, upstream, answer(200, ""));
    script.writes(at_ms + 3, client, answer(200, ""));
}

fn services(script: &Script) -> Vec<String> {
    script.told().iter().map(|line| line.split(',').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn an_answer_in_a_datagram_tells_whose_an_address_is_in_that_network() {
    let mut script = gateway(CONFIG, Options::default());
    hears(&mut script, 2, &dns::an_address("orders.test", ORDERS));
    proxies(&mut script, 1);
    assert_eq!(services(&script), ["x: 200 x1"], "another network's answer says nothing here");
    hears(&mut script, 1, b"no answer");
    hears(&mut script, 1, &dns::an_address("Orders.test", ORDERS));
    proxies(&mut script, 10);
    assert_eq!(services(&script), ["orders: 200 x1", "x: 200 x1"]);
}

#[test]
fn an_answer_over_tcp_does_too_and_its_connection_is_no_upstream() {
    let mut script = gateway(CONFIG, Options::default());
    let client = script.accepts(1);
    script.reads(1, client, get("/x"));
    let name_server = script.connected(2, "10.0.0.53:53");
    let query = dns::query(7, "orders.test", dns::Question::A).unwrap();
    script.writes(2, name_server, [&[0, query.len() as u8][..], &query].concat());
    let message = dns::an_address("orders.test", ORDERS);
    script.reads(3, name_server, [0, message.len() as u8]);
    script.reads(4, name_server, &message[..20]);
    script.reads(5, name_server, &message[20..]);
    script.gateway_closes(6, name_server);
    assert!(script.pipeline.tracking.name_servers.is_idle());
    let upstream = script.connected(6, "10.1.0.1:8080");
    script.writes(6, upstream, get("/x"));
    script.reads(7, upstream, answer(200, ""));
    script.writes(8, client, answer(200, ""));
    assert_eq!(script.told(), ["orders: 200 x1, 28+38 bytes, 6+1=7 ms"]);
}

#[test]
fn requests_to_ignored_ports_count_as_connections_and_requests_of_the_gateway_only() {
    for options in [
        Options { ignored_ports: vec![80], ..Options::default() },
        Options { admin_ports: vec![80], ..Options::default() },
        Options { ignored_ports: vec![80], counts_unmatched: true, ..Options::default() },
    ] {
        let mut script = gateway(CONFIG, options);
        proxies(&mut script, 1);
        let client = script.accepts(10);
        script.reads(10, client, "GET / HTTP/1.1\r\nHo");
        script.peer_closes(11, client);
        assert_eq!(script.told(), ["filtered: ignored_port x2"]);
        assert_eq!(script.gauge(), [1, 0, 0, 1]);
        assert_eq!(script.value("kong_nginx_http_current_connections{state=\"total\"}"), Some(2));
    }
}

#[test]
fn requests_without_a_service_count_under_an_empty_name_when_asked_to() {
    let mut script = gateway(CONFIG, Options { counts_unmatched: true, ..Options::default() });
    let client = script.accepts(1);
    script.reads(1, client, get("/none"));
    script.writes(4, client, answer(404, ""));
    assert_eq!(script.told(), [": 404 x1, 31+38 bytes, 3+-=3 ms", "unattributed: 404 x1"]);
    assert_eq!(script.value("observer_exchanges_counted_total"), Some(1));
}
