//! What is enabled is counted, and nothing else.

use std::sync::Arc;

use super::script::{Script, answer, get};
use crate::event::Cookie;
use crate::pipeline::Enabled;

const DISABLED: &str = "observer_exchanges_filtered_total{reason=\"disabled\"}";
const ORDERS_OK: &str = "kong_http_status{code=\"200\",service=\"orders\"}";

fn exchange(script: &mut Script, client: Cookie, at: u64, path: &str) {
    script.reads(at, client, get(path));
    script.writes(at + 1, client, answer(200, ""));
}

#[test]
fn nothing_is_counted_while_disabled_and_then_it_goes_on_from_the_old_values() {
    let mut script = Script::new();
    let client = script.accepts(1);
    exchange(&mut script, client, 2, "/orders");
    script.has_events_only = false;
    script.pipeline.counting.enable(Enabled { everywhere: false, services: Default::default() });
    exchange(&mut script, client, 4, "/orders");
    exchange(&mut script, client, 6, "/nowhere");
    assert_eq!((script.value(ORDERS_OK), script.value(DISABLED)), (Some(1), Some(2)));
    assert_eq!(script.value("observer_unattributed_requests_total{code=\"200\"}"), None);
    script.pipeline.counting.enable(Enabled::default());
    exchange(&mut script, client, 8, "/orders");
    assert_eq!((script.value(ORDERS_OK), script.value(DISABLED)), (Some(2), Some(2)));
    // Connections are not the plugin's to count: they go on.
    assert_eq!(script.gauge(), [1, 0, 0, 1]);
    assert_eq!(script.value("kong_nginx_http_current_connections{state=\"total\"}"), Some(4));
}

#[test]
fn one_service_is_counted_alone() {
    let mut script = Script::new();
    script.has_events_only = false;
    script
        .pipeline
        .counting
        .enable(Enabled { everywhere: false, services: [Arc::from("orders")].into_iter().collect() });
    let client = script.accepts(1);
    exchange(&mut script, client, 2, "/orders");
    exchange(&mut script, client, 4, "/users");
    assert_eq!((script.value(ORDERS_OK), script.value(DISABLED)), (Some(1), Some(1)));
    assert_eq!(script.value("kong_http_status{code=\"200\",service=\"users\"}"), None);
    assert_eq!(script.value("kong_http_status_total{code=\"200\"}"), Some(1));
}
