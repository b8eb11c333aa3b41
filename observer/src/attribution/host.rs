//! Host names as requests carry them and as routes ask for them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::config::split_port;

/// A host's name and port, brackets taken off the name.
pub fn split(host: &str) -> (&str, Option<u16>) {
    split_port(host)
}

/// `name` in lower case; borrowed where it is already.
pub fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// A name, or all names under it (`*.example.com`) or in front of it (`example.*`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameRule {
    Plain(Arc<str>),
    /// What the name ends with, from its dot on.
    Suffix(Arc<str>),
    /// What the name begins with, its dot included.
    Prefix(Arc<str>),
}

impl NameRule {
    pub fn new(text: &str) -> Self {
        if let Some(rest) = text.strip_prefix('*') {
            Self::Suffix(rest.into())
        } else if let Some(rest) = text.strip_suffix('*') {
            Self::Prefix(rest.into())
        } else {
            Self::Plain(text.into())
        }
    }

    /// Whether `name`, in lower case, fits. A wildcard stands for one character at least.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Plain(own) => name == &**own,
            Self::Suffix(end) => name.len() > end.len() && name.ends_with(&**end),
            Self::Prefix(start) => name.len() > start.len() && name.starts_with(&**start),
        }
    }
}

/// A host that a route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    pub name: NameRule,
    /// Any port where it has none.
    pub port: Option<u16>,
}

impl HostRule {
    pub fn new(text: &str) -> Self {
        let (name, port) = split(text);
        let name = NameRule::new(name);
        Self { name, port }
    }
}
