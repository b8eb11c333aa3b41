//! A watched gateway that is the upstream of another: its exchanges with it are no requests from outside.

use anyhow::{Context, Result};
use observer_tests::compare::{Scope, compare};
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Request, Upstream, totals};

const FROM_OUTSIDE: usize = 30;
const DIRECT: usize = 7;

#[test]
fn exchanges_between_two_watched_gateways_are_internal() -> Result<()> {
    let _alone = alone()?;
    for keepalive in [true, false] {
        let upstream = Upstream::ipv4()?;
        let inner = Config::new()?
            .keepalive(keepalive)
            .upstream("deep", &[upstream.address()])
            .location("/", "proxy_pass http://deep;")
            .start()?;
        let edge = Config::new()?.keepalive(keepalive).service("inner", inner.address()).start()?;
        let agent = Agent::watching(&[edge.selector(), inner.selector()])?;

        for index in 0..FROM_OUTSIDE {
            let request = Request::post(format!("/inner/bytes/{index}"), index);
            Client::connect(edge.address())?.exchange(&request)?;
        }
        for _ in 0..DIRECT {
            Client::connect(inner.address())?.exchange(&Request::get("/direct/status/404"))?;
        }

        // The inner gateway's own clients are from outside as well; the edge's requests are not.
        let edge_lines = edge.log(FROM_OUTSIDE)?;
        let inner_lines = inner.log(FROM_OUTSIDE + DIRECT)?;
        let direct = inner_lines.iter().filter(|line| line.service() == "direct");
        let services = totals::by_service(edge_lines.iter().chain(direct), |line| {
            let is_direct = line.service() == "direct";
            Some(if is_direct { "deep" } else { "inner" }.to_owned())
        });
        let now = agent.settled_scrape(FROM_OUTSIDE + DIRECT)?;
        compare(&now, &services, Scope::Counts).with_context(|| format!("the agent's stderr:\n{}", agent.stderr()))?;
        let internal = now.get("observer_internal_requests_total");
        assert_eq!(internal, Some(FROM_OUTSIDE as f64));
        assert_eq!(now.get("observer_gateways"), Some(2.0));
    }
    Ok(())
}

#[test]
fn an_inner_gateway_that_answers_by_itself_is_internal_too() -> Result<()> {
    let _alone = alone()?;
    let inner = Config::new()?.location("/", "return 200 \"from within\\n\";").start()?;
    let edge = Config::new()?.service("inner", inner.address()).start()?;
    let agent = Agent::watching(&[edge.selector(), inner.selector()])?;
    let mut client = Client::connect(edge.address())?;
    for _ in 0..FROM_OUTSIDE {
        client.exchange(&Request::get("/inner/x"))?;
    }
    let services = totals::by_prefix(&edge.log(FROM_OUTSIDE)?);
    let now = agent.settled_scrape(FROM_OUTSIDE)?;
    compare(&now, &services, Scope::Counts)?;
    let internal = now.get("observer_internal_requests_total");
    assert_eq!(internal, Some(FROM_OUTSIDE as f64));
    assert_eq!(now.sum("observer_unattributed_requests_total"), 0.0);
    Ok(())
}
