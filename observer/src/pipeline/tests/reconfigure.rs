//! Another configuration between two events.

use super::script::{ORDERS, Script, answer, get};
use crate::attribution::Attribution;
use crate::config::Config;
use crate::event::{Event, Resolved};
use crate::pipeline::{Following, Reconfiguration};

fn reconfigure(script: &mut Script, config: &str) {
    let config = Config::parse_own("observer.yml", config).unwrap();
    let attribution = Attribution::new(&config);
    script.has_events_only = false;
    script.pipeline.reconfigure(Reconfiguration {
        attribution,
        datastore: config.datastore,
        admin_ports: config.admin_ports,
        services: Vec::new(),
    });
}

#[test]
fn an_exchange_under_way_belongs_to_the_new_service_and_no_count_is_lost() {
    let mut script = Script::new();
    let client = script.accepts(1);
    for at in [10, 110] {
        script.reads(at, client, get("/orders/1"));
        let upstream = script.connected(at + 1, ORDERS);
        script.writes(at + 1, upstream, get("/orders/1"));
        if at == 110 {
            reconfigure(&mut script, "services: [{name: renamed, url: 'http://10.1.0.1:8080'}]");
        }
        script.reads(at + 11, upstream, answer(200, ""));
        script.writes(at + 12, client, answer(200, ""));
    }
    let told: Vec<String> = script.told().iter().map(|line| line.split(',').next().unwrap().to_owned()).collect();
    assert_eq!(told, ["orders: 200 x1", "renamed: 200 x1"]);
}

#[test]
fn what_a_name_resolved_to_is_taken_over() {
    let mut script = Script::new();
    reconfigure(&mut script, "services: [{name: one, host: orders.test, port: 8080}]");
    let resolved =
        Resolved { time_ns: 0, name: "orders.test".into(), network: 0, addresses: vec!["10.1.0.1".parse().unwrap()] };
    script.handle(&Event::Resolved(resolved));
    reconfigure(&mut script, "services: [{name: two, host: orders.test, port: 8080}]");
    let client = script.accepts(1);
    script.reads(1, client, get("/x"));
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, get("/x"));
    script.reads(12, upstream, answer(200, ""));
    script.writes(13, client, answer(200, ""));
    assert_eq!(script.value("kong_http_status{code=\"200\",service=\"two\"}"), Some(1));
}

#[test]
fn a_datastore_that_is_new_is_reachable_if_a_connection_to_it_is_open() {
    let mut script = Script::new();
    script.connected(1, "10.0.0.5:5432");
    for (datastore, expected) in
        [("datastore: 10.0.0.5:5432", Some(1)), ("datastore: 10.0.0.6:5432", Some(0)), ("services: []", None)]
    {
        reconfigure(&mut script, datastore);
        script.pipeline.publish();
        assert_eq!(script.value("kong_datastore_reachable"), expected, "{datastore}");
    }
}
