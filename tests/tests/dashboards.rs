//! What `deploy/prometheus` and `deploy/grafana` ask for, asked of a Prometheus that scrapes the observer of a live nginx.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use observer_tests::agent::{finish, token};
use observer_tests::kong_admin::{KongAdmin, KongService};
use observer_tests::nginx::config::Config;
use observer_tests::prometheus::{Prometheus, Sample};
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, tls};
use serde_json::Value;
use tempfile::TempDir;

/// Rates need two scrapes a second apart, rules of rules some more; on a busy host longer.
const LIMIT: Duration = Duration::from_secs(60);

fn deployed(file: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy")).join(file)
}

fn read(file: &str) -> Result<String> {
    std::fs::read_to_string(deployed(file)).with_context(|| file.to_owned())
}

/// A gateway with every kind of thing that a panel shows: answers of an upstream, of a second try, none, its own, TLS.
struct Stage {
    nginx: Nginx,
    upstream: Upstream,
    tls_port: u16,
    is_over: Arc<AtomicBool>,
    traffic: Option<JoinHandle<Result<()>>>,
    _folder: TempDir,
}

impl Stage {
    fn set() -> Result<Stage> {
        let upstream = Upstream::ipv4()?;
        let folder = TempDir::new()?;
        tls::write_certificate(folder.path())?;
        let (tls_port, dead) = (free_port()?, format!("127.0.0.1:{} max_fails=0", free_port()?));
        let place = folder.path().display();
        let server = format!(
            "server {{ listen 127.0.0.1:{tls_port} ssl; ssl_certificate {place}/cert.pem; ssl_certificate_key \
             {place}/key.pem; return 200; }}"
        );
        let nginx = Config::new()?
            .service("alpha", upstream.address())
            .service("gamma", &dead)
            .upstream("beta", &[upstream.address(), &dead])
            .location("/beta/", "proxy_pass http://beta; proxy_set_header Host beta;")
            .location("/own/", "return 404;")
            .http(&server)
            .start()?;
        tls::speak_on(tls_port, true);
        let is_over = Arc::new(AtomicBool::new(false));
        let traffic = Some(thread::spawn({
            let (plain, is_over) = (nginx.address(), Arc::clone(&is_over));
            let by_tls = SocketAddr::from(([127, 0, 0, 1], tls_port));
            move || {
                let paths = ["/alpha/", "/beta/", "/gamma/", "/own/"].map(|path| (plain, path));
                while !is_over.load(Ordering::Relaxed) {
                    for (address, path) in paths.into_iter().chain([(by_tls, "/")]) {
                        Client::connect(address)?.exchange(&Request::get(path).close())?;
                        // Enough for a rate, little for the host.
                        thread::sleep(Duration::from_millis(20));
                    }
                }
                Ok(())
            }
        }));
        Ok(Stage { nginx, upstream, tls_port, is_over, traffic, _folder: folder })
    }

    fn end(mut self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        let traffic = self.traffic.take().context("it ends once")?;
        traffic.join().map_err(|_| anyhow::anyhow!("the traffic panicked"))?
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        tls::speak_on(self.tls_port, false);
    }
}

/// Scrapes this agent with this token.
fn job(agent: &Agent, token: &str) -> String {
    let address = agent.address();
    format!(
        "  - job_name: observer\n    static_configs:\n      - targets: [\"{address}\"]\n    authorization:\n      \
         credentials: {token}\n"
    )
}

fn is_there(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| sample.value.is_finite())
}

/// Fails unless the query gives data before long.
fn ask(prometheus: &Prometheus, what: &str, query: &str) -> Result<()> {
    prometheus.query_until(query, LIMIT, is_there).map(drop).with_context(|| format!("{what} has no data"))
}

