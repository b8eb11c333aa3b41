//! The text of a scrape: Kong's families as its plugin prints them, then the observer's own.
//!
//! The plugin's way differs from the usual exposition format where the format leaves a choice: series stand in byte
//! order of their full key, labels in the family's own order, bounds are padded so that byte order is numeric order,
//! and a series or bucket appears with its first increment.
//!
//! In OpenMetrics 1.0 the series have the same names and labels, so that a scraper may change between the two. Where a
//! counter's name does not fit that format (no `_total`, or a second family without it), its type is `unknown`.

mod family;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::vec;

use crate::metrics::families::{self, Family};
use crate::metrics::{Dialect, Reading, Values};

use family::{Part, Printed, Style};

/// What belongs on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Prints the observer's own families after Kong's; without them the page is the plugin's alone.
    pub own_metrics: bool,
    /// Which of Kong's families.
    pub dialect: Dialect,
    /// How.
    pub format: Format,
}

/// The exposition formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Prometheus's text, version 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Default for Options {
    fn default() -> Options {
        Options { own_metrics: true, dialect: Dialect::default(), format: Format::default() }
    }
}

/// Prints gathered families, each line ended by a newline.
///
/// ```
/// use observer::{exposition::text, metrics::Metrics};
///
/// let metrics = Metrics::new(Default::default());
/// let page = text::encode(metrics.registry().gather(), text::Options { own_metrics: false, ..Default::default() });
/// assert!(page.ends_with("\nkong_nginx_metric_errors_total 0\n"));
/// ```
pub fn encode(readings: Vec<Reading>, options: Options) -> String {
    Page::new(readings, options).collect()
}

/// A page as it is printed: pieces of some [`PIECE_BYTES`], each of whole lines. A page of 1,000 services has 10 MB, and what it
/// is printed from a tenth of that.
pub struct Page {
    parts: vec::IntoIter<Part>,
    /// The part that is being printed, and its next row.
    current: Option<(Part, usize)>,
    end: &'static str,
}

/// What a piece has at least, but for the last: little beside what it is printed from, and enough that the calls to send it
/// do not count.
pub const PIECE_BYTES: usize = 64 * 1024;

/// How much longer a piece may get without growing: a histogram with long labels.
const PIECE_ROOM_BYTES: usize = 8 * 1024;

impl Page {
    /// Before its first piece.
    pub fn new(readings: Vec<Reading>, options: Options) -> Page {
        let is_open = options.format == Format::OpenMetrics;
        let names: Vec<_> = readings.iter().map(|reading| reading.name.clone()).collect();
        let (kong, own): (Vec<_>, Vec<_>) =
            readings.into_iter().partition(|reading| families::named(&reading.name).is_some());
        let mut kong: Vec<_> = kong
            .into_iter()
            .filter_map(|reading| families::of(options.dialect, &reading.name).map(|known| (reading, known)))
            .collect();
        kong.sort_by_cached_key(|(reading, known)| first_key(reading, known));

        let mut parts = Vec::new();
        let mut print = |reading: Reading, style: Style| {
            let family = Printed::new(reading, style);
            if (0..family.rows()).any(|row| family.prints(row)) {
                let comments = family.comments(is_open, &names);
                parts.extend(Part::all(Arc::new(family), comments, is_open));
            }
        };
        kong.into_iter().for_each(|(reading, _)| print(reading, Style::kong(options.dialect)));
        if options.own_metrics {
            own.into_iter().for_each(|reading| print(reading, Style::PLAIN));
        }
        Page { parts: parts.into_iter(), current: None, end: if is_open { "# EOF\n" } else { "" } }
    }

    /// Prints the next row; false at the end.
    fn print(&mut self, text: &mut String) -> bool {
        let Some((part, row)) = &mut self.current else {
            self.current = self.parts.next().map(|part| (part, 0));
            let Some((part, _)) = &self.current else { return false };
            text.push_str(part.comments());
            return true;
        };
        if *row < part.rows() {
            part.print(*row, text);
            *row += 1;
        } else {
            self.current = None;
        }
        true
    }
}

impl Iterator for Page {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let mut text = String::with_capacity(PIECE_BYTES + PIECE_ROOM_BYTES);
        while text.len() < PIECE_BYTES {
            if !self.print(&mut text) {
                text.push_str(std::mem::take(&mut self.end));
                break;
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The start of the family's first key, as far as it decides between families.
fn first_key(reading: &Reading, known: &Family) -> String {
    let part = match reading.values {
        Values::Histograms(_) => "_bucket",
        Values::Counters(_) | Values::Gauges(_) => "",
    };
    let labels = if known.labels.is_empty() { "" } else { "{" };
    format!("{}{part}{labels}", known.name)
}
