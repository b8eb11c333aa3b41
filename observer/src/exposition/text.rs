//! The text of a scrape: Kong's families as its plugin 0.1.0 prints them, then the observer's own.
//!
//! The plugin's way differs from the usual exposition format where the format leaves a choice: series stand in byte
//! order of their full key, labels in the family's own order, bounds are padded so that byte order is numeric order,
//! and a series or bucket appears with its first increment.
//!
//! The `prometheus` crate hands counters over as `f64`: values above 2^53 (nine petabytes) lose their last digits.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use prometheus::proto::{Histogram, Metric, MetricFamily, MetricType};

use crate::metrics::families::{self, Family, GATEWAY_LABEL};

/// What belongs on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Prints the observer's own families after Kong's; without them the page is the plugin's alone.
    pub own_metrics: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options { own_metrics: true }
    }
}

/// Prints gathered families in dialect `0.1`, each line ended by a newline.
///
/// ```
/// use observer::{exposition::text, metrics::Metrics};
///
/// let metrics = Metrics::new(Default::default());
/// let page = text::encode(&metrics.registry().gather(), text::Options { own_metrics: false });
/// assert!(page.ends_with("\nkong_nginx_metric_errors_total 0\n"));
/// ```
pub fn encode(families: &[MetricFamily], options: Options) -> String {
    let mut kong: Vec<_> =
        families.iter().filter_map(|family| Some((family, families::kong(family.name())?))).collect();
    kong.sort_by_cached_key(|(family, known)| first_key(family, known));

    let mut page = Page::default();
    for (family, known) in kong {
        page.family(family, &Style::kong(known));
    }
    if options.own_metrics {
        let own = families.iter().filter(|family| families::kong(family.name()).is_none());
        for family in own {
            page.family(family, &Style::PLAIN);
        }
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

    fn kong(known: &Family) -> Style {
        Style { labels: known.labels, sparse: true, bound: |bound| format!("{bound:07.1}") }
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

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
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
        let kind = match kind {
            MetricType::COUNTER => "counter",
            MetricType::GAUGE => "gauge",
            MetricType::HISTOGRAM => "histogram",
            MetricType::SUMMARY => "summary",
            MetricType::UNTYPED => "untyped",
        };
        self.extend(&["# HELP ", name, " "]);
        push_escaped(&mut self.text, help, false);
        self.extend(&["\n# TYPE ", name, " ", kind, "\n"]);
    }

    fn values(&mut self, name: &str, series: &[Series], value: impl Fn(&Metric) -> f64) {
        for (block, metric) in series {
            self.line(name, "", block, value(metric));
        }
    }

    fn histograms(&mut self, name: &str, series: &[Series], style: &Style) {
        let bounds: Vec<String> =
            series[0].1.get_histogram().get_bucket().iter().map(|bucket| (style.bound)(bucket.upper_bound())).collect();
        for (block, metric) in series {
            self.buckets(name, block, metric.get_histogram(), &bounds, style.sparse);
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

    fn buckets(&mut self, name: &str, block: &str, histogram: &Histogram, bounds: &[String], sparse: bool) {
        let comma = if block.is_empty() { "" } else { "," };
        let counts = histogram.get_bucket().iter().map(|b| b.cumulative_count());
        let all = std::iter::once(("+Inf", histogram.get_sample_count()));
        let bounded = bounds.iter().map(String::as_str).zip(counts);
        for (bound, count) in bounded.chain(all) {
            if sparse && count == 0 {
                continue;
            }
            self.extend(&[name, "_bucket{", block, comma, "le=\"", bound, "\"} "]);
            writeln!(self.text, "{count}").expect("a String takes any text");
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

/// Whole numbers come out without a point, as `f64`'s own `Display` has it; only the infinities are spelt otherwise.
fn push_number(text: &mut String, value: f64) {
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
