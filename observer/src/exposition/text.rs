//! The text of a scrape: Kong's families as its plugin prints them, then the observer's own.
//!
//! The plugin's way differs from the usual exposition format where the format leaves a choice: series stand in byte
//! order of their full key, labels in the family's own order, bounds are padded so that byte order is numeric order,
//! and a series or bucket appears with its first increment.
//!
//! In OpenMetrics 1.0 the series have the same names and labels, so that a scraper may change between the two. Where a
//! counter's name does not fit that format (no `_total`, or a second family without it), its type is `unknown`.

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::sync::Arc;
use std::vec;

use crate::metrics::families::{self, Family};
use crate::metrics::{Dialect, Histograms, Reading, Values, push_escaped};

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
            if (0..family.reading.labels.len()).any(|row| family.prints(row)) {
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
            text.push_str(&part.comments);
            return true;
        };
        if *row < part.family.reading.labels.len() {
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

/// How a family is printed.
struct Style {
    /// Leaves out labelled series and buckets before their first increment.
    is_sparse: bool,
    bound: fn(f64) -> String,
}

impl Style {
    const PLAIN: Style = Style { is_sparse: false, bound: |bound| bound.to_string() };

    fn kong(dialect: Dialect) -> Style {
        let bound: fn(f64) -> String = match dialect {
            Dialect::First | Dialect::Third => |bound| format!("{bound:07.1}"),
            Dialect::Today => |bound| bound.to_string(),
        };
        Style { is_sparse: true, bound }
    }
}

/// A family that is printed.
struct Printed {
    reading: Reading,
    is_sparse: bool,
    /// What follows the labels in each bucket's line, up to its number.
    bounds: Vec<String>,
}

/// Lines of a family that stand together.
struct Part {
    family: Arc<Printed>,
    comments: String,
    lines: Lines,
}

/// Which lines a part has for each series.
#[derive(Clone, Copy)]
enum Lines {
    Value,
    Buckets,
    Count,
    Sum,
    Histogram,
}

impl Part {
    /// The family's parts, the first with its comments.
    fn all(family: Arc<Printed>, comments: String, is_open: bool) -> impl Iterator<Item = Part> {
        let all: &[Lines] = match family.reading.values {
            Values::Counters(_) | Values::Gauges(_) => &[Lines::Value],
            // There the lines of a series stand together.
            Values::Histograms(_) if is_open => &[Lines::Histogram],
            Values::Histograms(_) => &[Lines::Buckets, Lines::Count, Lines::Sum],
        };
        let comments = std::iter::once(comments).chain(std::iter::repeat_with(String::new));
        all.iter().zip(comments).map(move |(&lines, comments)| Part { family: Arc::clone(&family), comments, lines })
    }

    fn print(&self, row: usize, text: &mut String) {
        let family = &*self.family;
        if !family.prints(row) {
            return;
        }
        match (&family.reading.values, self.lines) {
            (Values::Counters(values) | Values::Gauges(values), _) => family.line("", row, values[row], text),
            (Values::Histograms(histograms), lines) => {
                if matches!(lines, Lines::Buckets | Lines::Histogram) {
                    family.buckets(row, histograms, text);
                }
                if matches!(lines, Lines::Count | Lines::Histogram) {
                    family.line("_count", row, histograms.count(row) as f64, text);
                }
                if matches!(lines, Lines::Sum | Lines::Histogram) {
                    family.line("_sum", row, histograms.sum(row), text);
                }
            }
        }
    }
}

impl Printed {
    fn new(reading: Reading, style: Style) -> Printed {
        let bounds = match &reading.values {
            Values::Histograms(Histograms { bounds, .. }) => {
                let bounds = bounds.iter().map(|bound| (style.bound)(*bound)).chain(["+Inf".to_owned()]);
                bounds.map(|bound| format!("le=\"{bound}\"}} ")).collect()
            }
            Values::Counters(_) | Values::Gauges(_) => Vec::new(),
        };
        Printed { reading, is_sparse: style.is_sparse, bounds }
    }

    fn prints(&self, row: usize) -> bool {
        if !self.is_sparse {
            return true;
        }
        match &self.reading.values {
            Values::Counters(values) => self.block(row).is_empty() || values[row] > 0.0,
            Values::Gauges(_) => true,
            Values::Histograms(histograms) => histograms.count(row) > 0,
        }
    }

    fn block(&self, row: usize) -> &str {
        self.reading.labels[row].as_str()
    }

    fn comments(&self, is_open: bool, names: &[impl AsRef<str>]) -> String {
        let Reading { name, help, values, .. } = &self.reading;
        let (name, kind) = match values {
            Values::Counters(_) if is_open => open_counter(name, names),
            _ => (&**name, values.kind()),
        };
        let mut escaped = String::new();
        push_escaped(&mut escaped, help, is_open);
        format!("# HELP {name} {escaped}\n# TYPE {name} {kind}\n")
    }

    /// Most lines of a page are these.
    fn buckets(&self, row: usize, histograms: &Histograms, text: &mut String) {
        let block = self.block(row);
        let comma = if block.is_empty() { "" } else { "," };
        let start = [&*self.reading.name, "_bucket{", block, comma].concat();
        for (bound, count) in self.bounds.iter().zip(histograms.counts(row)) {
            if self.is_sparse && *count == 0 {
                continue;
            }
            text.push_str(&start);
            text.push_str(bound);
            text.push_str(itoa::Buffer::new().format(*count));
            text.push('\n');
        }
    }

    fn line(&self, part: &str, row: usize, value: f64, text: &mut String) {
        text.push_str(&self.reading.name);
        text.push_str(part);
        let block = self.block(row);
        if !block.is_empty() {
            text.push('{');
            text.push_str(block);
            text.push('}');
        }
        text.push(' ');
        push_number(text, value);
        text.push('\n');
    }
}

/// Name and type of a counter's family: OpenMetrics adds `_total` to the family's name for its series.
fn open_counter<'n>(name: &'n str, names: &[impl AsRef<str>]) -> (&'n str, &'static str) {
    match name.strip_suffix("_total") {
        Some(family) if !names.iter().any(|name| name.as_ref() == family) => (family, "counter"),
        _ => (name, "unknown"),
    }
}

/// Below this, `f64` has every whole number.
const MAX_EXACT: f64 = (1_u64 << 53) as f64;

/// Whole numbers come out without a point, as `f64`'s own `Display` has it; only the infinities are spelt otherwise.
fn push_number(text: &mut String, value: f64) {
    if value.fract() == 0.0 && value.abs() < MAX_EXACT {
        text.push_str(itoa::Buffer::new().format(value as i64));
        return;
    }
    let written = if value == f64::INFINITY {
        text.write_str("+Inf")
    } else if value == f64::NEG_INFINITY {
        text.write_str("-Inf")
    } else {
        write!(text, "{value}")
    };
    written.expect("a String takes any text");
}
