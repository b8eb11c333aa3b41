//! One service: its statuses, targets and histogram.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::Line;
use ratatui::widgets::Paragraph;

use super::bars::bars;
use super::{bad, fit, middling, shown};
use crate::top::figures::{bytes, milliseconds, rate, share};
use crate::top::keys::Screen;
use crate::top::rates::{QUANTILES, Rates, Row, TargetRow};

/// Columns of statuses and targets.
const LEFT: u16 = 38;

/// Lines that the targets have at least, with their title.
const TARGETS_MIN: u16 = 4;

pub(super) fn draw(frame: &mut Frame<'_>, row: &Row, rates: &Rates, screen: &Screen, area: Rect) {
    let [head, body] = Layout::vertical([Constraint::Length(5), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(summary(row, area.width)), head);
    let [left, _, right] =
        Layout::horizontal([Constraint::Length(LEFT), Constraint::Length(2), Constraint::Min(20)]).areas(body);
    let codes = u16::try_from(row.codes.len() + 1).unwrap_or(u16::MAX).min(left.height.saturating_sub(TARGETS_MIN));
    let [above, below] = Layout::vertical([Constraint::Length(codes), Constraint::Min(0)]).areas(left);
    frame.render_widget(Paragraph::new(statuses(row, usize::from(codes))), above);
    frame.render_widget(Paragraph::new(targets(row, below)), below);
    frame.render_widget(Paragraph::new(histogram(row, rates, screen, right)), right);
}

fn summary(row: &Row, width: u16) -> Vec<Line<'static>> {
    let failures: Vec<String> = row.failures_by.iter().map(|(by, count)| format!("{by} {count}")).collect();
    let failures = match failures.is_empty() {
        true => "no failures".to_owned(),
        false => format!("{}/s failures (by {})", rate(row.failures), failures.join(", ")),
    };
    let latency = |index: usize| row.latencies[index].quantiles.map(milliseconds).join(" ");
    vec![
        Line::default(),
        Line::from(fit(&format!("service {}", shown(&row.name)), usize::from(width))).bold(),
        Line::from(format!(
            "{} req/s, in {}/s, out {}/s, {}/s retries",
            rate(row.requests),
            bytes(row.ingress),
            bytes(row.egress),
            rate(row.retries)
        )),
        Line::from(failures).style(if row.failures > 0.0 { bad() } else { Style::new() }),
        Line::from(format!(
            "{} ms: kong {}, upstream {}, request {}",
            QUANTILES.map(|q| format!("p{}", q * 100.0)).join(" "),
            latency(0),
            latency(1),
            latency(2)
        )),
    ]
}

fn title(text: String) -> Line<'static> {
    Line::from(text).style(Style::new().underlined())
}

/// The most frequent ones, when there is no room for all.
fn statuses(row: &Row, height: usize) -> Vec<Line<'static>> {
    let mut codes = row.codes.clone();
    let room = height.saturating_sub(1);
    if codes.len() > room {
        codes.sort_by(|a, b| b.2.total_cmp(&a.2).then(b.1.cmp(&a.1)));
        codes.truncate(room);
    }
    let style = |code: &str| match code.as_bytes() {
        [b'5', ..] => bad(),
        [b'4', ..] => middling(),
        _ => Style::new(),
    };
    let line = |(code, total, now): (String, u64, f64)| {
        Line::from(format!("{code:<9}{:>8}{total:>16}", rate(now))).style(style(&code))
    };
    let head = title(format!("{:<9}{:>8}{:>16}", "status", "/s", "since start"));
    std::iter::once(head).chain(codes.into_iter().map(line)).collect()
}

fn targets(row: &Row, area: Rect) -> Vec<Line<'static>> {
    let room = usize::from(area.height).saturating_sub(2);
    let mut targets: Vec<&TargetRow> = row.targets.iter().collect();
    targets.sort_by(|a, b| b.failures_in_a_row.cmp(&a.failures_in_a_row).then(b.requests.total_cmp(&a.requests)));
    let line = |target: &&TargetRow| {
        let text = format!(
            "{:<21}{:>6} {:>4} {:>5}",
            fit(&crate::tail::shown(&target.target), 21),
            rate(target.requests),
            share(target.bad),
            fit(&target.failures_in_a_row.to_string(), 5)
        );
        Line::from(text).style(if target.failures_in_a_row > 0 { bad() } else { Style::new() })
    };
    let head = title(format!("{:<21}{:>6} {:>4} {:>5}", "target", "/s", "bad%", "row"));
    let mut lines = vec![Line::default(), head];
    lines.extend(targets.iter().take(room).map(line));
    if targets.len() > room && room > 0 {
        lines.pop();
        lines.push(Line::from(format!("and {} more", targets.len() + 1 - room)).dim());
    }
    lines
}

fn histogram(row: &Row, rates: &Rates, screen: &Screen, area: Rect) -> Vec<Line<'static>> {
    let times = &row.latencies[screen.timing as usize];
    let room = usize::from(area.height).saturating_sub(1);
    let lines = bars(&rates.bounds_ms, &times.buckets, usize::from(area.width), room);
    let head = title(format!("{} latency, ms", screen.timing.name()));
    let lines = match lines.is_empty() {
        true => vec!["no requests in this time".to_owned()],
        false => lines,
    };
    std::iter::once(head).chain(lines.into_iter().map(Line::from)).collect()
}
