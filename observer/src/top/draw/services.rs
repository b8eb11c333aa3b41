//! The table of services.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row as Cells, Table, TableState};

use super::{bad, fit, middling, shown};
use crate::top::figures::{bytes, milliseconds, rate, share};
use crate::top::keys::{Screen, Sort, Timing};
use crate::top::rates::{Rates, Row};

/// With so many columns all three latencies are shown.
const WIDE: u16 = 118;

/// A name needs no more; what is left stays free.
const NAME_MAX: usize = 40;

const RATE: u16 = 6;
const SHARE: u16 = 4;
const TIME: u16 = 5;
const BYTES: u16 = 5;

pub(super) fn draw(frame: &mut Frame<'_>, rates: &Rates, screen: &Screen, area: Rect) {
    let timings: &[Timing] = if area.width >= WIDE { &Timing::ALL } else { std::slice::from_ref(&screen.timing) };
    let mut widths = vec![RATE, SHARE, SHARE, SHARE, SHARE];
    widths.extend(timings.iter().flat_map(|_| [TIME; 3]));
    widths.extend([BYTES, BYTES, RATE]);
    let taken: u16 = widths.iter().map(|width| width + 1).sum();
    let name = usize::from(area.width.saturating_sub(taken)).min(NAME_MAX);
    let constraints = std::iter::once(u16::try_from(name).unwrap_or(u16::MAX)).chain(widths);
    let rows = screen.rows(rates);
    let table = Table::new(rows.iter().map(|row| cells(row, timings, name)), constraints.map(Constraint::Length))
        .header(titles(screen, timings))
        .row_highlight_style(Style::new().reversed());
    let mut state = TableState::new().with_selected((!rows.is_empty()).then(|| screen.place(&rows)));
    let [caption, body] = ratatui::layout::Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(area);
    frame.render_widget(Text::from(vec![Line::default(), summary(rates, screen, rows.len())]), caption);
    frame.render_stateful_widget(table, body, &mut state);
}

fn summary<'a>(rates: &Rates, screen: &Screen, shown: usize) -> Line<'a> {
    let all = rates.rows.len();
    let count = match screen.filter.as_str() {
        "" => format!("{all} services"),
        filter => format!("{shown} of {all} services with \"{filter}\""),
    };
    let way = match (screen.sort, screen.is_reversed) {
        (Sort::Name, false) => "from A",
        (Sort::Name, true) => "from Z",
        (_, false) => "most first",
        (_, true) => "least first",
    };
    let latency = screen.timing.name();
    Line::from(format!("{count}, by {}, {way}; latency: {latency}", screen.sort.name())).bold()
}

fn titles<'a>(screen: &Screen, timings: &[Timing]) -> Cells<'a> {
    let mark = |name: &str, sorts: bool| match (sorts, screen.is_reversed) {
        (true, false) => format!("{name}↓"),
        (true, true) => format!("{name}↑"),
        (false, _) => name.to_owned(),
    };
    let sorts = |sort| screen.sort == sort;
    let mut cells = vec![Cell::from(mark("service", sorts(Sort::Name)))];
    cells.push(right(mark("req/s", sorts(Sort::Requests))));
    cells.extend(["2xx", "3xx", "4xx"].map(|class| right(class.to_owned())));
    cells.push(right(mark("5xx", sorts(Sort::Errors))));
    for timing in timings {
        let is_sorting = sorts(Sort::Latency) && *timing == screen.timing;
        // Which of the three it is, where there are three.
        let initial = match timings.len() {
            1 => "p".to_owned(),
            _ => timing.name()[..1].to_owned(),
        };
        cells.extend(["50", "90"].map(|name| right(format!("{initial}{name}"))));
        cells.push(right(mark(&format!("{initial}99"), is_sorting)));
    }
    cells.push(right("in".to_owned()));
    cells.push(right(mark("out", sorts(Sort::Bandwidth))));
    cells.push(right(mark("fail", sorts(Sort::Failures))));
    Cells::new(cells).style(Style::new().underlined())
}

fn cells<'a>(row: &Row, timings: &[Timing], name: usize) -> Cells<'a> {
    let mut cells = vec![Cell::from(fit(&shown(&row.name), name)), right(rate(row.requests))];
    let [_, class_2, class_3, class_4, class_5] = row.classes;
    let is_asked = row.requests > 0.0;
    let of = |class: f64| if is_asked { share(class) } else { "-".to_owned() };
    cells.extend([class_2, class_3].map(|class| right(of(class))));
    cells.push(right(of(class_4)).style(if class_4 > 0.0 { middling() } else { Style::new() }));
    cells.push(right(of(class_5)).style(if class_5 > 0.0 { bad() } else { Style::new() }));
    for timing in timings {
        cells.extend(row.latencies[*timing as usize].quantiles.map(|quantile| right(milliseconds(quantile))));
    }
    cells.extend([row.ingress, row.egress].map(|flow| right(bytes(flow))));
    cells.push(right(rate(row.failures)).style(if row.failures > 0.0 { bad() } else { Style::new() }));
    Cells::new(cells)
}

fn right<'a>(text: String) -> Cell<'a> {
    Cell::from(Text::from(text).right_aligned())
}
