//! What can be wrong with a configuration file, and the sentence that says so.

use std::io;

use super::nginx::lexer::Mistake;

/// The one error that ends the reading of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened or is not text.
    #[error("{file}: cannot be read: {source}; give the path of a text file this user may read")]
    Read {
        /// The file's name as it was given.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is larger than [`super::MAX_FILE_BYTES`].
    #[error("{file}: is larger than {limit} bytes; give the path of a configuration file")]
    TooLarge {
        /// The file's name as it was given.
        file: String,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The text is neither YAML nor JSON.
    #[error("{file}:{line}: {reason}; mend the YAML or JSON at this line")]
    Syntax {
        /// The file's name as it was given.
        file: String,
        /// Line, from 1.
        line: u64,
        /// The parser's words.
        reason: String,
    },
    /// The text is no configuration of nginx.
    #[error("{file}:{line}: {mistake}; mend it at this line, `nginx -t` says more")]
    Nginx {
        /// The file's name as it was given or included.
        file: String,
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        mistake: Mistake,
    },
    /// A key or its value does not fit.
    #[error("{file}:{line}: {key}: {problem}")]
    Value {
        /// The file's name as it was given.
        file: String,
        /// Line, from 1.
        line: u64,
        /// Path of the key from the document's top, `services[1].routes[0].paths[2]`.
        key: String,
        /// What is wrong, and what to do about it.
        problem: Problem,
    },
}

/// What is wrong with one value. Each text ends with what to do.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's text says it")]
pub enum Problem {
    #[error("unknown key {key:?}; expected one of {expected}")]
    UnknownKey { key: String, expected: String },
    #[error("is {found}; write {expected}")]
    Type { found: String, expected: &'static str },
    #[error("has no {what}; {next}")]
    Missing { what: &'static str, next: &'static str },
    #[error("{found:?} is not {what}; {next}")]
    Value { found: String, what: &'static str, next: &'static str },
    #[error("the {kind} {name:?} is already on line {first}; give each its own name")]
    Duplicate { kind: &'static str, name: String, first: u64 },
    #[error("no {kind} in this file is called {name:?}; add it or correct the name")]
    UnknownReference { kind: &'static str, name: String },
    #[error("{file:?} cannot be read: {reason}; give this user the right to read it, or correct the name")]
    Unreadable { file: String, reason: String },
    #[error("{pattern:?} is not a regular expression the observer can use: {reason}; rewrite it")]
    Pattern { pattern: String, reason: String },
}

impl Problem {
    /// `"found" is not what; next`.
    pub fn value(found: impl ToString, what: &'static str, next: &'static str) -> Self {
        let found = found.to_string();
        Self::Value { found, what, next }
    }
}
