//! What Kong 3's families want to know besides: the route, and who answered.

use super::script::{MASTER, ORDERS, Script, WORKER, answer, get};
use crate::attribution::Attribution;
use crate::config::Config;
use crate::event::ProcessChange;
use crate::exposition::text;
use crate::metrics::{self, Dialect, Metrics, Switches};
use crate::pipeline::{Options, Pipeline};

const CONFIG: &str = "
services:
- name: orders
  url: http://10.1.0.1:8080
  routes: [{name: all-orders, paths: [/orders]}]
";

fn speaking(switches: Switches) -> Script {
    let attribution = Attribution::new(&Config::parse_own("observer.yml", CONFIG).unwrap());
    let metrics = Metrics::new(metrics::Options { today: Some(switches), ..metrics::Options::default() });
    let mut script = Script::with(CONFIG, Options::default());
    script.has_events_only = false;
    script.pipeline = Pipeline::new(Options::default(), attribution, metrics);
    script.starts(MASTER, "nginx", super::script::GATEWAY);
    script.process(0, WORKER, ProcessChange::Forked { parent: MASTER });
    script
}

fn page(script: &Script) -> String {
    script.page(text::Options { own_metrics: false, dialect: Dialect::Today, ..text::Options::default() })
}

#[test]
fn the_consumer_is_whom_kong_names_to_the_upstream() {
    for (switches, expected) in [(Switches::ALL, "ann"), (Switches::FAMILIES, "")] {
        let mut script = speaking(switches);
        let client = script.accepts(1);
        // What the client says of itself is no matter.
        script.reads(1, client, "GET /orders/1 HTTP/1.1\r\nHost: gw\r\nX-Consumer-Username: eve\r\n\r\n");
        let upstream = script.connected(2, ORDERS);
        script.writes(2, upstream, "GET /orders/1 HTTP/1.1\r\nHost: gw\r\nx-consumer-username: ann\r\n\r\n");
        script.reads(8, upstream, answer(200, ""));
        script.writes(9, client, answer(200, ""));
        let page = page(&script);
        let label = format!("source=\"service\",workspace=\"default\",consumer=\"{expected}\"}} 1");
        assert!(page.contains(&label), "{label} in\n{page}");
        assert!(!page.contains("eve"), "{page}");
    }
}

#[test]
fn routes_and_sources_are_told() {
    let mut script = speaking(Switches::ALL);
    let client = script.accepts(1);
    script.reads(1, client, get("/orders/1"));
    let upstream = script.connected(2, ORDERS);
    script.writes(2, upstream, get("/orders/1"));
    script.reads(8, upstream, answer(503, ""));
    script.writes(9, client, answer(503, ""));
    // The gateway's own.
    script.reads(10, client, get("/orders/2"));
    script.writes(11, client, answer(503, ""));

    let page = page(&script);
    for source in ["service", "kong"] {
        let line = format!(
            "kong_http_requests_total{{service=\"orders\",route=\"all-orders\",code=\"503\",source=\"{source}\",\
             workspace=\"default\",consumer=\"\"}} 1"
        );
        assert!(page.lines().any(|found| found == line), "{line} in\n{page}");
    }
}
