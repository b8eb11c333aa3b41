//! Cases of all families at once on 64 connections: the totals equal nginx's log, and the gauge equals its stub_status.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use observer_tests::agent_config::AgentConfig;
use observer_tests::compare::{Scope, compare};
use observer_tests::conformance::{Case, Family, check_identity, check_unattributed, service_of};
use observer_tests::exposition::Exposition;
use observer_tests::netstat::waiting_to_be_accepted;
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::Config;
use observer_tests::nginx::stub_status::StubStatus;
use observer_tests::request::content;
use observer_tests::tunnel::Tunnel;
use observer_tests::wait::{PATIENCE, free_port, until};
use observer_tests::{Agent, Nginx, Upstream, totals};

mod mixed;

use mixed::{KINDS, Places};

const CLIENTS: usize = 64;

/// Rounds of a client: one case of each kind.
const ROUNDS: usize = 2;

/// Before each case: the processors are the gateway's when it wants them, else its clock stands and its times say nothing.
const PAUSE: Duration = Duration::from_millis(120);

/// Services by the first segment of the path. What is under any other is nobody's.
const SERVICES: [&str; 7] = ["alpha", "own", "static", "failing", "retried", "local", "tunnel"];

const STATES: [&str; 7] = ["active", "reading", "writing", "waiting", "accepted", "handled", "total"];

/// Everything around the gateway.
struct World {
    nginx: Nginx,
    places: Places,
    addresses: Vec<String>,
    _upstreams: Vec<Upstream>,
    _tunnel: Tunnel,
}

#[test]
fn all_kinds_at_64_connections() -> Result<()> {
    let mut family = Family::new("all families at once, 64 connections")?;
    let folder = tempfile::tempdir()?;
    for workers in [1, 2] {
        let (equal, gauge) = match mixed_run(workers, folder.path()) {
            Ok(outcomes) => outcomes,
            Err(error) => (Err(error), Err(anyhow::anyhow!("the mix did not run"))),
        };
        family.claim(Case::visible(format!("{workers} workers: the totals equal the log")), equal);
        family.claim(Case::visible(format!("{workers} workers: the gauge equals stub_status")), gauge);
    }
    family.finish()
}

fn mixed_run(workers: usize, folder: &Path) -> Result<(Result<()>, Result<()>)> {
    let world = world(workers, folder)?;
    let config = folder.join(format!("services-{workers}.yaml"));
    let services = SERVICES.iter().zip(&world.addresses);
    let services =
        services.fold(AgentConfig::new(), |known, (name, address)| known.service(name, address, &format!("/{name}")));
    fs::write(&config, services.own())?;
    // What asks for nginx's own numbers is not in its log either.
    let status = world.nginx.status_port().to_string();
    let arguments = ["--config", config.to_str().context("path")?, "--ignore-port", &status];
    let agent = Agent::start(&[world.nginx.selector()], &arguments)?;
    let start = (agent.scrape()?, world.nginx.stub_status()?);
    let gauge = drive(&world, &agent);
    let lines = resting_log(&world.nginx)?;
    let now = agent.scrape_when(|now| ended(now) >= lines.len() as f64)?;
    let equal = equals_log(&now, &lines).with_context(|| format!("the agent's stderr:\n{}", agent.stderr()));
    let gauge = gauge.and_then(|()| gauge_at_rest(&agent, &world.nginx, &start));
    Ok((equal, gauge))
}

