//! Gateways in containers: networks, process ids and mounts of their own.

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use observer_tests::agent_config::AgentConfig;
use observer_tests::exposition::Exposition;
use observer_tests::name_server::{Entry, NameServer};
use observer_tests::namespace::Namespace;
use observer_tests::nginx::config::Config;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream};

/// The labels of two gateways of one name: the first process found keeps it.
fn labels(first: &Nginx, second: &Nginx) -> [String; 2] {
    let [first, second] = [first.pid(), second.pid()];
    let other = |pid: u32| format!("nginx-{pid}");
    if first < second { ["nginx".to_owned(), other(second)] } else { [other(first), "nginx".to_owned()] }
}

fn ask(namespace: &Namespace, nginx: &Nginx, path: &str, count: usize) -> Result<()> {
    namespace.enter(|| {
        for _ in 0..count {
            let answer = Client::connect(nginx.address())?.exchange(&Request::get(path))?;
            ensure!(answer.status == 200, "{path}: {}; {}", answer.status, nginx.error_log());
        }
        Ok(())
    })
}

fn served(now: &Exposition, service: &str, gateway: &str) -> f64 {
    now.value(&format!("kong_http_status{{code=\"200\",service=\"{service}\",gateway=\"{gateway}\"}}"))
}

#[test]
fn equal_addresses_in_two_networks_are_kept_apart() -> Result<()> {
    let _alone = alone()?;
    let namespaces = [Namespace::new(&[])?, Namespace::new(&[])?];
    let service = format!("127.0.0.1:{}", free_port()?);
    let config = Config::new()?.service("alpha", &service);
    let upstream = |namespace: &Namespace| namespace.enter(|| Upstream::on(&service));
    let upstreams = [upstream(&namespaces[0])?, upstream(&namespaces[1])?];
    let gateway = |namespace| config.clone().within(namespace).start();
    let nginx = [gateway(&namespaces[0])?, gateway(&namespaces[1])?];
    ensure!(nginx[0].address() == nginx[1].address());

    // Open before the observer comes: a scan of that network finds it.
    let idle = namespaces[0].enter(|| Client::connect(nginx[0].address()))?;
    let selectors = [nginx[0].selector(), nginx[1].selector()];
    let agent = Agent::start(&selectors, &["--per-gateway-label"])?;
    let counts = [3, 5];
    for at in [0, 1] {
        ask(&namespaces[at], &nginx[at], "/alpha/bytes/10", counts[at])?;
    }
    let now = agent.settled_scrape(8)?;
    for ((label, count), active) in labels(&nginx[0], &nginx[1]).iter().zip(counts).zip([1.0, 0.0]) {
        ensure!(served(&now, "alpha", label) == count as f64, "{label}: {}", served(&now, "alpha", label));
        let key = format!("kong_nginx_http_current_connections{{state=\"active\",gateway=\"{label}\"}}");
        ensure!(now.value(&key) == active, "{key}: {}", now.value(&key));
    }
    ensure!(now.sum("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    ensure!(now.value("observer_gateways") == 2.0);
    ensure!(upstreams[0].requests() == 3 && upstreams[1].requests() == 5);
    drop(idle);
    Ok(())
}

/// Each network has its own name server, and they contradict each other; the host knows neither name.
#[test]
fn names_mean_what_they_mean_where_the_gateway_runs() -> Result<()> {
    const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 153);
    const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 161);
    const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 162);
    let _alone = alone()?;
    let folder = tempfile::tempdir()?;
    let resolv_conf = folder.path().join("resolv.conf");
    std::fs::write(&resolv_conf, format!("nameserver {NAME_SERVER}\nsearch shop.test\n"))?;
    let port = free_port()?;
    let pass = |name: &str| format!("proxy_pass http://{name}:{port}/; proxy_set_header Host one.test;");
    // nginx knows its names from its start, before the observer comes.
    let config =
        Config::new()?.location("/orders/", &pass("orders.shop.test")).location("/users/", &pass("users.shop.test"));
    let (mut stages, mut kept) = (Vec::new(), Vec::new());
    for (orders, users) in [(FIRST, SECOND), (SECOND, FIRST)] {
        let namespace = Namespace::new(&[(&resolv_conf, "/etc/resolv.conf")])?;
        kept.push(namespace.enter(|| {
            let entries = [Entry::new("orders.shop.test", orders), Entry::new("users.shop.test", users)];
            let [first, second] = [FIRST, SECOND].map(|address| Upstream::on(&format!("{address}:{port}")));
            Ok((NameServer::start(NAME_SERVER, &entries)?, first?, second?))
        })?);
        let nginx = config.clone().within(&namespace).start()?;
        stages.push((nginx, namespace));
    }

    let file = folder.path().join("services.yaml");
    // One of them by the suffix that only the networks' resolv.conf has.
    let services = AgentConfig::new().service("orders", format!("orders:{port}"), "/no-help/1").service(
        "users",
        format!("users.shop.test:{port}"),
        "/no-help/2",
    );
    std::fs::write(&file, services.own())?;
    let selectors = [stages[0].0.selector(), stages[1].0.selector()];
    let config = file.display().to_string();
    let agent = Agent::start(&selectors, &["--per-gateway-label", "--config", &config])?;
    let labels = labels(&stages[0].0, &stages[1].0);
    for ((nginx, namespace), label) in stages.iter().zip(&labels) {
        for service in ["orders", "users"] {
            until_true("the names were looked up", PATIENCE, || {
                ask(namespace, nginx, &format!("/{service}/bytes/1"), 1)?;
                Ok(served(&agent.scrape()?, service, label) > 0.0)
            })?;
        }
    }
    // The last request asked for a name may not be counted yet.
    let before = agent.scrape_when(|_| true)?;
    let counts = [[3, 1], [2, 4]];
    for ((nginx, namespace), counts) in stages.iter().zip(counts) {
        for (service, count) in ["orders", "users"].into_iter().zip(counts) {
            ask(namespace, nginx, &format!("/{service}/bytes/1"), count)?;
        }
    }
    let all = before.sum("kong_http_status_total") + 10.0;
    let now = agent.scrape_when(|now| now.sum("kong_http_status_total") >= all)?.since(&before);
    for (label, counts) in labels.iter().zip(counts) {
        for (service, count) in ["orders", "users"].into_iter().zip(counts) {
            let found = served(&now, service, label);
            ensure!(found == count as f64, "{service} at {label}: {found} of {count}");
        }
    }
    Ok(())
}
