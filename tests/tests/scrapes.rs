//! Many scrapes at once.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use observer_tests::nginx::config::Config;
use observer_tests::traffic::Background;
use observer_tests::wait::alone;
use observer_tests::{Agent, Client, Request, Upstream};

#[test]
fn a_thousand_parallel_scrapes_are_all_served_while_every_request_is_counted() -> Result<()> {
    const SCRAPES: usize = 1_000;
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    let traffic = Background::start(nginx.address(), &Request::get("/alpha/delay/5").close(), 1);
    let deadline = Instant::now() + Duration::from_secs(120);
    thread::scope(|scope| -> Result<()> {
        let scrape = || -> Result<()> {
            loop {
                // More than may be open at once are closed as soon as they come: they come again.
                let answer = Client::connect(agent.address())
                    .and_then(|mut client| client.exchange(&Request::get("/metrics").close()));
                match answer {
                    Ok(response) => {
                        let text = String::from_utf8(response.body)?;
                        ensure!(
                            response.status == 200 && text.contains("\nkong_nginx_metric_errors_total 0\n"),
                            "{text}"
                        );
                        return Ok(());
                    }
                    Err(error) => ensure!(Instant::now() < deadline, "not served in time: {error:#}"),
                }
                thread::sleep(Duration::from_millis(50));
            }
        };
        let start = |_| thread::Builder::new().stack_size(128 * 1024).spawn_scoped(scope, scrape);
        let all: Vec<_> = (0..SCRAPES).map(start).collect::<Result<_, _>>()?;
        all.into_iter().try_for_each(|thread| thread.join().expect("a scrape panicked"))
    })?;
    let sent = traffic.stop()?;
    let scrape = agent.settled_scrape(sent)?;
    assert!(sent > 0);
    assert_eq!(scrape.sum("kong_http_status_total"), sent as f64, "{}", scrape.own());
    assert_eq!(scrape.value("kong_nginx_metric_errors_total"), 0.0);
    Ok(())
}
