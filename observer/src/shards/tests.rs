//! What several threads count is what one counts, whatever moves between them. Each script of the pipeline's tests compares
//! the two besides.

use super::*;
use crate::attribution::Attribution;
use crate::config::Config;
use crate::event::{Origin, ProcessChange, Remaining, Role, TcpState};
use crate::exposition::text;
use crate::metrics::{self, Metrics};
use crate::pipeline::tests::script::{MASTER, ORDERS, Script, USERS, answer, get, ip};

impl Shards {
    /// Every few events are sent out, so that few are enough to show what goes wrong.
    pub(crate) fn in_small_batches(counting: Counting, threads: usize) -> Self {
        let shards = Shards::start(counting, threads, || {}).unwrap();
        Shards { pace: Pace { batch: 5, few: 0 }, ..shards }
    }
}

/// A master and so many workers, numbered from 11.
fn gateway(workers: u32) -> Script {
    let mut script = Script::new();
    for worker in 1..workers {
        script.process(0, 11 + worker, ProcessChange::Forked { parent: MASTER });
    }
    script
}

fn exchange(script: &mut Script, worker: u32, client: u64, upstream: u64, at_ms: u64) {
    script.thread = worker;
    script.reads(at_ms, client, get("/orders"));
    script.writes(at_ms, upstream, get("/orders"));
    script.reads(at_ms + 1, upstream, answer(200, "a"));
    script.writes(at_ms + 1, client, answer(200, "a"));
}

#[test]
fn workers_whose_calls_mingle_are_followed_by_several() {
    let mut script = gateway(4);
    let mut connections = Vec::new();
    for worker in 11..15 {
        let client = script.accepts(1);
        script.thread = worker;
        let upstream = script.connected(1, ORDERS);
        connections.push((worker, client, upstream));
    }
    for (worker, client, upstream) in connections.repeat(10) {
        exchange(&mut script, worker, client, upstream, 5);
    }
    assert_eq!(script.value("kong_http_status{code=\"200\",service=\"orders\"}"), Some(40));
    assert_eq!(script.value("observer_pairs_total{evidence=\"thread_order\"}"), Some(40));
}

#[test]
fn a_connection_that_is_closed_in_the_lobby_counts_as_open_before() {
    let mut script = gateway(2);
    let closed = script.accepts(1);
    script.accepts(1);
    let reset = script.accepts(1);
    assert_eq!(script.gauge(), [3, 0, 0, 3]);
    script.peer_closes(2, closed);
    script.peer_resets(2, reset);
    // What arrived before can be read all the same.
    script.thread = 12;
    script.reads(3, reset, get("/orders"));
    script.handle(&Event::Tick(301_000_000_000));
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
}

#[test]
fn what_one_worker_hands_another_counts_as_before() {
    let mut script = gateway(3);
    let (first, second) = (script.accepts(1), script.accepts(1));
    script.thread = 11;
    let upstream = script.connected(1, ORDERS);
    exchange(&mut script, 11, first, upstream, 2);
    script.thread = 12;
    let other_upstream = script.connected(1, ORDERS);
    exchange(&mut script, 12, second, other_upstream, 2);
    // The second worker asks for the first one's client, within an exchange of its own.
    script.thread = 12;
    script.reads(10, second, get("/orders"));
    exchange(&mut script, 12, first, other_upstream, 11);
    script.writes(13, upstream, get("/orders"));
    script.reads(14, upstream, answer(503, ""));
    script.writes(14, second, answer(503, ""));
    assert_eq!(script.value("kong_http_status{code=\"200\",service=\"orders\"}"), Some(3));
    assert_eq!(script.value("kong_http_status{code=\"503\",service=\"orders\"}"), Some(1));
}

