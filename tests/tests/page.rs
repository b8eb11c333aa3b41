//! Every curl line of the plugin's page, run by curl on the agent in place of Kong's Admin API.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{Finished, token};
use observer_tests::nginx::config::Config;
use observer_tests::tools::{curl, curl_status};
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Nginx, Request, Upstream};
use serde_json::Value;
use tempfile::TempDir;

/// A gateway and its agent, with the page's port as a free one.
struct Page {
    nginx: Nginx,
    agent: Agent,
    token: String,
    socket: PathBuf,
    _upstream: Upstream,
    _folder: TempDir,
}

impl Page {
    fn start(arguments: &[&str]) -> Result<Self> {
        let upstream = Upstream::ipv4()?;
        let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
        let folder = TempDir::new()?;
        let (users, socket) = (folder.path().join("users"), folder.path().join("observer.sock"));
        let token = token("admin", "admin", &users)?;
        let listen = format!("unix:{}", socket.display());
        let mut all = vec!["--auth-file", text(&users)?, "--listen", &listen];
        all.extend(arguments);
        let agent = Agent::start(&[nginx.selector()], &all)?;
        Ok(Self { nginx, agent, token, socket, _upstream: upstream, _folder: folder })
    }

    /// A line of the page with the agent's address for Kong's.
    fn run(&self, line: &str, more: &[&str]) -> Result<Finished> {
        curl(&self.arguments(line, more))
    }

    fn status(&self, line: &str, more: &[&str]) -> Result<(u16, String)> {
        curl_status(&self.arguments(line, more))
    }

    fn arguments(&self, line: &str, more: &[&str]) -> Vec<String> {
        let own = format!("localhost:{}", self.agent.address().port());
        let line = line.replace("localhost:8001", &own);
        let words = line.split(' ').skip(1).map(str::to_owned);
        // curl takes the brackets of `paths[]` in an address for a range, in data not.
        words.chain(more.iter().map(|word| (*word).to_owned())).collect()
    }

    fn admin(&self) -> String {
        format!("Kong-Admin-Token: {}", self.token)
    }

    fn ask_gateway(&self) -> Result<()> {
        Client::connect(self.nginx.address())?.exchange(&Request::get("/alpha/").close())?;
        Ok(())
    }