fn world(workers: usize, folder: &Path) -> Result<World> {
    let (alpha, side, spare) = (Upstream::ipv4()?, Upstream::ipv4()?, Upstream::ipv4()?);
    let local = Upstream::unix(&folder.join(format!("local-{workers}.sock")))?;
    let tunnel = Tunnel::start()?;
    let refusing = format!("127.0.0.1:{}", free_port()?);
    let proxy_port = free_port()?;
    let to_side = |path: &str| {
        format!(
            "internal; proxy_pass http://{}/{path}; proxy_pass_request_body off; proxy_set_header Content-Length \"\";",
            side.address()
        )
    };
    let nginx = Config::new()?
        .workers(workers)
        .main("thread_pool default threads=2;")
        .http(&format!("proxy_cache_path {} keys_zone=z:1m;", folder.join(format!("cache-{workers}")).display()))
        .http("gzip_min_length 1; gzip_types *; gzip_http_version 1.0; gzip_proxied any;")
        .server("client_header_timeout 1s; client_body_timeout 1s; lingering_timeout 300ms;")
        .server(&format!("listen 127.0.0.1:{proxy_port} proxy_protocol;"))
        .service("alpha", alpha.address())
        .location("/alpha/gzip/", "gzip on; proxy_pass http://alpha;")
        .location("/alpha/unbuffered/", "proxy_request_buffering off; proxy_pass http://alpha;")
        .location("/alpha/passed-on/", "proxy_buffering off; proxy_pass http://alpha;")
        .location("/alpha/small/", "client_max_body_size 10; proxy_pass http://alpha;")
        .location("/alpha/hasty/", "proxy_read_timeout 100ms; proxy_pass http://alpha;")
        .location("/alpha/cached/", "proxy_pass http://alpha; proxy_cache z; proxy_cache_valid 200 1h; proxy_cache_key $request_uri;")
        .location("/alpha/granted/", "auth_request /yes; proxy_pass http://alpha;")
        .location("/alpha/denied/", "auth_request /no; proxy_pass http://alpha;")
        .location("/alpha/copied/", "mirror /copy; proxy_pass http://alpha;")
        .location("/alpha/caught/", "proxy_intercept_errors on; error_page 404 /own/; proxy_pass http://alpha;")
        .location("= /yes", &to_side("status/204"))
        .location("= /no", &to_side("status/403"))
        .location("= /copy", &to_side("bytes/3"))
        .service("failing", format!("{refusing} max_fails=0"))
        .upstream("retried", &[&format!("{refusing} max_fails=0"), &format!("{} max_fails=0 backup", spare.address())])
        .location("/retried/", "proxy_pass http://retried;")
        .service("local", local.address())
        .location(
            "/tunnel/",
            &format!("proxy_pass http://{}; proxy_http_version 1.1; proxy_set_header Connection $http_connection; proxy_set_header Upgrade $http_upgrade;", tunnel.address()),
        )
        .location("/own/", "return 200 done;")
        .location("/own/444/", "return 444;")
        .location("/own/small/", "client_max_body_size 10; return 200 done;")
        .location("/static/sendfile/", "alias files/static/; sendfile on; tcp_nopush on;")
        .location("/static/threads/", "alias files/static/; aio threads; sendfile off;")
        .location("/static/writev/", "alias files/static/; sendfile off; output_buffers 2 16k;")
        .start()?;
    fs::create_dir(nginx.files().join("static"))?;
    for (name, bytes) in [("small", 300), ("middle", 70_000), ("large", 3_000_000)] {
        fs::write(nginx.files().join("static").join(name), content(bytes))?;
    }
    // Nothing is ever sent to port 1.
    let nowhere = || "127.0.0.1:1".to_owned();
    let addresses = vec![
        alpha.address().to_string(),
        nowhere(),
        nowhere(),
        refusing,
        spare.address().to_string(),
        local.address().to_string(),
        tunnel.address().to_string(),
    ];
    let with_proxy_protocol = SocketAddr::from(([127, 0, 0, 1], proxy_port));
    let places = Places { v4: nginx.address(), v6: nginx.address_v6(), with_proxy_protocol };
    Ok(World { nginx, places, addresses, _upstreams: vec![alpha, side, spare, local], _tunnel: tunnel })
}

/// Every client goes through all kinds, each from another one on. Meanwhile the gauge is looked at.
fn drive(world: &World, agent: &Agent) -> Result<()> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let looking = scope.spawn(|| gauge_under_load(agent, &world.nginx, world.places.ports(), &is_done));
        let client = |client: usize| {
            for step in 0..ROUNDS * KINDS.len() {
                let (name, kind) = KINDS[(client * 5 + step) % KINDS.len()];
                thread::sleep(PAUSE);
                kind(&world.places).with_context(|| format!("client {client}, {name}"))?;
            }
            Ok(())
        };
        let clients: Vec<_> = (0..CLIENTS).map(|index| scope.spawn(move || client(index))).collect();
        let driven = clients.into_iter().map(|client| client.join().expect("a client panicked"));
        let driven: Result<()> = driven.collect();
        is_done.store(true, Ordering::SeqCst);
        let looked = looking.join().expect("the looking thread panicked");
        driven.and(looked)
    })
}

