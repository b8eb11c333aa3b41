//! The labels of a series, written as every page has them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::families;

/// The labels of a series as they stand between the braces, escaped once for all pages: `type="egress",service="a"`.
///
/// Kong's families have them in the order of its documentation, the others as they came. They compare byte by byte, which
/// is the order of a family's lines. Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Arc<str>);

impl Labels {
    /// Writes names and values for a series of the family of this name.
    pub fn new<'a>(family: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
        let first = families::named(family).map_or(&[][..], |known| known.labels);
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by_key(|(name, _)| first.iter().position(|known| known == name).unwrap_or(first.len()));
        let mut text = String::new();
        for (name, value) in pairs {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            push_escaped(&mut text, value, true);
            text.push('"');
        }
        Labels(text.into())
    }

    /// What stands between the braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value of the label of this name, empty where there is none.
    pub fn value(&self, name: &str) -> Cow<'_, str> {
        self.pairs().find(|(own, _)| *own == name).map_or(Cow::Borrowed(""), |(_, value)| unescaped(value))
    }

    /// The labels' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs().map(|(name, _)| name)
    }

    /// Names and escaped values.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_once("=\"")?;
            let end = closing_quote(after)?;
            rest = after[end + 1..].trim_start_matches(',');
            Some((name, &after[..end]))
        })
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Appends a label's value, which is `quoted`, or a HELP text, which is not.
pub fn push_escaped(text: &mut String, value: &str, quoted: bool) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quoted => text.push_str("\\\""),
            other => text.push(other),
        }
    }
}

/// Where the first quote stands that no backslash escapes.
fn closing_quote(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })
}

fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next().map(|escaped| if escaped == 'n' { '\n' } else { escaped })),
            other => text.push(other),
        }
    }
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_as_it_was() {
        let values = ["", "a", "é\u{fffd}", "\"", "\\", "\n", "\\n", "\\\"", "a\",b=\"c", ",", "=\"", "\\\\\n\"\""];
        for (one, other) in values.iter().flat_map(|one| values.iter().map(move |other| (*one, *other))) {
            let labels = Labels::new("x", [("first", one), ("second", other)].into_iter());
            assert_eq!((&*labels.value("first"), &*labels.value("second")), (one, other), "{labels}");
            assert_eq!(labels.names().collect::<Vec<_>>(), ["first", "second"]);
            assert_eq!(labels.value("third"), "");
        }
        let none = Labels::new("x", std::iter::empty());
        assert_eq!((none.as_str(), none.names().count()), ("", 0));
    }

    #[test]
    fn labels_of_kongs_families_stand_in_its_order() {
        let pairs = [("gateway", "g"), ("service", "a\"b\\c\nd"), ("type", "egress")];
        let kong = Labels::new("kong_bandwidth", pairs.into_iter());
        assert_eq!(kong.as_str(), r#"type="egress",service="a\"b\\c\nd",gateway="g""#);
        let own = Labels::new("observer_x", pairs.into_iter());
        assert_eq!(own.as_str(), r#"gateway="g",service="a\"b\\c\nd",type="egress""#);
    }
}
