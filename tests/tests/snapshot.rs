//! The numbers as JSON, beside those of a scrape.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Request, Upstream};
use serde_json::Value;

/// What a snapshot says, under the keys of a scrape.
fn as_series(snapshot: &Value) -> Result<BTreeMap<String, f64>> {
    let mut series = BTreeMap::new();
    let mut put = |key: String, value: &Value| -> Result<()> {
        series.insert(key, value.as_f64().context("a number")?);
        Ok(())
    };
    for service in snapshot["services"].as_array().context("services")? {
        let name = service["name"].as_str().context("a name")?;
        for (code, count) in service["codes"].as_object().context("codes")? {
            put(format!("kong_http_status{{code=\"{code}\",service=\"{name}\"}}"), count)?;
        }
        for (way, bytes) in service["bandwidth"].as_object().context("bandwidth")? {
            put(format!("kong_bandwidth{{type=\"{way}\",service=\"{name}\"}}"), bytes)?;
        }
        for (kind, histogram) in service["latency"].as_object().context("latency")? {
            let labels = format!("type=\"{kind}\",service=\"{name}\"");
            let bounds = snapshot["latency_bounds_ms"].as_array().context("bounds")?;
            let bounds = bounds.iter().map(|bound| format!("{:07.1}", bound.as_f64().unwrap_or(f64::NAN)));
            let buckets = histogram["buckets"].as_array().context("buckets")?;
            for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(buckets) {
                put(format!("kong_latency_bucket{{{labels},le=\"{bound}\"}}"), count)?;
            }
            put(format!("kong_latency_count{{{labels}}}"), &histogram["count"])?;
            put(format!("kong_latency_sum{{{labels}}}"), &histogram["sum"])?;
        }
        for target in service["targets"].as_array().context("targets")? {
            let address = target["target"].as_str().context("an address")?;
            for (code, count) in target["codes"].as_object().context("codes")? {
                let labels = format!("code=\"{code}\",service=\"{name}\",target=\"{address}\"");
                put(format!("observer_upstream_requests_total{{{labels}}}"), count)?;
            }
        }
    }
    for (state, count) in snapshot["connections"].as_object().context("connections")? {
        put(format!("kong_nginx_http_current_connections{{state=\"{state}\"}}"), count)?;
    }
    for (code, count) in snapshot["unattributed"].as_object().context("unattributed")? {
        put(format!("observer_unattributed_requests_total{{code=\"{code}\"}}"), count)?;
    }
    for (reason, count) in snapshot["loss"]["filtered"].as_object().context("filtered")? {
        put(format!("observer_exchanges_filtered_total{{reason=\"{reason}\"}}"), count)?;
    }
    put("kong_nginx_metric_errors_total".to_owned(), &snapshot["loss"]["errors"])?;
    Ok(series)
}

const FAMILIES: [&str; 9] = [
    "kong_http_status",
    "kong_bandwidth",
    "kong_latency_bucket",
    "kong_latency_count",
    "kong_latency_sum",
    "observer_upstream_requests_total",
    "kong_nginx_http_current_connections",
    "observer_unattributed_requests_total",
    "observer_exchanges_filtered_total",
];

fn scraped(scrape: &Exposition) -> BTreeMap<String, f64> {
    let families = FAMILIES.into_iter().chain(["kong_nginx_metric_errors_total"]);
    families.flat_map(|family| scrape.family(family)).map(|(key, value)| (key.to_owned(), value)).collect()
}

#[test]
fn a_snapshot_has_the_numbers_of_a_scrape_whatever_dialect_is_spoken() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?
        .service("alpha", upstream.address())
        .service("beta", upstream.address())
        .location("/own", "return 404;")
        .start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let today = Agent::start(&[nginx.selector()], &["--dialect", "3"])?;
    let mut client = Client::connect(nginx.address())?;
    let paths = ["/alpha/", "/alpha/bytes/100000", "/alpha/status/503", "/beta/delay/30", "/beta/", "/own", "/own"];
    for path in paths {
        client.exchange(&Request::get(path))?;
    }
    let scrape = agent.scrape_when(|now| {
        now.sum("observer_exchanges_counted_total") + now.sum("observer_exchanges_filtered_total") >= paths.len() as f64
    })?;
    let answer = agent.get("/snapshot")?;
    assert_eq!(answer.status, 200);
    let snapshot: Value = serde_json::from_slice(&answer.body)?;
    let mut told = as_series(&snapshot)?;
    // A scrape leaves out what is still 0, save for gauges and errors.
    let expected = scraped(&scrape);
    told.retain(|key, value| *value != 0.0 || expected.contains_key(key));
    assert_eq!(told, expected);
    assert_eq!(snapshot["unattributed"]["404"], 2, "{snapshot}");
    assert_eq!(snapshot["services"].as_array().map(Vec::len), Some(2), "{snapshot}");
    let gateway = &snapshot["gateways"][0];
    assert_eq!((&gateway["name"], snapshot["gateways"].as_array().map(Vec::len)), (&"nginx".into(), Some(1)));
    assert!(snapshot["observer"]["resident_bytes"].as_u64() > Some(1 << 20), "{snapshot}");

    // The other agent saw the same traffic, but for milliseconds.
    today.scrape_when(|now| now.sum("observer_exchanges_counted_total") >= 5.0)?;
    let other: Value = serde_json::from_slice(&today.get("/snapshot")?.body)?;
    let codes = |snapshot: &Value| {
        let services = snapshot["services"].as_array().cloned().unwrap_or_default();
        services.iter().map(|service| (service["codes"].clone(), service["bandwidth"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(codes(&other), codes(&snapshot));
    Ok(())
}
