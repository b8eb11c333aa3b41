//! The page at `/ui`, in a real browser: what it shows is what the metrics tell.
//!
//! Pictures of it are left in `target/tmp/ui` for a person to look at.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use observer_tests::agent_config::AgentConfig;
use observer_tests::browser::Browser;
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::ui::{IS_LIVE, grouped, open, pictures, until_counted};
use observer_tests::wait::{PATIENCE, alone, free_port, until};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, agent, traffic};
use serde_json::json;

#[test]
fn what_the_page_shows_is_what_the_metrics_tell() -> Result<()> {
    let _alone = alone()?;
    let (orders, users, gone) = (Upstream::ipv4()?, Upstream::ipv4()?, format!("127.0.0.1:{}", free_port()?));
    let nginx = Config::new()?
        .service("orders", orders.address())
        .service("users", users.address())
        .service("gone", &gone)
        .start()?;
    let config = nginx.files().join("services.yaml");
    let services = AgentConfig::new()
        .service("orders", orders.address(), "/orders/")
        .service("users", users.address(), "/users/")
        .service("gone", &gone, "/gone/");
    fs::write(&config, services.own())?;
    let agent = Agent::start(&[nginx.selector()], &["--config", config.to_str().context("a path in UTF-8")?])?;
    // A connection that stays, for the gauge.
    let mut idle = Client::connect(nginx.address())?;
    idle.exchange(&Request::get("/orders/"))?;
    agent.settled_scrape(1)?;

    let place = format!("http://{}/ui/", agent.address());
    let mut browser = open(&place)?;
    let sent = send_for(&nginx, Duration::from_secs(7))?;
    let metrics = agent.settled_scrape(1 + sent)?;
    until_counted(&mut browser, 1 + sent)?;
    compare_all(&mut browser, &metrics)?;
    charts_show_what_happened_since(&mut browser, sent)?;
    pictures(&mut browser, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui"), "few")?;
    compare_service(&mut browser, &metrics, "orders")?;
    assert_eq!(browser.complaints()?, [] as [String; 0]);
    stays_on(&browser.asked()?, &place)?;

    drop(agent);
    browser.until("!document.getElementById('trouble').hidden")?;
    let told = browser.text("#trouble")?;
    assert!(told.contains("No news from the observer") && told.contains("What is shown is from"), "{told}");
    Ok(())
}

/// Sends a mix of statuses, delays and services in bursts, so that several snapshots see it. Gives the number of requests.
fn send_for(nginx: &Nginx, time: Duration) -> Result<usize> {
    let paths = [
        "/orders/bytes/3000",
        "/orders/delay/20",
        "/users/bytes/100",
        "/orders/status/404",
        "/users/status/500",
        "/gone/",
    ];
    let plan = paths.repeat(6).into_iter().map(Request::get).collect::<Vec<_>>();
    let (end, mut sent) = (Instant::now() + time, 0);
    while Instant::now() < end {
        sent += traffic::run(nginx.address(), &plan, 4)?.len();
        thread::sleep(Duration::from_millis(200));
    }
    Ok(sent)
}

/// A table's rows, by the first cell; the second is the number.
fn table(browser: &mut Browser, body: &str) -> Result<Vec<(String, String)>> {
    let rows = browser.rows(body)?;
    rows.into_iter()
        .map(|row| match row.as_slice() {
            [name, value, ..] => Ok((name.clone(), value.clone())),
            _ => anyhow::bail!("a short row in {body}: {row:?}"),
        })
        .collect()
}

/// The statuses of a service as the metrics have them, or of all.
fn statuses(metrics: &Exposition, service: Option<&str>) -> Vec<(String, String)> {
    let family = if service.is_some() { "kong_http_status" } else { "kong_http_status_total" };
    let of_service = |key: &str| service.is_none_or(|name| key.contains(&format!("service=\"{name}\"")));
    let all = metrics.family(family).filter(|(key, value)| of_service(key) && *value > 0.0);
    all.map(|(key, value)| (key.split('"').nth(1).unwrap_or_default().to_owned(), grouped(value))).collect()
}

/// Every total of the page that the metrics have too, of one service or of all.
fn totals(metrics: &Exposition, service: Option<&str>) -> Vec<(String, String)> {
    let kong = |family: &str, labels: &str| match service {
        Some(name) => metrics.value(&format!("{family}{{{labels},service=\"{name}\"}}")),
        None => metrics.value(&format!(
            "{}{{{labels}}}",
            family.replace("kong_latency", "kong_latency_total").replace("kong_bandwidth", "kong_bandwidth_total")
        )),
    };
    let own = |family: &str, label: &str| {
        let fits =
            |key: &str| key.contains(label) && service.is_none_or(|name| key.contains(&format!("service=\"{name}\"")));
        metrics.family(family).filter(|(key, _)| fits(key)).map(|(_, value)| value).sum::<f64>()
    };
    let mut totals = vec![
        ("Ingress bytes".to_owned(), kong("kong_bandwidth", "type=\"ingress\"")),
        ("Egress bytes".to_owned(), kong("kong_bandwidth", "type=\"egress\"")),
    ];
    for (shown, kind) in [("Whole request", "request"), ("Upstream", "upstream"), ("Gateway", "kong")] {
        totals.push((format!("{shown}, requests timed"), kong("kong_latency_count", &format!("type=\"{kind}\""))));
        totals.push((format!("{shown}, ms in all"), kong("kong_latency_sum", &format!("type=\"{kind}\""))));
    }
    totals.push(("Retries".to_owned(), own("observer_upstream_retries_total", "")));
    for by in ["client", "gateway", "upstream", "network"] {
        totals.push((format!("Failures by {by}"), own("observer_failures_total", &format!("by=\"{by}\""))));
    }
    totals.into_iter().map(|(name, value)| (name, grouped(value))).collect()
}

fn compare_all(browser: &mut Browser, metrics: &Exposition) -> Result<()> {
    assert_eq!(table(browser, "#codes")?, statuses(metrics, None));
    assert_eq!(table(browser, "#totals")?[1..], totals(metrics, None));
    let states = ["active", "reading", "writing", "waiting", "accepted", "handled", "requests"].map(|state| {
        let state_there = if state == "requests" { "total" } else { state };
        let key = format!("kong_nginx_http_current_connections{{state=\"{state_there}\"}}");
        (state.to_owned(), grouped(metrics.value(&key)))
    });
    assert_eq!(states[0].1, "1", "{states:?}");
    // The snapshot that had all requests may have been taken before their connections ended.
    until("the page has the metrics' connections", PATIENCE, || {
        Ok((table(browser, "#connections")? == states).then_some(()))
    })?;
    assert_eq!(browser.text("#tile-loss")?, grouped(metrics.value("kong_nginx_metric_errors_total")));
    assert_eq!(browser.text("#loss-words")?, "Nothing was lost: every number here is whole.");
    let mut services = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#services tbody tr')].map((row) => [row.dataset.service, [...row.cells].at(-1).innerText]))",
    )?;
    for name in ["orders", "users", "gone"] {
        let all: f64 = metrics
            .family("kong_http_status")
            .filter(|(key, _)| key.contains(&format!("service=\"{name}\"")))
            .map(|(_, value)| value)
            .sum();
        assert!(all > 0.0);
        assert_eq!(services[name].take(), json!(grouped(all)), "{name}");
    }
    Ok(())
}

