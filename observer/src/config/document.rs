//! A parsed file's values, each with its place, and the readers that turn them into plain data or into the one error.

use serde_saphyr::Error;

use super::error::{ConfigError, Problem};
use super::tree::{Key, Kind, Node, Number};

/// Values (scalars, lists and maps) one file may hold: some 50,000 routes.
const MAX_NODES: usize = 4_000_000;

type Result<T> = std::result::Result<T, ConfigError>;

/// One parsed file.
pub struct Document {
    file: String,
    root: Node,
    accepts_unknown_keys: bool,
}

impl Document {
    /// Reads `text`, the contents of `file` (used in errors only).
    pub fn parse(file: &str, text: &str) -> Result<Self> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 3 * MAX_NODES },
            with_snippet: false,
        };
        let root = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error: Error| syntax_error(file, error.without_snippet()))?;
        Ok(Self { file: file.to_owned(), root, accepts_unknown_keys: false })
    }

    /// Passes over keys that nobody knows.
    pub fn with_unknown_keys(self) -> Self {
        Self { accepts_unknown_keys: true, ..self }
    }

    /// The whole document as a value.
    pub fn root(&self) -> Value<'_> {
        Value {
            file: &self.file,
            key: "the document".to_owned(),
            line: self.root.line.max(1),
            node: &self.root,
            is_root: true,
            accepts_unknown_keys: self.accepts_unknown_keys,
        }
    }
}

/// One value of a document, with its place.
#[derive(Clone)]
pub struct Value<'a> {
    file: &'a str,
    key: String,
    line: u64,
    node: &'a Node,
    is_root: bool,
    accepts_unknown_keys: bool,
}

impl<'a> Value<'a> {
    /// The error that names this value's file, line and key.
    pub fn fail(&self, problem: Problem) -> ConfigError {
        ConfigError::Value { file: self.file.to_owned(), line: self.line, key: self.key.clone(), problem }
    }

    /// Line of the value's key, or of the item itself in a list; from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The value as a map whose keys are all among `read` (those used here) and `known` (those passed over).
    pub fn fields(&self, read: &[&str], known: &[&[&str]]) -> Result<Fields<'a>> {
        let pairs = self.pairs()?;
        let is_known =
            |key: &str| self.accepts_unknown_keys || read.contains(&key) || known.iter().any(|k| k.contains(&key));
        match pairs.iter().find(|(key, _)| !is_known(&key.name)) {
            None => Ok(Fields { of: self.clone() }),
            Some((key, node)) => Err(self
                .child(key, node)
                .fail(Problem::UnknownKey { key: key.name.clone(), expected: listed(read, known) })),
        }
    }

    /// The value as a map of free keys, in the file's order.
    pub fn entries(&self) -> Result<Vec<(&'a str, Value<'a>)>> {
        let entry = |(key, node): &'a (Key, Node)| (key.name.as_str(), self.child(key, node));
        Ok(self.pairs()?.iter().map(entry).collect())
    }

    /// The value as a list.
    pub fn items(&self) -> Result<Vec<Value<'a>>> {
        let nodes: &[Node] = match &self.node.kind {
            Kind::List(nodes) => nodes,
            // Lua's tables: Kong may send an empty list as `{}`.
            Kind::Map(pairs) if pairs.is_empty() && self.accepts_unknown_keys => &[],
            _ => return Err(self.wrong("a list")),
        };
        let item = |(index, node): (usize, &'a Node)| Value {
            file: self.file,
            key: format!("{}[{index}]", self.key),
            line: node.line,
            node,
            is_root: false,
            accepts_unknown_keys: self.accepts_unknown_keys,
        };
        Ok(nodes.iter().enumerate().map(item).collect())
    }

    /// The value as text that is not empty.
    pub fn text(&self) -> Result<&'a str> {
        match &self.node.kind {
            Kind::Text(text) if text.is_empty() => Err(self.wrong("some text")),
            Kind::Text(text) => Ok(text),
            Kind::Number(_) | Kind::Bool(_) => Err(self.wrong("text (in quotes)")),
            Kind::Null | Kind::List(_) | Kind::Map(_) => Err(self.wrong("text")),
        }
    }

    /// The text of a value that people write with or without quotes, like a version.
    pub fn scalar(&self) -> Result<String> {
        match &self.node.kind {
            Kind::Number(number) => Ok(number.to_string()),
            _ => self.text().map(str::to_owned),
        }
    }

    /// The value as true or false.
    pub fn flag(&self) -> Result<bool> {
        match self.node.kind {
            Kind::Bool(flag) => Ok(flag),
            _ => Err(self.wrong("true or false")),
        }
    }

    /// The value as a whole number.
    pub fn integer(&self) -> Result<i64> {
        match self.node.kind {
            Kind::Number(Number::Integer(number)) => Ok(number),
            _ => Err(self.wrong("a whole number")),
        }
    }

    /// The value as a port, 1 to 65535.
    pub fn port(&self) -> Result<u16> {
        let number = self.integer()?;
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(self.fail(Problem::value(number, "a port", "give a number from 1 to 65535"))),
        }
    }

    /// Whether the value is a map.
    pub fn is_map(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    fn pairs(&self) -> Result<&'a [(Key, Node)]> {
        match &self.node.kind {
            Kind::Map(pairs) => Ok(pairs),
            Kind::Null if self.is_root => Ok(&[]),
            _ => Err(self.wrong("a map of keys and values")),
        }
    }

    fn child(&self, key: &'a Key, node: &'a Node) -> Value<'a> {
        let key_path = if self.is_root { key.name.clone() } else { format!("{}.{}", self.key, key.name) };
        Value { key: key_path, line: key.line, node, is_root: false, ..self.clone() }
    }

    fn wrong(&self, expected: &'static str) -> ConfigError {
        let found = self.node.kind.to_string();
        self.fail(Problem::Type { found, expected })
    }
}

