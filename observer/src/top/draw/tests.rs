//! Screens, character by character.

use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw;
use crate::top::keys::{Screen, Sort, Timing};
use crate::top::rates::Rates;
use crate::top::rates::tests::snapshot;

fn rates() -> Rates {
    Rates::between(&snapshot(3_600), &snapshot(3_610))
}

/// The lines without the blanks at their ends.
fn screen(width: u16, height: u16, rates: Option<&Rates>, screen: &Screen) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, rates, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

#[test]
fn services_fit_80_by_24() {
    let lines = screen(80, 24, Some(&rates()), &Screen::default());
    assert_eq!(lines.join("\n"), include_str!("tests/services.txt").trim_end_matches('\n'));
}

#[test]
fn one_service_fits_80_by_24() {
    let opened = Screen { selected: Some("users".into()), is_open: true, ..Screen::default() };
    let lines = screen(80, 24, Some(&rates()), &opened);
    assert_eq!(lines.join("\n"), include_str!("tests/service.txt").trim_end_matches('\n'));
}

#[test]
fn a_wide_screen_shows_all_latencies() {
    let lines = screen(140, 30, Some(&rates()), &Screen::default());
    let titles = lines.iter().find(|line| line.starts_with("service")).unwrap();
    let expected = "service req/s↓ 2xx 3xx 4xx 5xx k50 k90 k99 u50 u90 u99 r50 r90 r99 in out fail";
    assert_eq!(titles.split_whitespace().collect::<Vec<_>>().join(" "), expected);
    assert_eq!(lines.last().unwrap().split("  ").last(), Some("?"));
}

#[test]
fn what_is_wrong_is_said() {
    let mut broken = rates();
    broken.errors = (0, 0);
    broken.gateways.clear();
    broken.enabled = false;
    let text = |screen: &Screen| self::screen(80, 24, Some(&broken), screen).join("\n");
    let told = text(&Screen::default());
    for expected in ["loss       none; 2.00 req/s without a service", "none runs", "DISABLED"] {
        assert!(told.contains(expected), "{expected} in\n{told}");
    }
    let told = text(&Screen { failure: Some("it is gone".into()), is_paused: true, ..Screen::default() });
    assert!(told.contains("NO ANSWER  it is gone") && told.contains("PAUSED"), "{told}");
    assert!(screen(50, 24, Some(&broken), &Screen::default())[0].starts_with("this window is too small"));
    assert_eq!(screen(80, 24, None, &Screen::default())[0], "waiting for the observer");
}

#[test]
fn filter_order_and_help_are_shown() {
    let screen_of = |screen: &Screen| self::screen(80, 24, Some(&rates()), screen);
    let filtered = Screen {
        filter: "ord".into(),
        is_typing: true,
        sort: Sort::Name,
        is_reversed: true,
        timing: Timing::Kong,
        ..Screen::default()
    };
    let lines = screen_of(&filtered);
    assert!(lines.contains(&"1 of 2 services with \"ord\", by name, from Z; latency: kong".to_owned()), "{lines:#?}");
    assert_eq!(lines[23], "/ord▏ enter keeps, esc clears");
    assert!(!lines.iter().any(|line| line.starts_with("users")));
    let help = screen_of(&Screen { is_helping: true, ..Screen::default() });
    assert!(help.iter().any(|line| line.starts_with("Enter ")), "{help:#?}");
}

#[test]
fn two_hundred_services_scroll_with_the_bar() {
    let mut many = rates();
    let row = many.rows[0].clone();
    many.rows = (0..200).map(|number| crate::top::Row { name: format!("s{number:03}"), ..row.clone() }).collect();
    let at = Screen { selected: Some("s150".into()), ..Screen::default() };
    let lines = screen(80, 24, Some(&many), &at);
    assert!(lines.iter().any(|line| line.starts_with("s150 ")) && !lines.iter().any(|line| line.starts_with("s000 ")));
}
