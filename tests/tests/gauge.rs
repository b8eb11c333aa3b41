//! `kong_nginx_http_current_connections` equals nginx's stub_status at quiet moments.

use anyhow::{Context, Result};
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::nginx::stub_status::StubStatus;
use observer_tests::process::allow_open_files;
use observer_tests::wait::{PATIENCE, alone, until};
use observer_tests::{Agent, Client, Nginx, Request, Upstream};

const STATES: [&str; 7] = ["active", "reading", "writing", "waiting", "accepted", "handled", "total"];

/// nginx and the agent at the test's start: counts are compared by their growth since.
struct Start {
    agent: Exposition,
    status: StubStatus,
}

impl Start {
    fn of(agent: &Agent, nginx: &Nginx) -> Result<Self> {
        Ok(Self { agent: agent.scrape()?, status: nginx.stub_status()? })
    }
}

fn state(exposition: &Exposition, name: &str) -> f64 {
    exposition.value(&format!("kong_nginx_http_current_connections{{state=\"{name}\"}}"))
}

/// What the agent must show once nginx is in the expected state `(active, reading, writing, waiting)`.
fn expected(nginx: &Nginx, start: &Start, now: (u64, u64, u64, u64)) -> Result<[f64; 7]> {
    let mut seen = start.status;
    let status = until("nginx is in the expected state", PATIENCE, || {
        seen = nginx.stub_status()?;
        let state = (seen.active, seen.reading, seen.writing, seen.waiting);
        Ok((state == now).then_some(seen))
    })
    .with_context(|| format!("{now:?} expected, last seen {seen:?}"))?;
    // The agent's start came before the first asking connection, nginx's with it.
    let asking = 1;
    let grown = |before: u64, after: u64| (after - before + asking) as f64;
    Ok([
        status.active as f64,
        status.reading as f64,
        status.writing as f64,
        status.waiting as f64,
        grown(start.status.accepted, status.accepted),
        grown(start.status.handled, status.handled),
        grown(start.status.requests, status.requests),
    ])
}

fn check(agent: &Agent, nginx: &Nginx, start: &Start, now: (u64, u64, u64, u64)) -> Result<()> {
    let expected = expected(nginx, start, now)?;
    let shown = |exposition: &Exposition| {
        let mut values = STATES.map(|name| state(exposition, name));
        for (value, name) in values.iter_mut().zip(STATES).skip(4) {
            *value -= state(&start.agent, name);
        }
        values
    };
    let scrape = agent.scrape_when(|exposition| shown(exposition) == expected)?;
    assert_eq!(shown(&scrape), expected, "{STATES:?}, at {now:?}");
    Ok(())
}

#[test]
fn each_state_of_a_connection_is_shown() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let start = Start::of(&agent, &nginx)?;
    check(&agent, &nginx, &start, (0, 0, 0, 0))?;

    // Open and without bytes: waiting.
    let mut fresh = Client::connect(nginx.address())?;
    check(&agent, &nginx, &start, (1, 0, 0, 1))?;

    // Half a head: reading.
    let request = Request::get("/alpha/bytes/5").bytes();
    fresh.send(&request[..20])?;
    check(&agent, &nginx, &start, (1, 1, 0, 0))?;
    fresh.send(&request[20..])?;
    fresh.response(false)?;

    // Between requests: waiting.
    check(&agent, &nginx, &start, (1, 0, 0, 1))?;

    // The upstream works: writing.
    let mut held = Client::connect(nginx.address())?;
    held.send(&Request::get("/alpha/hold").bytes())?;
    upstream.until_held(1)?;
    check(&agent, &nginx, &start, (2, 0, 1, 1))?;

    // A body under way: writing as well.
    let upload = Request::post("/alpha/echo", 1_000).bytes();
    fresh.send(&upload[..upload.len() - 500])?;
    check(&agent, &nginx, &start, (2, 0, 2, 0))?;
    fresh.send(&upload[upload.len() - 500..])?;
    fresh.response(false)?;
    upstream.release();
    held.response(false)?;
    check(&agent, &nginx, &start, (2, 0, 0, 2))?;

    held.reset()?;
    check(&agent, &nginx, &start, (1, 0, 0, 1))?;
    drop(fresh);
    check(&agent, &nginx, &start, (0, 0, 0, 0))
}

#[test]
fn connections_open_before_the_agent_are_active_at_once() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.workers(2).service("alpha", upstream.address()).start()?;
    let mut idle = Client::connect(nginx.address())?;
    idle.exchange(&Request::get("/alpha/"))?;
    let mut idle_v6 = Client::connect(nginx.address_v6())?;
    idle_v6.exchange(&Request::get("/alpha/"))?;

    let agent = Agent::watching(&[nginx.selector()])?;
    let start = Start::of(&agent, &nginx)?;
    check(&agent, &nginx, &start, (2, 0, 0, 2))?;
    idle.exchange(&Request::get("/alpha/"))?;
    drop(idle_v6);
    check(&agent, &nginx, &start, (1, 0, 0, 1))
}

#[test]
fn counts_grow_with_the_traffic() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let start = Start::of(&agent, &nginx)?;
    for index in 0..50 {
        let mut client = Client::connect(nginx.address())?;
        for _ in 0..index % 4 {
            client.exchange(&Request::get("/alpha/bytes/10"))?;
        }
    }
    check(&agent, &nginx, &start, (0, 0, 0, 0))
}

/// A part of them open before the agent, which finds these by a look at the kernel's sockets.
#[test]
fn ten_thousand_connections_are_in_the_states_that_nginx_has_them_in() -> Result<()> {
    const EACH: usize = 2_500;
    let _alone = alone()?;
    allow_open_files(4 * EACH as u64 + 1_000)?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?
        .workers(2)
        .connections(4 * EACH + 1_000)
        .service("alpha", upstream.address())
        .location("/own/", "return 200 done;")
        .start()?;
    let open = |bytes: &[u8], is_answered: bool| -> Result<Vec<Client>> {
        let connect = |_| {
            let mut client = Client::connect(nginx.address())?;
            client.send(bytes)?;
            if is_answered {
                client.response(false)?;
            }
            Ok(client)
        };
        (0..EACH).map(connect).collect()
    };
    let kept = open(&Request::get("/own/").bytes(), true)?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let start = Start::of(&agent, &nginx)?;
    let each = EACH as u64;
    check(&agent, &nginx, &start, (each, 0, 0, each))?;
    let fresh = open(b"", false)?;
    let reading = open(b"GET /own/ HT", false)?;
    let upload = Request::post("/alpha/echo", 1_000).bytes();
    let writing = open(&upload[..upload.len() - 500], false)?;
    check(&agent, &nginx, &start, (4 * each, each, each, 2 * each))?;
    drop((kept, reading));
    check(&agent, &nginx, &start, (2 * each, 0, each, each))?;
    drop((fresh, writing));
    check(&agent, &nginx, &start, (0, 0, 0, 0))
}
