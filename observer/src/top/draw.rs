//! The screen: a header, the services or one of them, and the keys.

mod bars;
mod header;
mod service;
mod services;
#[cfg(test)]
mod tests;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::keys::Screen;
use super::rates::Rates;

/// A smaller screen shows what it should be.
const SMALLEST: (u16, u16) = (60, 12);

const KEYS: &str = "q quit  ↑↓ ⏎ open  s sort  r reverse  / filter  l latency  w window  p pause  ?";

const OPEN_KEYS: &str = "esc back  l latency  w window  p pause  q quit  ?";

const HELP: [&str; 14] = [
    "↑ ↓ PgUp PgDn Home End    move the bar (or k, j)",
    "Enter                     open the service: statuses, targets, histogram",
    "Esc                       back; clears the filter",
    "s                         sort by requests, 5xx, p99, bandwidth, failures, name",
    "r                         reverse the order",
    "/                         only services with this in their name",
    "l                         latency: kong, upstream, request",
    "w                         rates over the last 10 s, or the last second",
    "p                         pause",
    "q                         quit",
    "",
    "2xx to 5xx: percent of the requests. p50, p90, p99: milliseconds, read off the",
    "histogram's buckets. in, out: bytes per second. fail: failed exchanges per second.",
    "Any key closes this.",
];

/// Draws everything; without rates there was no answer yet.
pub fn draw(frame: &mut Frame<'_>, rates: Option<&Rates>, screen: &Screen) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = format!("this window is too small: at least {}x{}, better 80x24", SMALLEST.0, SMALLEST.1);
        return frame.render_widget(Paragraph::new(text), area);
    }
    let Some(rates) = rates else {
        return frame.render_widget(Paragraph::new("waiting for the observer"), area);
    };
    let header = header::lines(rates, screen, area.width);
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(u16::try_from(header.len()).unwrap_or(u16::MAX)),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(header), top);
    let opened = rates.rows.iter().find(|row| screen.is_open && Some(&row.name) == screen.selected.as_ref());
    match opened {
        Some(row) => service::draw(frame, row, rates, screen, middle),
        None => services::draw(frame, rates, screen, middle),
    }
    let keys = if screen.is_typing {
        Line::from(vec![
            Span::from("/"),
            Span::from(screen.filter.as_str()).bold(),
            Span::from("▏ enter keeps, esc clears"),
        ])
    } else {
        Line::from(if opened.is_some() { OPEN_KEYS } else { KEYS }).dim()
    };
    frame.render_widget(keys, bottom);
    if screen.is_helping {
        help(frame, middle);
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    frame.render_widget(Clear, area);
    frame.render_widget(Paragraph::new(HELP.map(Line::from).to_vec()), area);
}

/// A name's last characters give way to `…` where it does not fit.
fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// What a service is called on a screen.
fn shown(name: &str) -> String {
    match name {
        "" => "(none)".to_owned(),
        name => crate::tail::shown(name),
    }
}

fn bad() -> Style {
    Style::new().fg(Color::Red)
}

fn middling() -> Style {
    Style::new().fg(Color::Yellow)
}
