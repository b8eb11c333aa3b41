//! What holds for all services: who runs, connections, what was lost, what the observer takes.

use ratatui::style::Stylize;
use ratatui::text::{Line, Span};

use super::{bad, fit, middling};
use crate::snapshot::Gateway;
use crate::top::figures::{age, bytes, rate, share};
use crate::top::keys::Screen;
use crate::top::rates::Rates;

/// Reasons of losses that are named.
const REASONS: usize = 3;

/// Five lines, and one more where something has to be said.
pub(super) fn lines<'a>(rates: &'a Rates, screen: &'a Screen, width: u16) -> Vec<Line<'a>> {
    let mut lines =
        vec![title(rates, screen), gateways(&rates.gateways, width), connections(rates), loss(rates), own(rates)];
    if let Some(failure) = &screen.failure {
        lines.push(Line::from(format!("NO ANSWER  {failure}")).style(bad()));
    } else if !rates.enabled {
        lines.push(
            Line::from("DISABLED   nothing is counted until the plugin is enabled: POST /plugins").style(middling()),
        );
    }
    lines
}

fn title<'a>(rates: &'a Rates, screen: &Screen) -> Line<'a> {
    let (version, host) = &rates.agent;
    let mut parts = vec![
        Span::from(format!("observer {version} on {host}")).bold(),
        Span::from(format!("  up {}  ", age(rates.up_s))),
        Span::from(format!("{} req/s", rate(rates.requests))).bold(),
        Span::from(format!("  over {}", age(rates.seconds.round()))),
    ];
    if screen.is_paused {
        parts.push(Span::from("  PAUSED").style(middling()).bold());
    }
    Line::from(parts)
}

fn gateways(gateways: &[Gateway], width: u16) -> Line<'_> {
    let one = |gateway: &Gateway| {
        let plural = if gateway.workers == 1 { "" } else { "s" };
        format!("{} (pid {}, {} worker{plural})", crate::tail::shown(&gateway.name), gateway.pid, gateway.workers)
    };
    let all: Vec<String> = gateways.iter().map(one).collect();
    match all.len() {
        0 => Line::from("gateways   none runs; watching for one to start").style(middling()),
        1 => Line::from(fit(&format!("gateway    {}", all[0]), usize::from(width))),
        many => Line::from(fit(&format!("gateways   {many}: {}", all.join(", ")), usize::from(width))),
    }
}

fn connections(rates: &Rates) -> Line<'_> {
    let now = &rates.connections;
    Line::from(format!(
        "clients    {} connections: {} reading, {} writing, {} waiting; {}/s accepted",
        now.active,
        now.reading,
        now.writing,
        now.waiting,
        rate(rates.accepted)
    ))
}

fn loss(rates: &Rates) -> Line<'_> {
    let unattributed = match rates.unattributed {
        none if none <= 0.0 => String::new(),
        some => format!("; {} req/s without a service", rate(some)),
    };
    let (all, new) = rates.errors;
    if all == 0 {
        return Line::from(format!("loss       none{unattributed}"));
    }
    let told = rates.reasons.iter().filter(|(_, count)| *count > 0).take(REASONS);
    let told: Vec<String> = told.map(|(reason, count)| format!("{reason} {count}")).collect();
    let text = format!("loss       {all}, {new} of them now ({}){unattributed}", told.join(", "));
    Line::from(text).style(if new > 0 { bad() } else { middling() })
}

fn own(rates: &Rates) -> Line<'_> {
    Line::from(format!("observer   {} % of a CPU, {} of memory", share(rates.cpu), bytes(rates.resident_bytes as f64)))
}
