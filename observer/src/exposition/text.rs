//! The text of a scrape: Kong's families as its plugin prints them, then the observer's own.
//!
//! The plugin's way differs from the usual exposition format where the format leaves a choice: series stand in byte
//! order of their full key, labels in the family's own order, bounds are padded so that byte order is numeric order,
//! and a series or bucket appears with its first increment.
//!
//! In OpenMetrics 1.0 the series have the same names and labels, so that a scraper may change between the two. Where a
//! counter's name does not fit that format (no `_total`, or a second family without it), its type is `unknown`.
//!
//! The `prometheus` crate hands counters over as `f64`: values above 2^53 (nine petabytes) lose their last digits.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};

use crate::metrics::Dialect;
use crate::metrics::families::{self, Family, GATEWAY_LABEL};

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
/// let page = text::encode(&metrics.registry().gather(), text::Options { own_metrics: false, ..Default::default() });
/// assert!(page.ends_with("\nkong_nginx_metric_errors_total 0\n"));
/// ```
pub fn encode(families: &[MetricFamily], options: Options) -> String {
    let mut kong: Vec<_> =
        families.iter().filter_map(|family| Some((family, families::of(options.dialect, family.name())?))).collect();
    kong.sort_by_cached_key(|(family, known)| first_key(family, known));

    let mut page = Page { text: String::new(), format: options.format, names: Vec::new() };
    page.names = families.iter().map(|family| family.name()).collect();
    for (family, known) in kong {
        page.family(family, &Style::kong(known, options.dialect));
    }
    if options.own_metrics {
        let own = families.iter().filter(|family| !families::is_kong(family.name()));
        for family in own {
            page.family(family, &Style::PLAIN);
        }
    }
    if options.format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

/// The start of the family's first key, as far as it decides between families.
fn first_key(family: &MetricFamily, known: &Family) -> String {
    let part = match family.get_field_type() {
        MetricType::HISTOGRAM => "_bucket",
        MetricType::COUNTER | MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => "",
    };
    let labels = if known.labels.is_empty() { "" } else { "{" };
    format!("{}{part}{labels}", known.name)
}

/// How a family is printed.
struct Style {
    /// Labels printed first, in this order; others follow as they come.
    labels: &'static [&'static str],
    /// Leaves out labelled series and buckets before their first increment.
    sparse: bool,
    bound: fn(f64) -> String,
}

impl Style {
    const PLAIN: Style = Style { labels: &[], sparse: false, bound: |bound| bound.to_string() };

    fn kong(known: &Family, dialect: Dialect) -> Style {
        let bound: fn(f64) -> String = match dialect {
            Dialect::First | Dialect::Third => |bound| format!("{bound:07.1}"),
            Dialect::Today => |bound| bound.to_string(),
        };
        Style { labels: known.labels, sparse: true, bound }
    }

    fn prints(&self, kind: MetricType, metric: &Metric) -> bool {
        if !self.sparse {
            return true;
        }
        match kind {
            MetricType::COUNTER => metric.get_label().is_empty() || metric.get_counter().get_value() > 0.0,
            MetricType::HISTOGRAM => metric.get_histogram().get_sample_count() > 0,
            MetricType::GAUGE | MetricType::SUMMARY | MetricType::UNTYPED => true,
        }
    }

    /// The labels of a series as they stand between the braces.
    fn label_block(&self, metric: &Metric) -> String {
        let pairs = metric.get_label();
        let first = self.labels.iter().filter_map(|label| pairs.iter().find(|pair| pair.name() == *label));
        let rest = pairs.iter().filter(|pair| !self.labels.contains(&pair.name()));
        let mut block = String::new();
        for pair in first.chain(rest) {
            debug_assert!(self.labels.is_empty() || self.labels.contains(&pair.name()) || pair.name() == GATEWAY_LABEL);
            if !block.is_empty() {
                block.push(',');
            }
            block.push_str(pair.name());
            block.push_str("=\"");
            push_escaped(&mut block, pair.value(), true);
            block.push('"');
        }
        block
    }
}

/// One series: its label block and where its values are.
type Series<'a> = (String, &'a Metric);

struct Page<'a> {
    text: String,
    format: Format,
    /// Of all families.
    names: Vec<&'a str>,
}