fn resting_log(nginx: &Nginx) -> Result<Vec<Line>> {
    until("the access log rests", PATIENCE * 3, || {
        let before = nginx.log_so_far()?.len();
        // Longer than any timeout of the gateway's here.
        thread::sleep(Duration::from_millis(1_500));
        let lines = nginx.log_so_far()?;
        Ok((lines.len() == before).then_some(lines))
    })
}

fn ended(now: &Exposition) -> f64 {
    now.sum("observer_exchanges_counted_total") + now.sum("observer_exchanges_filtered_total{reason=\"unattributed\"}")
}

fn equals_log(now: &Exposition, lines: &[Line]) -> Result<()> {
    check_identity(now)?;
    let service = |line: &Line| service_of(line).filter(|name| SERVICES.contains(name)).map(str::to_owned);
    let services = totals::by_service(lines, service);
    ensure!(services.len() == SERVICES.len(), "the mix lacks a service: {:?}", services.keys());
    let now = now.clone().without_zeros();
    compare(&now, &services, Scope::CountsAndTimes)?;
    check_unattributed(lines.iter().filter(|line| service(line).is_none()), &now)?;
    let inferred = |rule: &str| now.value(&format!("observer_inferred_total{{rule=\"{rule}\"}}"));
    for (rules, status) in
        [(&["head_timeout", "body_timeout"][..], 408), (&["closed_unanswered"], 444), (&["client_closed_waiting"], 499)]
    {
        let logged = lines.iter().filter(|line| line.status == status).count() as f64;
        let inferred: f64 = rules.iter().map(|rule| inferred(rule)).sum();
        ensure!(logged > 0.0 && inferred == logged, "{status}: {logged} logged, {inferred} inferred\n{}", now.own());
    }
    ensure!(now.value("kong_nginx_metric_errors_total") == 0.0, "something was lost:\n{}", now.own());
    Ok(())
}

fn shown(now: &Exposition) -> [f64; 7] {
    STATES.map(|state| now.value(&format!("kong_nginx_http_current_connections{{state=\"{state}\"}}")))
}

fn states(status: &StubStatus) -> [f64; 7] {
    let StubStatus { active, accepted, handled, requests, reading, writing, waiting } = *status;
    [active, reading, writing, waiting, accepted, handled, requests].map(|value| value as f64)
}

/// nginx is asked before and after: what the agent shows lies between the two, but for the requests in flight.
fn gauge_under_load(agent: &Agent, nginx: &Nginx, ports: [u16; 2], is_done: &AtomicBool) -> Result<()> {
    while !is_done.load(Ordering::SeqCst) {
        // A client has no more than one request in flight and one that it left behind; but those that nginx has not
        // accepted yet are no connections to it.
        let waiting = || ports.iter().map(|port| waiting_to_be_accepted(*port)).sum::<Result<u64>>();
        let waiting_before = waiting()?;
        let before = states(&nginx.stub_status()?);
        let agents = shown(&agent.scrape()?);
        let after = states(&nginx.stub_status()?);
        let in_flight = 2.0 * CLIENTS as f64 + waiting_before.max(waiting()?) as f64;
        for (index, state) in STATES.iter().enumerate().take(4) {
            let (least, most) = (before[index].min(after[index]), before[index].max(after[index]));
            let is_near = agents[index] >= least - in_flight && agents[index] <= most + in_flight;
            ensure!(is_near, "{state}: {} shown, {least} to {most} in stub_status", agents[index]);
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn gauge_at_rest(agent: &Agent, nginx: &Nginx, start: &(Exposition, StubStatus)) -> Result<()> {
    let mut seen = String::new();
    until("the gauge equals stub_status", PATIENCE, || {
        let status = states(&nginx.stub_status()?);
        // The agent's start came before the first asking connection, nginx's with it.
        let asking = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let (agents, before) = (shown(&agent.scrape()?), (shown(&start.0), states(&start.1)));
        let grown =
            |now: [f64; 7], before: [f64; 7], index: usize| now[index] - if index < 4 { 0.0 } else { before[index] };
        let expected: Vec<f64> = (0..7).map(|index| grown(status, before.1, index) + asking[index]).collect();
        let agents: Vec<f64> = (0..7).map(|index| grown(agents, before.0, index)).collect();
        seen = format!("{STATES:?}: {agents:?} shown, {expected:?} expected");
        Ok((agents == expected).then_some(()))
    })
    .with_context(|| seen)
}
