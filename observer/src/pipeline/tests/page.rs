//! The reference page, made of events.

use super::script::{Script, answer, get, padded};
use crate::event::{Event, TcpState};
use crate::exposition::text;
use crate::pipeline::Options;

const CONFIG: &str = "
services:
- {name: google, url: 'http://216.58.1.1:80', routes: [{hosts: [google.test]}]}
";
const GOOGLE: &str = "216.58.1.1:80";

/// One of the page's requests: it takes the gateway `before` ms to connect, and `after` ms more than the upstream's
/// `waited` to have written everything.
fn redirected(script: &mut Script, at: u64, [before, waited, after]: [u64; 3], bytes: usize) {
    let client = script.accepts(at);
    script.reads(at, client, padded("GET / HTTP/1.1\r\nHost: google.test\r\n\r\n", 127));
    let upstream = script.connects(at + before, GOOGLE);
    script.turns(at + before + 9, upstream, TcpState::SynSent, TcpState::Established);
    script.writes(at + before + 9, upstream, get("/"));
    let answered = at + before + waited;
    let head = padded("HTTP/1.1 301 Moved Permanently\r\nContent-Length: 219\r\n\r\n", bytes - 219);
    script.reads(answered, upstream, &head);
    script.writes(answered, client, &head);
    script.reads(answered + after, upstream, "x".repeat(219));
    script.writes(answered + after, client, "x".repeat(219));
    script.gateway_closes(answered + after, upstream);
    script.peer_closes(answered + after, client);
}

/// 127 + 127 bytes in, 638 + 639 out; kong 1 + 2144 ms, upstream 263 + 264 ms. Of the page's eight connections and
/// requests two are these, five are for no route, and the last is still being answered.
#[test]
fn the_documented_requests_print_the_documented_page_from_their_events_on() {
    let options = Options { datastore: Some("10.0.0.5:5432".parse().unwrap()), ..Options::default() };
    let mut script = Script::with(CONFIG, options);
    script.starts(super::script::MASTER, "kong", super::script::GATEWAY);
    let change = crate::event::ProcessChange::Forked { parent: super::script::MASTER };
    script.process(0, super::script::WORKER, change);
    script.connected(1, "10.0.0.5:5432");

    redirected(&mut script, 1000, [1, 263, 0], 638);
    redirected(&mut script, 5000, [2100, 264, 44], 639);
    for number in 0..5 {
        let client = script.accepts(20_000 + number);
        script.reads(20_000 + number, client, get("/nothing"));
        script.writes(20_001 + number, client, answer(404, ""));
        script.peer_closes(20_002 + number, client);
    }
    let client = script.accepts(30_000);
    script.reads(30_000, client, get("/metrics"));
    script.handle(&Event::Tick(30_001));

    let page = script.page(text::Options { own_metrics: false, ..text::Options::default() });
    assert_eq!(page, include_str!("../../exposition/page.txt"));
    assert_eq!(script.value("observer_unattributed_requests_total{code=\"404\"}"), Some(5));
    assert_eq!(script.value("observer_gateways"), Some(1));
}
