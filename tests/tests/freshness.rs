//! How soon an exchange is in a scrape.

use std::thread;
use std::time::Instant;

use anyhow::Result;
use observer_tests::agent::FRESHNESS;
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Request, Upstream};

const ROUNDS: usize = 10;

#[test]
fn an_exchange_is_in_a_scrape_made_100_ms_after_its_last_byte() -> Result<()> {
    exchanges_are_in_scrapes_made_100_ms_later(&[])
}

#[test]
fn over_several_threads_as_well() -> Result<()> {
    exchanges_are_in_scrapes_made_100_ms_later(&["--threads", "2"])
}

/// The wait is the promise under test, not a way to be in step: one scrape, with no second try.
fn exchanges_are_in_scrapes_made_100_ms_later(arguments: &[&str]) -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::start(&[nginx.selector()], arguments)?;
    let mut client = Client::connect(nginx.address())?;
    // A small answer, a large one, one of unknown length: their ends are known in different ways.
    for path in ["bytes/100", "bytes/1000000", "chunked/20x2000", "no-content"] {
        for _ in 0..ROUNDS {
            let before = agent.scrape()?.sum("kong_http_status_total");
            client.exchange(&Request::get(format!("/alpha/{path}")))?;
            let written = Instant::now();
            thread::sleep(FRESHNESS);
            let after = agent.scrape()?.sum("kong_http_status_total");
            assert_eq!(after, before + 1.0, "{path}, {:?} later", written.elapsed());
        }
    }
    Ok(())
}

#[test]
fn an_answer_ended_by_close_is_in_a_scrape_made_100_ms_later() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.keepalive(false).service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    for round in 1..=ROUNDS {
        let request = Request::get("/alpha/close-delimited/3000").http10();
        Client::connect(nginx.address())?.exchange(&request)?;
        thread::sleep(FRESHNESS);
        let counted = agent.scrape()?.sum("kong_http_status_total");
        assert_eq!(counted, round as f64);
    }
    Ok(())
}