/// A map whose keys have been checked.
pub struct Fields<'a> {
    of: Value<'a>,
}

impl<'a> Fields<'a> {
    /// The value under `key`; none where the key is absent or null.
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        let pairs = self.of.pairs().unwrap_or_default();
        let (key, node) = pairs.iter().find(|(k, _)| k.name == key)?;
        (!matches!(node.kind, Kind::Null)).then(|| self.of.child(key, node))
    }

    /// The items of the list under `key`; none where it is absent.
    pub fn list(&self, key: &str) -> Result<Vec<Value<'a>>> {
        self.get(key).map_or_else(|| Ok(Vec::new()), |value| value.items())
    }

    /// Reads the value under `key`, if there is one.
    pub fn read<T>(&self, key: &str, read: impl FnOnce(&Value<'a>) -> Result<T>) -> Result<Option<T>> {
        self.get(key).as_ref().map(read).transpose()
    }

    /// Reads every item of the list under `key`.
    pub fn each<T>(&self, key: &str, read: impl FnMut(&Value<'a>) -> Result<T>) -> Result<Vec<T>> {
        self.list(key)?.iter().map(read).collect()
    }

    /// The error that something is missing in this map.
    pub fn missing(&self, what: &'static str, next: &'static str) -> ConfigError {
        self.of.fail(Problem::Missing { what, next })
    }
}

fn syntax_error(file: &str, error: &Error) -> ConfigError {
    let line = error.location().map_or(1, |location| location.line());
    ConfigError::Syntax { file: file.to_owned(), line: line.max(1), reason: reason_of(error) }
}

/// The parser's words without the place, which stands before them, and without its advice to programmers.
fn reason_of(error: &Error) -> String {
    match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("the key {key} is given twice")
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key is given twice".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins, one is read".to_owned(),
        _ => {
            let text = error.to_string().replace('\n', " ");
            let end = text.rfind(" at line ").unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}

fn listed(read: &[&str], known: &[&[&str]]) -> String {
    let more = if known.iter().all(|keys| keys.is_empty()) { "" } else { ", …" };
    format!("{}{more}", read.join(", "))
}
