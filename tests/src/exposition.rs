//! The agent's exposition text as numbers.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// Series by full key, exactly as printed: `kong_http_status{code="200",service="a"}`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Exposition {
    series: BTreeMap<String, f64>,
}

impl Exposition {
    /// Reads the text format. Error for a line that is none of it, or for a series printed twice.
    pub fn parse(text: &str) -> Result<Self> {
        let mut series = BTreeMap::new();
        for line in text.lines() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.rsplit_once(' ').with_context(|| format!("not a sample: {line:?}"))?;
            let value = value.parse().with_context(|| format!("not a number: {line:?}"))?;
            let before = series.insert(key.to_owned(), value);
            ensure!(before.is_none(), "printed twice: {key}");
        }
        Ok(Self { series })
    }

    /// The value of a series, when it was printed.
    pub fn get(&self, key: &str) -> Option<f64> {
        self.series.get(key).copied()
    }

    /// The value of a series; 0 for one that was not printed, as series appear with their first increment.
    pub fn value(&self, key: &str) -> f64 {
        self.get(key).unwrap_or(0.0)
    }

    /// Keys and values of a family, the exact name; bucket, sum and count of a histogram are families here.
    pub fn family<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.series.iter().filter_map(move |(key, value)| {
            let rest = key.strip_prefix(name)?;
            (rest.is_empty() || rest.starts_with('{')).then_some((key.as_str(), *value))
        })
    }

    /// The observer's own series that are not 0, a line each: what it says of itself when something is wrong.
    pub fn own(&self) -> String {
        let own = self.series.iter().filter(|(key, value)| key.starts_with("observer_") && **value != 0.0);
        own.map(|(key, value)| format!("{key} {value}\n")).collect()
    }

    /// Sum over a family.
    pub fn sum(&self, family: &str) -> f64 {
        self.family(family).map(|(_, value)| value).sum()
    }

    /// Without the series whose value is 0.
    pub fn without_zeros(mut self) -> Self {
        self.series.retain(|_, value| *value != 0.0);
        self
    }

    /// Growth since `earlier`. Meant for counters; a gauge's value becomes its difference.
    pub fn since(&self, earlier: &Self) -> Self {
        let grown = |(key, value): (&String, &f64)| (key.clone(), value - earlier.value(key));
        Self { series: self.series.iter().map(grown).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a_total A\n# TYPE a_total counter\n\
        a_total{service=\"x y\",code=\"1\"} 2\na_total{code=\"2\"} 3.5\na_total_b 7\n";

    #[test]
    fn families_are_told_by_their_whole_name() {
        let exposition = Exposition::parse(TEXT).unwrap();
        assert_eq!(exposition.sum("a_total"), 5.5);
        assert_eq!(exposition.get("a_total{service=\"x y\",code=\"1\"}"), Some(2.0));
        assert_eq!(exposition.get("a"), None);
    }

    #[test]
    fn a_series_printed_twice_is_an_error() {
        assert!(Exposition::parse("a 1\na 2\n").is_err());
    }

    #[test]
    fn growth_counts_new_series_from_zero() {
        let exposition = Exposition::parse("a 5\nb 2\n").unwrap();
        let earlier = Exposition::parse("a 3\n").unwrap();
        let grown = exposition.since(&earlier);
        assert_eq!((grown.value("a"), grown.value("b")), (2.0, 2.0));
    }
}
