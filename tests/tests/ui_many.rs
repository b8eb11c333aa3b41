//! The page at `/ui` with two hundred services: found, sorted, read by keyboard and screen reader.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer_tests::browser::Browser;
use observer_tests::nginx::config::Config;
use observer_tests::ui::{IS_LIVE, open, pictures, until_counted};
use observer_tests::wait::alone;
use observer_tests::{Agent, Request, Upstream, traffic};
use serde_json::{Value, json};

#[test]
fn two_hundred_services_can_be_found_sorted_and_read_by_keyboard_and_screen_reader() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    // A service has the name that the gateway sends on as `Host`.
    let location = "proxy_set_header Host $team; proxy_set_header Connection \"\"; proxy_pass http://all;";
    let config = Config::new()?.upstream("all", &[upstream.address()]);
    let nginx = config.location("~ ^/(?<team>[^/]+)/", location).start()?;
    let agent = Agent::watching(&[nginx.selector()])?;
    // Some have more to do than others.
    let request = |service: usize| Request::get(format!("/team-{service:03}.example/bytes/500"));
    let plan: Vec<Request> = (0..200).flat_map(|service| vec![request(service); service / 20 + 1]).collect();
    let send = || traffic::run(nginx.address(), &plan, 4).map(drop);
    send()?;
    agent.settled_scrape(plan.len())?;
    let mut browser = open(&format!("http://{}/ui/", agent.address()))?;
    browser.until("document.getElementById('service-count').innerText === '200 services'")?;
    for _ in 0..3 {
        send()?;
        thread::sleep(Duration::from_secs(2));
    }
    until_counted(&mut browser, 4 * plan.len())?;
    pictures(&mut browser, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("ui"), "many")?;
    filters_and_sorts(&mut browser)?;
    keeps_its_head_in_sight(&mut browser)?;
    everything_has_a_name(&mut browser)?;
    goes_by_keyboard(&mut browser)?;
    switches_its_colours(&mut browser)?;
    assert_eq!(browser.complaints()?, [] as [String; 0]);
    Ok(())
}

fn names(browser: &mut Browser) -> Result<Vec<String>> {
    let rows = browser.rows("#services tbody")?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next()).collect())
}

fn filters_and_sorts(browser: &mut Browser) -> Result<()> {
    browser.evaluate("document.querySelector('#services th[data-key=name] button').click()")?;
    let all = names(browser)?;
    ensure!(all.len() == 200 && all.is_sorted(), "{all:?}");
    browser.evaluate("document.querySelector('#services th[data-key=total] button').click()")?;
    let totals: Vec<f64> =
        browser.rows("#services tbody")?.iter().filter_map(|row| row.last()?.replace(',', "").parse().ok()).collect();
    ensure!(totals.len() == 200 && totals.is_sorted_by(|one, next| one >= next), "{totals:?}");
    let sorted =
        "[...document.querySelectorAll('#services [aria-sort]')].map((head) => [head.dataset.key, head.ariaSort])";
    assert_eq!(browser.evaluate(sorted)?, json!([["total", "descending"]]));
    browser.evaluate("document.getElementById('filter').focus()")?;
    browser.type_text("TEAM-19")?;
    let found = names(browser)?;
    ensure!(found.len() == 10 && found.iter().all(|name| name.starts_with("team-19")), "{found:?}");
    assert_eq!(browser.text("#service-count")?, "10 of 200 services");
    browser.type_text("x")?;
    assert_eq!(browser.text("#no-service")?, "No service has this in its name.");
    browser.evaluate("document.getElementById('filter').value = ''; document.getElementById('filter').dispatchEvent(new Event('input'))")?;
    assert_eq!(names(browser)?.len(), 200);
    Ok(())
}

fn keeps_its_head_in_sight(browser: &mut Browser) -> Result<()> {
    let distance = browser.evaluate(
        "(() => {
            const table = document.getElementById('services');
            table.parentElement.scrollTop = 2000;
            const top = (element) => element.getBoundingClientRect().top;
            return [table.parentElement.scrollTop, top(table.tHead.rows[0].cells[1]) - top(table.parentElement)];
        })()",
    )?;
    ensure!(
        distance[0].as_f64() > Some(1000.0) && distance[1].as_f64().is_some_and(|away| away.abs() < 2.0),
        "{distance}"
    );
    Ok(())
}

/// Whatever can be used, and every picture and table, says what it is.
fn everything_has_a_name(browser: &mut Browser) -> Result<()> {
    const NAMED: [&str; 9] = ["button", "link", "combobox", "searchbox", "radio", "image", "img", "table", "figure"];
    let nodes = browser.accessible_nodes()?;
    let role = |node: &Value| node["role"]["value"].as_str().unwrap_or_default().to_owned();
    let of = |wanted: &str| nodes.iter().filter(|node| role(node) == wanted).count();
    ensure!(of("button") > 10 && of("figure") == 5 && of("link") > 200, "not the page's nodes");
    // The mark beside the title has no name on purpose, so it is none of them.
    let nameless: Vec<String> = nodes
        .iter()
        .filter(|node| NAMED.contains(&role(node).as_str()))
        .filter(|node| node["name"]["value"].as_str().is_none_or(str::is_empty))
        .map(Value::to_string)
        .collect();
    ensure!(nameless.is_empty(), "{nameless:?}");
    Ok(())
}

/// The first stops of the Tab key, each with a mark that shows it.
fn goes_by_keyboard(browser: &mut Browser) -> Result<()> {
    browser
        .evaluate("document.activeElement.blur(); window.scrollTo(0, 0); document.querySelector('.skip').focus()")?;
    let mut stops = Vec::new();
    for _ in 0..6 {
        browser.press("Tab")?;
        let stop = browser.evaluate(
            "[document.activeElement.id || document.activeElement.name || document.activeElement.innerText, \
              document.activeElement.matches(':focus-visible')]",
        )?;
        ensure!(stop[1] == json!(true), "{stop}");
        stops.extend(stop[0].as_str().map(str::to_owned));
    }
    assert_eq!(stops[..4], ["Skip to the services", "range", "pause", "theme"]);
    Ok(())
}

fn switches_its_colours(browser: &mut Browser) -> Result<()> {
    let ground = "getComputedStyle(document.body).backgroundColor";
    browser.prefer("prefers-color-scheme", "light")?;
    let light = browser.evaluate(ground)?;
    browser.evaluate("document.querySelector('#theme input[value=dark]').click()")?;
    let dark = browser.evaluate(ground)?;
    ensure!(light != dark, "{light}");
    browser.evaluate("window.isOld = true; location.reload()")?;
    browser.until(&format!("!window.isOld && {IS_LIVE}"))?;
    assert_eq!(browser.evaluate(ground)?, dark, "the choice is remembered");
    browser.evaluate("document.querySelector('#theme input[value=auto]').click()")?;
    assert_eq!(browser.evaluate(ground)?, light);
    Ok(())
}