    /// The metrics' text once it shows `key` at this value.
    fn until(&self, key: &str, value: u64) -> Result<String> {
        let line = format!("{key} {value}");
        observer_tests::wait::until(&line, observer_tests::wait::PATIENCE, || {
            let (_, text) = self.status("curl http://localhost:8001/metrics", &["-H", &self.admin()])?;
            Ok(text.lines().any(|found| found == line).then_some(text))
        })
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

const COUNT: &str = "kong_http_status_total{code=\"200\"}";

#[test]
fn the_plugin_is_enabled_by_the_pages_first_line_with_its_missing_d() -> Result<()> {
    let _alone = alone()?;
    let page = Page::start(&["--start-disabled", "--no-own-metrics"])?;
    let admin = page.admin();
    page.ask_gateway()?;
    let requests = "kong_nginx_http_current_connections{state=\"total\"}";
    let before = page.until(requests, 1)?;
    let families: Vec<&str> = before.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let only = ["kong_nginx_http_current_connections gauge", "kong_nginx_metric_errors_total counter"];
    assert_eq!(families, only, "no datastore is configured");

    // As it stands there curl takes `name=prometheus` for a second address: the list comes, and curl fails.
    let literal = page.run("curl http://localhost:8001/plugins name=prometheus", &["-H", &admin])?;
    assert_eq!(literal.stdout, r#"{"data":[],"next":null,"total":0}"#);
    assert_ne!(literal.code, Some(0), "{}", literal.stderr);

    // Without a token nobody enables anything.
    let line = "curl http://localhost:8001/plugins -d name=prometheus";
    assert_eq!(page.status(line, &[])?.0, 401);
    let (status, created) = page.status(line, &["-H", &admin])?;
    let entity: Value = serde_json::from_str(&created)?;
    assert_eq!((status, &entity["name"], &entity["enabled"]), (201, &"prometheus".into(), &true.into()));
    let second = page.status("curl http://localhost:8001/plugins -F name=prometheus", &["-H", &admin])?;
    assert_eq!(second, (409, r#"{"name":"already exists with value 'prometheus'"}"#.to_owned()));
    page.ask_gateway()?;
    page.until(COUNT, 1)?;
    Ok(())
}

#[test]
fn the_metrics_come_as_the_page_shows_them() -> Result<()> {
    let _alone = alone()?;
    let page = Page::start(&["--no-own-metrics"])?;
    page.ask_gateway()?;
    page.until(COUNT, 1)?;
    let admin = page.admin();
    let plain = page.run("curl http://localhost:8001/metrics", &["-H", &admin])?;
    ensure!(plain.code == Some(0), "{}", plain.stderr);
    let with_head = page.run("curl -D - http://localhost:8001/metrics", &["-H", &admin])?;
    let (head, body) = with_head.stdout.split_once("\r\n\r\n").context("a head and a body")?;
    assert_eq!(body, plain.stdout);
    let mut lines = head.lines();
    assert_eq!(lines.next(), Some("HTTP/1.1 200 OK"));
    let lines: Vec<&str> = lines.collect();
    for line in ["Content-Type: text/plain; charset=UTF-8", "Access-Control-Allow-Origin: *"] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    assert!(lines.iter().any(|line| line.starts_with("Date: ")), "{lines:?}");
    assert!(
        body.starts_with("# HELP kong_bandwidth_total Total bandwidth in bytes for all proxied requests in Kong\n")
    );
    assert!(body.contains("kong_http_status{code=\"200\",service=\"alpha\"} 1\n"));
    let denied = page.status("curl http://localhost:8001/metrics", &[])?;
    assert_eq!(denied.0, 401);
    Ok(())
}

#[test]
fn kongs_own_services_and_routes_are_not_made_here() -> Result<()> {
    let _alone = alone()?;
    let page = Page::start(&[])?;
    let admin = page.admin();
    for line in [
        "curl -X POST http://localhost:8001/services -d name=prometheusEndpoint -d url=http://localhost:8001/metrics",
        "curl -X POST http://localhost:8001/services/prometheusEndpoint/routes -d paths[]=/metrics",
        "curl -X POST http://localhost:8001/services/prometheusEndpoint/plugins -d name=ip-restriction -d \
         config.whitelist=10.0.0.0/24",
    ] {
        let (status, body) = page.status(line, &["-H", &admin])?;
        assert_eq!(status, 404, "{line}: {body}");
    }
    Ok(())
}

#[test]
fn another_plugin_and_unknown_fields_are_refused_as_kong_does() -> Result<()> {
    let _alone = alone()?;
    let page = Page::start(&["--start-disabled"])?;
    let admin = page.admin();
    for (line, field) in [
        ("curl http://localhost:8001/plugins -d name=ip-restriction", "config"),
        ("curl http://localhost:8001/plugins -d name=prometheus -d colour=red", "colour"),
        ("curl http://localhost:8001/plugins -d enabled=true", "name"),
    ] {
        let (status, body) = page.status(line, &["-H", &admin])?;
        let body: Value = serde_json::from_str(&body)?;
        assert_eq!(status, 400, "{line}");
        assert!(body.get(field).is_some(), "{line}: {body}");
    }
    Ok(())
}

#[test]
fn what_is_disabled_is_not_counted_and_goes_on_from_its_old_value() -> Result<()> {
    let _alone = alone()?;
    let page = Page::start(&[])?;
    let socket = ["--unix-socket", text(&page.socket)?];
    page.ask_gateway()?;
    page.until(COUNT, 1)?;
    // Nobody but root opens the socket: it takes no token.
    let (_, list) = page.status("curl http://localhost/plugins", &socket)?;
    let list: Value = serde_json::from_str(&list)?;
    let id = list["data"][0]["id"].as_str().context("an id")?.to_owned();
    let patch = |enabled: &str| {
        let line = format!("curl -X PATCH http://localhost/plugins/{id} -d enabled={enabled}");
        page.status(&line, &socket).map(|(status, _)| status)
    };
    assert_eq!(patch("false")?, 200);
    page.ask_gateway()?;
    page.until("observer_exchanges_filtered_total{reason=\"disabled\"}", 1)?;
    assert_eq!(patch("true")?, 200);
    page.ask_gateway()?;
    page.until(COUNT, 2)?;
    let deleted = page.status(&format!("curl -X DELETE http://localhost/plugins/{id}"), &socket)?;
    assert_eq!(deleted, (204, String::new()));
    Ok(())
}

#[test]
fn what_is_enabled_survives_a_restart() -> Result<()> {
    let _alone = alone()?;
    let folder = TempDir::new()?;
    let state = folder.path().join("state");
    let arguments = ["--start-disabled", "--state-dir", text(&state)?];
    let line = "curl http://localhost:8001/plugins -d name=prometheus -d service_id=alpha";
    let first = {
        let page = Page::start(&arguments)?;
        let (status, created) = page.status(line, &["-H", &page.admin()])?;
        assert_eq!(status, 201, "{created}");
        created
    };
    let page = Page::start(&arguments)?;
    let id = serde_json::from_str::<Value>(&first)?["id"].as_str().context("an id")?.to_owned();
    let (status, again) = page.status(&format!("curl http://localhost:8001/plugins/{id}"), &["-H", &page.admin()])?;
    assert_eq!((status, again), (200, first));
    page.ask_gateway()?;
    page.until(COUNT, 1)?;
    Ok(())
}
