//! `observer_info`: which agent this is, with labels that the person gives it.

use std::collections::HashSet;
use std::str::FromStr;

use prometheus::{IntGauge, Opts};
use thiserror::Error;

use super::registry::Registry;

/// A label of `observer_info`, written `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    name: String,
    value: String,
}

/// Text that is no label.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is no NAME=VALUE with a name of letters, digits and _ that begins with a letter and is not version; write as in \
     node=a7"
)]
pub struct NotALabel(String);

impl FromStr for Label {
    type Err = NotALabel;

    fn from_str(text: &str) -> Result<Label, NotALabel> {
        let wrong = || NotALabel(text.to_owned());
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        let begins_well = name.starts_with(|c: char| c.is_ascii_alphabetic());
        let is_name = begins_well && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !is_name || name == "version" {
            return Err(wrong());
        }
        Ok(Label { name: name.to_owned(), value: value.to_owned() })
    }
}

/// Registers the family. Of a name that is given twice the first value holds.
pub fn register_info(registry: &Registry, labels: &[Label]) {
    let help = "Always 1; the observer's version, and what --label says of it";
    let mut options = Opts::new("observer_info", help).const_label("version", env!("CARGO_PKG_VERSION"));
    let mut seen = HashSet::new();
    for Label { name, value } in labels.iter().filter(|label| seen.insert(&label.name)) {
        options = options.const_label(name, value);
    }
    let info = super::own::register(registry, IntGauge::with_opts(options));
    info.set(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_told_beside_the_version() {
        let registry = Registry::new();
        let labels = ["node=a7", "rack=", "node=b8"].map(|text| text.parse().unwrap());
        register_info(&registry, &labels);
        let families = registry.gather();
        let info: Vec<_> = families[0].numbers().map(|(labels, value)| (labels.as_str(), value)).collect();
        assert_eq!(info, [(concat!(r#"node="a7",rack="",version=""#, env!("CARGO_PKG_VERSION"), "\""), 1.0)]);
    }

    #[test]
    fn what_prometheus_would_not_take_is_no_label() {
        for text in ["node", "=a", "0=a", "_a=b", "__name__=a", "version=2", "a-b=c", "ä=b", ""] {
            assert!(text.parse::<Label>().is_err(), "{text}");
        }
    }
}