/// The charts' own words: what came since the page was opened is in each of them.
fn charts_show_what_happened_since(browser: &mut Browser, requests: usize) -> Result<()> {
    let all = grouped(requests as f64);
    let summary = |browser: &mut Browser, chart: &str| browser.text(&format!("#chart-{chart} .summary"));
    let errors = summary(browser, "errors")?;
    assert!(errors.ends_with(&format!(" of {all} requests failed")), "{errors}");
    let heat = summary(browser, "heat")?;
    assert!(heat.starts_with(&format!("{all} requests, most of them ")), "{heat}");
    for chart in ["rate", "split", "connections"] {
        let words = summary(browser, chart)?;
        let highest: f64 =
            words.trim_start_matches("Highest ").trim_end_matches("/s").trim_end_matches(" ms").parse()?;
        assert!(highest > 0.0, "{chart}: {words}");
    }
    // Axes and their labels are grey: whatever has a colour is of the numbers.
    let coloured = browser.evaluate(
        "[...document.querySelectorAll('.plot canvas')].map((canvas) => {
            const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let coloured = 0;
            for (let at = 0; at < data.length; at += 4) {
                const [red, green, blue] = data.subarray(at, at + 3);
                if (data[at + 3] > 60 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) coloured += 1;
            }
            return coloured;
        })",
    )?;
    let coloured: Vec<u32> = serde_json::from_value(coloured)?;
    assert!(coloured.len() == 5 && coloured.iter().all(|pixels| *pixels > 50), "{coloured:?}");
    Ok(())
}

/// Drills down as somebody with a keyboard does, and compares what is there.
fn compare_service(browser: &mut Browser, metrics: &Exposition, name: &str) -> Result<()> {
    browser.evaluate(&format!("document.querySelector('tr[data-service={name}] a').focus()"))?;
    browser.press("Enter")?;
    browser.until(&format!("document.getElementById('charts-heading').innerText === '{name}'"))?;
    assert_eq!(browser.evaluate("document.activeElement.id")?, json!("charts-heading"));
    assert_eq!(table(browser, "#codes")?, statuses(metrics, Some(name)));
    assert_eq!(table(browser, "#totals")?[1..], totals(metrics, Some(name)));
    let targets = browser.rows("#targets")?;
    let [target] = targets.as_slice() else { anyhow::bail!("not one target: {targets:?}") };
    let key = format!("service=\"{name}\",target=\"{}\"", target[0]);
    let tries: f64 = metrics
        .family("observer_upstream_requests_total")
        .filter(|(series, _)| series.contains(&key))
        .map(|(_, value)| value)
        .sum();
    ensure!(tries > 0.0 && target[1] == grouped(tries), "{target:?} instead of {tries}");
    browser.evaluate("history.back()")?;
    browser.until("document.getElementById('charts-heading').innerText === 'All services'")
}

