//! `kong_datastore_reachable`: how the gateway fared with its database.

use anyhow::Result;
use observer_tests::nginx::config::Config;
use observer_tests::wait::{alone, free_port};
use observer_tests::{Agent, Client, Request, Upstream};

const REACHABLE: &str = "kong_datastore_reachable";

#[test]
fn the_gauge_is_absent_when_no_datastore_is_configured() -> Result<()> {
    let _alone = alone()?;
    let nginx = Config::new()?.start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    assert_eq!(agent.scrape()?.get(REACHABLE), None);
    Ok(())
}

#[test]
fn the_gauge_follows_the_gateways_last_attempt() -> Result<()> {
    let _alone = alone()?;
    let port = free_port()?;
    let address = format!("127.0.0.1:{port}");
    // Any server that the gateway connects to will do; max_fails=0 makes it try each time.
    let nginx = Config::new()?.keepalive(false).service("store", format!("{address} max_fails=0")).start()?;
    let agent = Agent::start(&[nginx.selector()], &["--datastore", &address])?;
    assert_eq!(agent.scrape()?.get(REACHABLE), Some(0.0), "before any attempt");

    for _ in 0..2 {
        let upstream = Upstream::at(port)?;
        attempt(&nginx, 200)?;
        let now = agent.scrape_when(|now| now.get(REACHABLE) == Some(1.0))?;
        assert_eq!(now.get(REACHABLE), Some(1.0), "after a good attempt");
        drop(upstream);
        attempt(&nginx, 502)?;
        let now = agent.scrape_when(|now| now.get(REACHABLE) == Some(0.0))?;
        assert_eq!(now.get(REACHABLE), Some(0.0), "after a refused attempt");
    }
    Ok(())
}

#[test]
fn a_connection_open_before_the_agent_counts_as_reachable() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("store", upstream.address()).start()?;
    attempt(&nginx, 200)?;
    let address = upstream.address().to_string();
    let agent = Agent::start(&[nginx.selector()], &["--datastore", &address])?;
    assert_eq!(agent.scrape()?.get(REACHABLE), Some(1.0));
    Ok(())
}

fn attempt(nginx: &observer_tests::Nginx, status: u16) -> Result<()> {
    let request = Request::get("/store/bytes/1");
    let response = Client::connect(nginx.address())?.exchange(&request)?;
    assert_eq!(response.status, status);
    Ok(())
}