/// The dashboard's panels and their queries, with the variables as Grafana fills them in for "All".
fn panels() -> Result<Vec<(String, String)>> {
    let dashboard: Value = serde_json::from_str(&read("grafana/observer.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let mut queries = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().context("a panel without a title")?;
        let targets = panel["targets"].as_array().context("no targets")?;
        ensure!(!targets.is_empty(), "{title} asks for nothing");
        for target in targets {
            let query = target["expr"].as_str().context("no query")?;
            let query =
                ["$instance", "$service", "$job"].iter().fold(query.to_owned(), |q, name| q.replace(name, ".*"));
            let query = query.replace("$__rate_interval", "10s").replace("$__range", "10s");
            // `$1` is label_replace's own.
            let left = query.replace("\"$1\"", "");
            ensure!(!left.contains('$'), "{title} has a variable that nobody fills in: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    Ok(queries)
}

/// The agent of a stage, with whatever its families need, and a Prometheus with the rules.
fn watched(stage: &Stage, dialect: &str) -> Result<(Agent, KongAdmin, TempDir, Prometheus)> {
    let folder = TempDir::new()?;
    let users = folder.path().join("users");
    let token = token("prometheus", "metrics", &users)?;
    let target = stage.upstream.address().to_string();
    let kong = KongAdmin::start(KongService { name: "alpha".into(), address: target.clone() })?;
    // Kong's stand-in has no name for its route.
    let config = folder.path().join("observer.yml");
    let services =
        format!("services: [{{name: alpha, url: \"http://{target}\", routes: [{{name: r, paths: [/alpha]}}]}}]");
    std::fs::write(&config, services)?;
    let path = |path: &Path| path.to_str().map(str::to_owned).context("a path in UTF-8");
    let (users, config) = (path(&users)?, path(&config)?);
    let mut arguments = vec!["--auth-file", &users, "--config", &config, "--dialect", dialect];
    let (url, datastore) = (kong.url(), stage.nginx.address().to_string());
    arguments.extend(["--kong-admin", &url, "--datastore", &datastore]);
    let agent = Agent::start(&[stage.nginx.selector()], &arguments)?;
    let (recording, alerts) = (deployed("prometheus/recording.yml"), deployed("prometheus/alerts.yml"));
    let rules = format!("rule_files:\n  - {}\n  - {}\n", recording.display(), alerts.display());
    let prometheus = Prometheus::start(&(job(&agent, &token) + &rules))?;
    check_described(&agent, &token, dialect)?;
    // For observer_auth_failures_total.
    agent.ask(&Request::get("/metrics").header("Authorization", "Bearer wrong").close())?;
    Ok((agent, kong, folder, prometheus))
}

#[test]
fn every_panel_and_every_rule_has_data_in_either_dialect() -> Result<()> {
    let _alone = alone()?;
    let stage = Stage::set()?;
    for dialect in ["0.1", "3"] {
        let (_agent, _kong, _folder, prometheus) = watched(&stage, dialect)?;
        let queries = panels()?;
        ensure!(queries.len() > 30, "the panels were not found");
        for (title, query) in queries {
            ask(&prometheus, &format!("the panel {title:?} ({dialect})"), &query)?;
        }
        check_rules(&prometheus).with_context(|| format!("dialect {dialect}"))?;
        if dialect == "3" {
            check_kongs(&prometheus)?;
        }
    }
    stage.end()
}

/// Every family of the page has its section in docs/metrics.md.
fn check_described(agent: &Agent, token: &str, dialect: &str) -> Result<()> {
    let described = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md"))?;
    let asked = Request::get("/metrics").header("Authorization", &format!("Bearer {token}")).close();
    let page = String::from_utf8(agent.ask(&asked)?.body)?;
    let names: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    ensure!(names.len() > 30, "{names:?}");
    for name in names {
        ensure!(described.contains(&format!("\n### `{name}`\n")), "{name} ({dialect}) is not in docs/metrics.md");
    }
    Ok(())
}

/// Each rule as Prometheus has loaded it: a recording one has made a series, an alert's left side has data.
fn check_rules(prometheus: &Prometheus) -> Result<()> {
    let loaded = prometheus.page("/api/v1/rules")?;
    let groups = loaded["data"]["groups"].as_array().context("no groups")?;
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
    ensure!(rules.len() > 25, "{} rules", rules.len());
    for rule in rules {
        let name = rule["name"].as_str().context("a rule without a name")?;
        let query = rule["query"].as_str().context("a rule without a query")?;
        if rule["type"] == "recording" {
            ask(prometheus, name, name)?;
        } else {
            ask(prometheus, name, left_of_threshold(query).with_context(|| format!("{name}: {query}"))?)?;
        }
    }
    // By now each was evaluated.
    let evaluated = prometheus.page("/api/v1/rules")?.to_string();
    ensure!(!evaluated.contains("\"lastError\""), "{evaluated}");
    Ok(())
}

/// What an alert compares with its number.
fn left_of_threshold(query: &str) -> Result<&str> {
    let (rest, threshold) = query.rsplit_once(' ').context("no threshold")?;
    threshold.parse::<f64>()?;
    let (left, comparison) = rest.rsplit_once(' ').context("no comparison")?;
    ensure!([">", ">=", "<", "=="].contains(&comparison), "{comparison} is no comparison");
    Ok(left)
}

/// Kong's own dashboard: what the table says is there is there, and the rest is not.
fn check_kongs(prometheus: &Prometheus) -> Result<()> {
    let page = read("grafana/README.md")?;
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains("`kong_"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    ensure!(rows.len() == 10, "{} rows", rows.len());
    for row in rows {
        let [panels, family, labels, there] = row.as_slice() else { bail!("{row:?} has not four cells") };
        let labels: Vec<String> =
            labels.split_whitespace().map(|label| format!("{}=~\".+\"", label.trim_matches('`'))).collect();
        let query = format!("count({}{{{}}})", family.trim_matches('`'), labels.join(","));
        match *there {
            "yes" => ask(prometheus, panels, &query)?,
            "no" => ensure!(!is_there(&prometheus.query(&query)?), "{panels} has data after all: {query}"),
            other => bail!("{panels}: {other:?} is neither yes nor no"),
        }
    }
    Ok(())
}

#[test]
fn promtool_passes_the_configuration_and_the_rules_tests() -> Result<()> {
    for arguments in [
        &["check", "config", "--syntax-only", "prometheus.yml"][..],
        &["check", "rules", "recording.yml", "alerts.yml"],
        &["test", "rules", "recording_test.yml", "alerts_test.yml"],
    ] {
        let done = finish(Command::new("promtool").args(arguments).current_dir(deployed("prometheus")))?;
        ensure!(done.code == Some(0), "promtool {arguments:?}: {}{}", done.stdout, done.stderr);
    }
    // Each alert has a case in which it fires and one in which it does not.
    let (alerts, tests) = (read("prometheus/alerts.yml")?, read("prometheus/alerts_test.yml")?);
    for line in alerts.lines() {
        if let Some(name) = line.trim_start().strip_prefix("- alert: ") {
            let cases = tests.matches(&format!("alertname: {name}")).count();
            ensure!(cases == 2, "{name} has {cases} cases");
        }
    }
    Ok(())
}