/// Of these addresses all are the page's own, and the snapshot's is among them.
fn stays_on(asked: &[String], place: &str) -> Result<()> {
    ensure!(asked.contains(&format!("{place}snapshot")), "{asked:?}");
    let others: Vec<&String> = asked.iter().filter(|url| !url.starts_with(place)).collect();
    ensure!(others.is_empty(), "{others:?}");
    Ok(())
}

/// Two snapshots 2 s apart, then one of an agent that has started anew.
const RECKONED: &str = "(async () => {
    const { History } = await import(new URL('history.js', location.href));
    const snapshot = (time, started, requests) => {
        const latency = (ms) => ({
            sum: ms * requests, count: requests, buckets: [0.4 * requests, 0.8 * requests, requests],
        });
        return {
            time_ms: time, started_ms: started, latency_bounds_ms: [10, 20], connections: { active: 1 },
            services: [{
                name: 'a', codes: { 200: 0.8 * requests, 503: 0.2 * requests }, bandwidth: { ingress: 0, egress: 4 * requests },
                latency: { request: latency(12), upstream: latency(9), kong: latency(3) }, failures: { upstream: 0.2 * requests },
            }],
        };
    };
    const history = new History(60);
    history.add(snapshot(10000, 1, 100));
    history.add(snapshot(12000, 1, 110));
    const before = history.recent('a', 30);
    const told = [
        before.perSecond(before.requests), before.perSecond(before.ofClass(5)), before.failures('upstream'), before.egress,
        before.meanOfAll('upstream'), before.quantile('request', 0.2), before.quantile('request', 0.5), before.quantile('request', 0.99),
        history.total('a').requests, history.total(null).requests, history.recent('b', 30).requests,
    ];
    history.add(snapshot(14000, 13000, 5));
    history.add(snapshot(16000, 13000, 15));
    const ticks = history.ticks(null, 0).map(({ time, sum }) => [time, sum === null ? null : sum.perSecond(sum.requests)]);
    return [told, ticks, history.total('a').requests];
})()";

#[test]
fn rates_and_quantiles_are_reckoned_from_differences_and_begin_anew_with_the_agent() -> Result<()> {
    let _alone = alone()?;
    let agent = Agent::watching(&["name:none"])?;
    let mut browser = open(&format!("http://{}/ui/", agent.address()))?;
    let reckoned = browser.evaluate(RECKONED)?;
    // 10 requests in 2 s: 4 up to 10 ms, 4 up to 20 ms, 2 beyond, where the last bound is all that is known.
    assert_eq!(reckoned[0], json!([5, 1, 2, 40, 9, 5, 12.5, 20, 110, 110, 0]));
    assert_eq!(reckoned[1], json!([[10, null], [12, 5], [14, null], [16, 5]]));
    assert_eq!(reckoned[2], json!(15));
    assert_eq!(browser.complaints()?, [] as [String; 0]);
    Ok(())
}

#[test]
fn the_page_works_behind_a_gateway_that_strips_its_prefix_or_keeps_it_and_with_a_token() -> Result<()> {
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let users = folder.path().join("users");
    let token = agent::token("oncall", "metrics", &users)?;
    let port = free_port()?;
    let forward = "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Host $host;";
    let nginx = Config::new()?
        .location("/stripped/ui", &format!("{forward} proxy_pass http://127.0.0.1:{port}/ui;"))
        .location("/kept/ui", &format!("{forward} proxy_pass http://127.0.0.1:{port};"))
        .start()?;
    let listen = format!("127.0.0.1:{port},paths=/ui,paths=/kept/ui");
    let arguments = ["--listen", &listen, "--auth-file", users.to_str().context("a path in UTF-8")?];
    let _agent = Agent::start(&[nginx.selector()], &arguments)?;
    let refused = Client::connect(nginx.address())?.exchange(&Request::get("/kept/ui/").close())?;
    assert_eq!(refused.status, 401);
    let mut browser = Browser::start()?;
    browser.log_in("oncall", &token)?;
    for prefix in ["stripped", "kept"] {
        let place = format!("http://{}/{prefix}/ui/", nginx.address());
        let before = browser.asked()?.len();
        // Without the slash, as somebody types it.
        browser.open(place.trim_end_matches('/'))?;
        browser.until(&format!("location.href === '{place}' && {IS_LIVE}"))?;
        // The first address is the one without the slash.
        stays_on(&browser.asked()?[before + 1..], &place)?;
    }
    assert_eq!(browser.complaints()?, [] as [String; 0]);
    Ok(())
}
