//! The rules that routes are made of: path prefixes and regular expressions.

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use super::path::{normalize, normalize_regex};

/// A path of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum PathRule {
    /// Matches every path that begins with these bytes, at a segment's border or not. Normalised.
    Prefix(Arc<[u8]>),
    /// Matches every path that begins with a match.
    Regex(Pattern),
}

/// A compiled regular expression over bytes. Two are equal when their texts are.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

/// The reason why a regular expression cannot be used, one line.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl PathRule {
    /// A path as Kong 3 and the observer's own file have it: `/prefix`, or `~/regex`.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        match text.strip_prefix('~') {
            Some(regex) => Pattern::path(regex).map(Self::Regex),
            None => Ok(Self::Prefix(normalize(text.as_bytes()).into())),
        }
    }

    /// A path of the formats 1.1 and 2.1: a regular expression where it holds anything but letters, digits and
    /// `.-_~/%` (Kong's `migrate_path_280_300.lua`).
    pub fn parse_before_3(text: &str) -> Result<Self, PatternError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~/%".contains(&b);
        if text.starts_with('~') || text.bytes().all(is_plain) {
            return Self::parse(text);
        }
        Pattern::path(&normalize_regex(text)).map(Self::Regex)
    }
}

impl Pattern {
    /// A path's expression: it must match from the path's first byte on, but not to its end.
    pub fn path(text: &str) -> Result<Self, PatternError> {
        // Compiled alone first: `)(` would pass inside the group.
        compile(text, false)?;
        compile(&format!("^(?:{text})"), false).map(Self)
    }

    /// A header value's expression: it may match anywhere, in any case.
    pub fn header(text: &str) -> Result<Self, PatternError> {
        compile(text, true).map(Self)
    }

    /// Whether the expression matches `bytes`.
    pub fn is_match(&self, bytes: &[u8]) -> bool {
        self.0.is_match(bytes)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

fn compile(text: &str, ignore_case: bool) -> Result<Regex, PatternError> {
    // PCRE without its `u` flag, as Kong uses it, knows bytes and ASCII classes.
    RegexBuilder::new(text)
        .unicode(false)
        .case_insensitive(ignore_case)
        .build()
        .map_err(|error| PatternError(one_line(&error)))
}

/// The error's last line without its label: the lines before it draw the place with blanks.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_regex(text: &str) -> bool {
        matches!(PathRule::parse_before_3(text).unwrap(), PathRule::Regex(_))
    }

    #[test]
    fn before_3_a_path_with_other_characters_than_plain_ones_is_a_regex() {
        for (text, regex) in [
            ("/users", false),
            ("/a.b-c_d~e%20", false),
            ("~/users", true),
            ("/users/\\d+", true),
            ("/users/(a|b)", true),
            ("/users$", true),
            ("/a+b", true),
            ("/a:b", true),
        ] {
            assert_eq!(is_regex(text), regex, "{text}");
        }
    }

    #[test]
    fn a_path_expression_is_bound_to_the_start_only() {
        let pattern = Pattern::path("/a|/b").unwrap();
        assert!(pattern.is_match(b"/a/more"));
        assert!(pattern.is_match(b"/b"));
        assert!(!pattern.is_match(b"/x/b"));
    }

    #[test]
    fn a_bad_expression_says_why_in_one_line() {
        assert_eq!(
            Pattern::path("/(").unwrap_err().to_string(),
            "unclosed group"
        );
        assert_eq!(
            Pattern::path("/a)(b").unwrap_err().to_string(),
            "unopened group"
        );
        assert!(
            !Pattern::path("/(?=a)")
                .unwrap_err()
                .to_string()
                .contains('\n')
        );
    }
}
