//! Where services come from: nginx's own configuration, and files that change while the agent runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::agent_config::AgentConfig;
use observer_tests::kong_admin::{KongAdmin, KongService};
use observer_tests::nginx::config::Config;
use observer_tests::process::signal_pid;
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::{Agent, Client, Nginx, Request, Upstream, traffic};
use tempfile::TempDir;

const CLIENTS: usize = 4;

/// What the agent says of a configuration that took effect.
const IN_USE: &str = "a new configuration is in use";

/// A file for `--config` in a folder of its own.
struct File {
    _folder: TempDir,
    path: PathBuf,
}

impl File {
    fn new(text: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("services.yaml");
        fs::write(&path, text)?;
        Ok(Self { _folder: folder, path })
    }

    /// As an editor does it: the new file takes the old one's name.
    fn replace(&self, text: &str) -> Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, text)?;
        Ok(fs::rename(&new, &self.path)?)
    }

    fn text(&self) -> Result<&str> {
        self.path.to_str().context("path")
    }
}

fn gateway(upstream: &Upstream) -> Result<Nginx> {
    Config::new()?.service("alpha", upstream.address()).start()
}

/// Sends `count` requests and gives how many `service` has then.
fn served(agent: &Agent, nginx: &Nginx, count: usize, service: &str) -> Result<f64> {
    let before = agent.scrape()?.sum("kong_http_status_total");
    let plan: Vec<Request> = (0..count).map(|_| Request::get("/alpha/bytes/10")).collect();
    traffic::run(nginx.address(), &plan, 1)?;
    let now = agent.scrape_when(|now| now.sum("kong_http_status_total") >= before + count as f64)?;
    Ok(now.value(&format!("kong_http_status{{code=\"200\",service=\"{service}\"}}")))
}

fn until_said(agent: &Agent, times: usize, words: &str) -> Result<()> {
    until_true(words, PATIENCE, || Ok(agent.stderr().matches(words).count() >= times))
        .with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))
}

#[test]
fn a_changed_file_takes_effect_under_load_without_losing_a_count() -> Result<()> {
    const REQUESTS: usize = 3_000;
    let _alone = alone()?;
    let alpha = Upstream::ipv4()?;
    let nginx = gateway(&alpha)?;
    let named = |name: &str| AgentConfig::new().service(name, alpha.address(), "/alpha").own();
    let file = File::new(&named("first"))?;
    let agent = Agent::start(&[nginx.selector()], &["--config", file.text()?])?;

    let plan: Vec<Request> = (0..REQUESTS).map(|_| Request::get("/alpha/delay/2/bytes/10")).collect();
    thread::scope(|scope| -> Result<()> {
        let load = scope.spawn(|| traffic::run(nginx.address(), &plan, CLIENTS));
        for (name, nth) in [("second", 1), ("third", 2)] {
            file.replace(&named(name))?;
            until_said(&agent, nth, IN_USE)?;
        }
        load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        Ok(())
    })?;
    let now = agent.settled_scrape(REQUESTS)?;
    ensure!(now.sum("kong_http_status_total") == REQUESTS as f64, "{}", now.own());
    ensure!(now.sum("kong_http_status") == REQUESTS as f64, "each under a name that a file gave it");
    ensure!(now.sum("kong_nginx_metric_errors_total") == 0.0, "{}", now.own());
    let last = served(&agent, &nginx, 5, "third")?;
    ensure!(last >= 5.0, "{last} requests under the last name");
    Ok(())
}

#[test]
fn sighup_reads_the_files_again() -> Result<()> {
    let _alone = alone()?;
    let alpha = Upstream::ipv4()?;
    let nginx = gateway(&alpha)?;
    let named = |name: &str| AgentConfig::new().service(name, alpha.address(), "/alpha").own();
    let file = File::new(&named("first"))?;
    let agent = Agent::start(&[nginx.selector()], &["--config", file.text()?])?;
    signal_pid(agent.pid(), Signal::SIGHUP)?;
    until_said(&agent, 1, "it says nothing new")?;
    ensure!(served(&agent, &nginx, 3, "first")? == 3.0);
    file.replace(&named("second"))?;
    signal_pid(agent.pid(), Signal::SIGHUP)?;
    until_said(&agent, 1, IN_USE)?;
    ensure!(served(&agent, &nginx, 3, "second")? == 3.0);
    Ok(())
}

#[test]
fn a_bad_file_keeps_the_old_one_and_is_named_once_with_line_and_key() -> Result<()> {
    let _alone = alone()?;
    let alpha = Upstream::ipv4()?;
    let nginx = gateway(&alpha)?;
    let named = |name: &str| AgentConfig::new().service(name, alpha.address(), "/alpha").own();
    let file = File::new(&named("first"))?;
    let agent = Agent::start(&[nginx.selector()], &["--config", file.text()?])?;

    file.replace("services:\n- name: a\n  hots: b\n")?;
    let place = format!("{}:3: services[0].hots: unknown key", file.text()?);
    until_said(&agent, 1, &place)?;
    ensure!(served(&agent, &nginx, 3, "first")? == 3.0, "the old file stays in use");
    let age = "observer_config_age_seconds{source=\"config\"}";
    until_true("the age grows", PATIENCE, || Ok(agent.scrape()?.value(age) >= 3.0))?;
    ensure!(agent.stderr().matches(&place).count() == 1, "{}", agent.stderr());

    file.replace(&named("second"))?;
    until_said(&agent, 1, IN_USE)?;
    ensure!(served(&agent, &nginx, 3, "second")? == 3.0);
    ensure!(agent.scrape()?.value(age) < 3.0);
    Ok(())
}

