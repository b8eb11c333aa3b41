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

/// An expression of nginx, which may use what [`Pattern`] cannot: looks around and references back.
#[derive(Clone, Debug, PartialEq)]
pub struct NginxPattern {
    /// Matches whatever the expression matches; none where nothing is known of it.
    wider: Option<Pattern>,
    /// It matches nothing else.
    is_exact: bool,
}

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

impl NginxPattern {
    /// An expression as nginx has it after `~`, or after `~*` where case is ignored. It may match anywhere.
    pub fn new(text: &str, ignore_case: bool) -> Self {
        match compile(text, ignore_case) {
            Ok(regex) => Self { wider: Some(Pattern(regex)), is_exact: true },
            Err(_) => {
                let wider = compile(&without_looks(text), ignore_case).ok();
                Self { wider: wider.map(Pattern), is_exact: false }
            }
        }
    }

    /// Whether the expression matches `bytes`; none where that cannot be told.
    pub fn is_match(&self, bytes: &[u8]) -> Option<bool> {
        match &self.wider {
            Some(pattern) if !pattern.is_match(bytes) => Some(false),
            Some(_) if self.is_exact => Some(true),
            Some(_) | None => None,
        }
    }

    /// Whether [`Self::is_match`] can always tell.
    pub fn is_exact(&self) -> bool {
        self.is_exact
    }
}

/// The expression without its looks around: what is left matches more, never less.
fn without_looks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let looks = ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|look| rest.starts_with(look));
        let length = match first {
            _ if looks => group_length(rest),
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => first.len_utf8(),
        };
        if !looks {
            out.push_str(&rest[..length]);
        }
        rest = &rest[length..];
    }
    out
}

/// Bytes of the group that `text` begins with, its parentheses included.
fn group_length(text: &str) -> usize {
    let (mut depth, mut is_escaped, mut is_class) = (0, false, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ']' => is_class = false,
            _ if is_class => {}
            '[' => is_class = true,
            '(' => depth += 1,
            ')' if depth == 1 => return at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
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
    fn an_expression_with_looks_around_is_told_where_it_can_be() {
        let hidden = NginxPattern::new(r"/\.(?!well-known(/|\)))[a-z]", false);
        assert!(!hidden.is_exact());
        assert_eq!(hidden.is_match(b"/plain"), Some(false));
        assert_eq!(hidden.is_match(b"/.git"), None);
        let unknown = NginxPattern::new(r"(a)\1", false);
        assert_eq!(unknown.is_match(b"b"), None);
        let plain = NginxPattern::new(r"\.(jpe?g|PNG)$", true);
        assert!(plain.is_exact());
        assert_eq!(plain.is_match(b"/a.png"), Some(true));
        assert_eq!(plain.is_match(b"/a.png/x"), Some(false));
    }

    #[test]
    fn a_bad_expression_says_why_in_one_line() {
        assert_eq!(Pattern::path("/(").unwrap_err().to_string(), "unclosed group");
        assert_eq!(Pattern::path("/a)(b").unwrap_err().to_string(), "unopened group");
        assert!(!Pattern::path("/(?=a)").unwrap_err().to_string().contains('\n'));
    }
}
