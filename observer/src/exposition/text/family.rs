//! The lines of one family.

use std::fmt::Write;
use std::sync::Arc;

use crate::metrics::{Dialect, Histograms, Reading, Values, push_escaped};

/// How a family is printed.
pub(super) struct Style {
    /// Leaves out labelled series and buckets before their first increment.
    is_sparse: bool,
    bound: fn(f64) -> String,
}

impl Style {
    pub(super) const PLAIN: Style = Style { is_sparse: false, bound: |bound| bound.to_string() };

    pub(super) fn kong(dialect: Dialect) -> Style {
        let bound: fn(f64) -> String = match dialect {
            Dialect::First | Dialect::Third => |bound| format!("{bound:07.1}"),
            Dialect::Today => |bound| bound.to_string(),
        };
        Style { is_sparse: true, bound }
    }
}

/// A family that is printed.
pub(super) struct Printed {
    reading: Reading,
    is_sparse: bool,
    /// What follows the labels in each bucket's line, up to its number.
    bounds: Vec<String>,
}

/// Lines of a family that stand together.
pub(super) struct Part {
    family: Arc<Printed>,
    comments: String,
    /// Those of each histogram; another series has one line.
    lines: &'static [Lines],
}

/// Lines of a histogram.
enum Lines {
    Buckets,
    Count,
    Sum,
}

impl Part {
    /// The family's parts, the first with its comments.
    pub(super) fn all(family: Arc<Printed>, comments: String, is_open: bool) -> impl Iterator<Item = Part> {
        let all: &[&'static [Lines]] = match family.reading.values {
            Values::Counters(_) | Values::Gauges(_) => &[&[]],
            // There the lines of a series stand together.
            Values::Histograms(_) if is_open => &[&[Lines::Buckets, Lines::Count, Lines::Sum]],
            Values::Histograms(_) => &[&[Lines::Buckets], &[Lines::Count], &[Lines::Sum]],
        };
        let comments = std::iter::once(comments).chain(std::iter::repeat_with(String::new));
        all.iter().zip(comments).map(move |(&lines, comments)| Part { family: Arc::clone(&family), comments, lines })
    }

    /// What stands before its rows.
    pub(super) fn comments(&self) -> &str {
        &self.comments
    }

    pub(super) fn rows(&self) -> usize {
        self.family.rows()
    }

    /// The lines of a series, if it is printed at all.
    pub(super) fn print(&self, row: usize, text: &mut String) {
        let family = &*self.family;
        if !family.prints(row) {
            return;
        }
        let histograms = match &family.reading.values {
            Values::Counters(values) | Values::Gauges(values) => return family.line("", row, values[row], text),
            Values::Histograms(histograms) => histograms,
        };
        for lines in self.lines {
            match lines {
                Lines::Buckets => family.buckets(row, histograms, text),
                Lines::Count => family.line("_count", row, histograms.count(row) as f64, text),
                Lines::Sum => family.line("_sum", row, histograms.sum(row), text),
            }
        }
    }
}

impl Printed {
    pub(super) fn new(reading: Reading, style: Style) -> Printed {
        let bounds = match &reading.values {
            Values::Histograms(Histograms { bounds, .. }) => {
                let bounds = bounds.iter().map(|bound| (style.bound)(*bound)).chain(["+Inf".to_owned()]);
                bounds.map(|bound| format!("le=\"{bound}\"}} ")).collect()
            }
            Values::Counters(_) | Values::Gauges(_) => Vec::new(),
        };
        Printed { reading, is_sparse: style.is_sparse, bounds }
    }

    pub(super) fn rows(&self) -> usize {
        self.reading.labels.len()
    }

    /// Whether a series is on the page.
    pub(super) fn prints(&self, row: usize) -> bool {
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

    /// Its HELP and TYPE lines; `names` are those of all families.
    pub(super) fn comments(&self, is_open: bool, names: &[impl AsRef<str>]) -> String {
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