#[test]
fn kongs_admin_api_is_followed_and_what_it_said_last_stays_while_it_is_away() -> Result<()> {
    let _alone = alone()?;
    let alpha = Upstream::ipv4()?;
    let nginx = gateway(&alpha)?;
    let service = |name: &str| KongService { name: name.into(), address: alpha.address().to_string() };
    let mut kong = KongAdmin::start(service("first"))?;
    let agent = Agent::start(&[nginx.selector()], &["--kong-admin", &kong.url()])?;
    ensure!(served(&agent, &nginx, 3, "first")? == 3.0);

    kong.set(service("second"));
    until_said(&agent, 1, IN_USE)?;
    ensure!(served(&agent, &nginx, 4, "second")? == 4.0);

    let address = kong.stop()?;
    until_said(&agent, 1, "what it said last stays in use")?;
    let age = "observer_config_age_seconds{source=\"kong_admin\"}";
    until_true("a second reading fails", 3 * PATIENCE, || Ok(agent.scrape()?.value(age) >= 12.0))?;
    ensure!(agent.stderr().matches("is not to be reached").count() == 1, "said once:\n{}", agent.stderr());
    ensure!(served(&agent, &nginx, 5, "second")? == 9.0);

    let _kong = KongAdmin::start_at(address, service("second"))?;
    until_said(&agent, 1, "Kong's Admin API answers again")?;
    let now = agent.scrape()?;
    ensure!(now.value(age) < 12.0, "{}", now.value(age));
    ensure!(now.sum("kong_http_status_total") == 12.0, "no count is lost");
    Ok(())
}

/// What nginx answers itself belongs to the service of the location that took the request.
#[test]
fn nginxs_own_configuration_names_services_and_routes() -> Result<()> {
    let _alone = alone()?;
    let (alpha, beta, gamma) = (Upstream::ipv4()?, Upstream::ipv4()?, Upstream::ipv4()?);
    let nginx = Config::new()?
        .service("alpha", alpha.address())
        .stripped_service("beta", beta.address())
        .location("/gamma/", &format!("proxy_pass http://{}; proxy_set_header Host $host;", gamma.address()))
        .location("^~ /alpha/private/", "deny all; proxy_pass http://alpha;")
        .location(r"~ ^/beta/.*\.secret$", "deny all; proxy_pass http://alpha;")
        .location("= /gamma/exact", "return 204;")
        .location("/variable/", "set $target beta; proxy_pass http://$target/;")
        .start()?;
    let conf = nginx.conf();
    let agent = Agent::start(&[nginx.selector()], &["--nginx-conf", conf.to_str().context("path")?])?;

    let mut client = Client::connect(nginx.address())?;
    let third = gamma.address().to_string();
    let expected = [
        ("/alpha/bytes/1", 200, Some("alpha")),
        ("/beta/bytes/1", 200, Some("beta")),
        ("/gamma/bytes/1", 200, Some(third.as_str())),
        ("/variable/bytes/1", 200, Some("beta")),
        ("/alpha/private/x", 403, Some("alpha")),
        ("/beta/x.secret", 403, Some("alpha")),
        ("/beta", 301, Some("beta")),
        ("/gamma/exact", 204, None),
        ("/none", 404, None),
    ];
    for (path, status, _) in expected {
        let answer = client.exchange(&Request::get(path))?;
        ensure!(answer.status == status, "{path}: {}", answer.status);
        if answer.is_last {
            client = Client::connect(nginx.address())?;
        }
    }
    drop(client);
    let now = agent.scrape_when(|now| now.sum("observer_exchanges_begun_total") >= expected.len() as f64)?;
    for (_, status, service) in expected {
        let key = match service {
            Some(service) => format!("kong_http_status{{code=\"{status}\",service=\"{service}\"}}"),
            None => format!("observer_unattributed_requests_total{{code=\"{status}\"}}"),
        };
        let count = expected.iter().filter(|(_, s, name)| (*s, *name) == (status, service)).count();
        ensure!(now.value(&key) == count as f64, "{key}: {}; {}", now.value(&key), now.own());
    }
    Ok(())
}

#[test]
fn debians_own_nginx_conf_is_read() -> Result<()> {
    let _alone = alone()?;
    let nginx = Config::new()?.start()?;
    let path = "/etc/nginx/nginx.conf";
    ensure!(Path::new(path).exists(), "nginx as Debian installs it has {path}");
    Agent::start(&[nginx.selector()], &["--nginx-conf", path])?;
    Ok(())
}