impl Page<'_> {
    fn family(&mut self, family: &MetricFamily, style: &Style) {
        let kind = family.get_field_type();
        let mut series: Vec<Series> = family
            .get_metric()
            .iter()
            .filter(|metric| style.prints(kind, metric))
            .map(|metric| (style.label_block(metric), metric))
            .collect();
        if series.is_empty() {
            return;
        }
        // All blocks of a family have the same labels, so their order is that of the full keys.
        series.sort_by(|(a, _), (b, _)| a.cmp(b));

        let name = family.name();
        self.comments(name, family.help(), kind);
        match kind {
            MetricType::COUNTER => self.values(name, &series, |m| m.get_counter().get_value()),
            MetricType::GAUGE => self.values(name, &series, |m| m.get_gauge().get_value()),
            MetricType::HISTOGRAM => self.histograms(name, &series, style),
            // The crate offers no metric of these kinds.
            MetricType::SUMMARY | MetricType::UNTYPED => {}
        }
    }

    fn comments(&mut self, name: &str, help: &str, kind: MetricType) {
        let is_open = self.format == Format::OpenMetrics;
        let (name, kind) = match kind {
            MetricType::COUNTER if is_open => self.open_counter(name),
            MetricType::UNTYPED if is_open => (name, "unknown"),
            _ => (name, kind_name(kind)),
        };
        self.extend(&["# HELP ", name, " "]);
        push_escaped(&mut self.text, help, is_open);
        self.extend(&["\n# TYPE ", name, " ", kind, "\n"]);
    }

    /// Name and type of a counter's family: OpenMetrics adds `_total` to the family's name for its series.
    fn open_counter<'n>(&self, name: &'n str) -> (&'n str, &'static str) {
        match name.strip_suffix("_total") {
            Some(family) if !self.names.contains(&family) => (family, "counter"),
            _ => (name, "unknown"),
        }
    }

    fn values(&mut self, name: &str, series: &[Series], value: impl Fn(&Metric) -> f64) {
        for (block, metric) in series {
            self.line(name, "", block, value(metric));
        }
    }

    fn histograms(&mut self, name: &str, series: &[Series], style: &Style) {
        let buckets = series[0].1.get_histogram().get_bucket().iter();
        let bounds = buckets.map(|bucket| (style.bound)(bucket.upper_bound())).chain(["+Inf".to_owned()]);
        let bounds: Vec<String> = bounds.map(|bound| format!("le=\"{bound}\"}} ")).collect();
        let start = |block: &str| format!("{name}_bucket{{{block}{}", if block.is_empty() { "" } else { "," });
        if self.format == Format::OpenMetrics {
            // There the lines of a series stand together.
            for (block, metric) in series {
                let histogram = metric.get_histogram();
                self.buckets(&start(block), histogram, &bounds, style.sparse);
                self.line(name, "_count", block, histogram.get_sample_count() as f64);
                self.line(name, "_sum", block, histogram.get_sample_sum());
            }
            return;
        }
        for (block, metric) in series {
            self.buckets(&start(block), metric.get_histogram(), &bounds, style.sparse);
        }
        for (block, metric) in series {
            let count = metric.get_histogram().get_sample_count();
            self.line(name, "_count", block, count as f64);
        }
        for (block, metric) in series {
            let sum = metric.get_histogram().get_sample_sum();
            self.line(name, "_sum", block, sum);
        }
    }

    /// Most lines of a page are these.
    fn buckets(&mut self, start: &str, histogram: &Histogram, bounds: &[String], sparse: bool) {
        let counts = histogram.get_bucket().iter().map(|b| b.cumulative_count());
        let all = std::iter::once(histogram.get_sample_count());
        for (bound, count) in bounds.iter().zip(counts.chain(all)) {
            if sparse && count == 0 {
                continue;
            }
            self.text.push_str(start);
            self.text.push_str(bound);
            self.text.push_str(itoa::Buffer::new().format(count));
            self.text.push('\n');
        }
    }

    fn line(&mut self, name: &str, part: &str, block: &str, value: f64) {
        self.extend(&[name, part]);
        if !block.is_empty() {
            self.extend(&["{", block, "}"]);
        }
        self.text.push(' ');
        push_number(&mut self.text, value);
        self.text.push('\n');
    }

    fn extend(&mut self, pieces: &[&str]) {
        for piece in pieces {
            self.text.push_str(piece);
        }
    }
}

fn kind_name(kind: MetricType) -> &'static str {
    match kind {
        MetricType::COUNTER => "counter",
        MetricType::GAUGE => "gauge",
        MetricType::HISTOGRAM => "histogram",
        MetricType::SUMMARY => "summary",
        MetricType::UNTYPED => "untyped",
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

fn push_escaped(text: &mut String, value: &str, quoted: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}