#[test]
fn failures_in_a_row_have_the_order_of_all_workers_answers() {
    let mut script = gateway(4);
    let connections: Vec<_> = (11..15)
        .map(|worker| {
            let client = script.accepts(1);
            script.thread = worker;
            (worker, client, script.connected(1, USERS))
        })
        .collect();
    for (at_ms, status) in (10..).zip([200, 500, 500, 200, 500, 502, 503, 500]) {
        let (worker, client, upstream) = connections[at_ms as usize % 4];
        script.thread = worker;
        script.reads(at_ms, client, get("/users"));
        script.writes(at_ms, upstream, get("/users"));
        script.reads(at_ms, upstream, answer(status, ""));
        script.writes(at_ms, client, answer(status, ""));
    }
    let row = format!("observer_upstream_failures_in_a_row{{service=\"users\",target=\"{}\"}}", USERS);
    assert_eq!(script.value(&row), Some(4));
}

#[test]
fn a_worker_that_ends_is_told_of_to_all() {
    let mut script = gateway(3);
    let clients: Vec<_> = (11..14).map(|worker| (worker, script.accepts(1))).collect();
    for &(worker, client) in &clients {
        script.thread = worker;
        script.reads(2, client, get("/orders"));
    }
    script.process(3, 12, ProcessChange::Exited);
    for (_, client) in clients {
        script.turns_with(4, client, TcpState::Established, TcpState::FinWait, true);
        script.turns_with(4, client, TcpState::FinWait, TcpState::Close, true);
    }
    assert_eq!(script.value("observer_exchanges_unobserved_total{reason=\"process_ended\"}"), Some(1));
}

#[test]
fn another_datastore_is_known_by_the_connections_that_all_shards_have() {
    let config = |text: &str| Config::parse_own("observer.yml", text).unwrap();
    let attribution = || Attribution::new(&config("services: []"));
    let metrics = Metrics::new(metrics::Options::default());
    let counting = Counting::new(crate::pipeline::Options::default(), attribution(), metrics);
    let mut shards = Shards::in_small_batches(counting, 2);
    let mut script = gateway(2);
    script.thread = 12;
    script.opened(1, Role::Upstream, Origin::Midway, ip("10.0.0.1:4000"), ip("10.0.0.5:5432"));
    script.log().drain(|_, event| shards.handle(event));
    let datastore = Some("10.0.0.5:5432".parse().unwrap());
    let new = Reconfiguration { attribution: attribution(), datastore, services: Vec::new(), admin_ports: Vec::new() };
    shards.reconfigure(new);
    shards.publish();
    let page = text::encode(shards.counting().metrics().registry().gather(), text::Options::default());
    assert!(page.contains("\nkong_datastore_reachable 1\n"), "{page}");
}

#[test]
fn sockets_that_are_gone_without_a_close_are_forgotten() {
    let mut script = gateway(2);
    script.has_events_only = false;
    let client = script.accepts(1);
    exchange(&mut script, 12, client, client, 2);
    let counting = Counting::new(
        crate::pipeline::Options::default(),
        Attribution::new(&Config::default()),
        Metrics::new(metrics::Options::default()),
    );
    let mut shards = Shards::in_small_batches(counting, 2);
    script.log().drain(|_, event| shards.handle(event));
    let list = |time_ns, sockets| Event::Remaining(Remaining { time_ns, network: 1, range: (0, u64::MAX), sockets });
    shards.handle(&list(5_000_000_000, vec![client]));
    assert_eq!(shards.routes.sockets(), 1);
    shards.handle(&list(6_000_000_000, Vec::new()));
    shards.handle(&list(7_000_000_000, Vec::new()));
    assert_eq!((shards.routes.sockets(), shards.open_exchanges()), (0, 0));
}

#[test]
fn what_a_thread_takes_is_within_its_limit() {
    use std::mem::size_of;

    const RECORD_BYTES_MAX: usize = 64 << 10;
    const STACK_BYTES: usize = 128 << 10;
    // Of a request and its answer come begun, two moves, a pair, and its end; of a call no more than two in the mean.
    let facts = 2 * PACE.batch as usize * size_of::<(crate::pipeline::Mark, crate::pipeline::Fact)>();
    let batch = PACE.batch as usize * batch::ITEM_BYTES + BATCH_BYTES + RECORD_BYTES_MAX;
    // Vectors grow to twice what they hold.
    assert!(2 * 2 * (facts + batch) + STACK_BYTES <= THREAD_BYTES_MAX as usize, "{}", 4 * (facts + batch));
}
