//! Which processes the observer was told to watch: `--gateway SELECTOR`.

use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::processes::{Comm, ProcessFacts};

/// The programs that are gateways without being named on the command line, when they listen on TCP.
pub const DEFAULT_NAMES: [&str; 3] = ["nginx", "openresty", "kong"];

/// The kernel's mark on `/proc/PID/exe` when the file was replaced or removed while the program ran
/// (an upgrade).
const DELETED: &[u8] = b" (deleted)";

/// One `--gateway`: `name:nginx`, `exe:/usr/sbin/nginx`, `pid:1234` or `port:8080`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Processes of this name, as `ps -o comm` shows it. The kernel keeps 15 bytes of a name, so
    /// only these compare.
    Name(Comm),
    /// Processes that run this file; an absolute path, symbolic links are followed.
    Exe(PathBuf),
    /// One process and its descendants.
    Pid(u32),
    /// Processes that listen on this TCP port, in any network namespace.
    Port(u16),
}

/// Why a text is no [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// No known word before a colon.
    #[error("`{0}` is no selector; {FORMS}")]
    Form(String),
    /// Nothing after the colon.
    #[error("`{0}` names nothing after the colon; {FORMS}")]
    Empty(String),
    /// A relative path: the gateway may have been started in any directory.
    #[error("`{0}` needs an absolute path; {FORMS}")]
    Relative(String),
    /// No number, or one out of range.
    #[error("`{text}` needs a number from 1 to {most}; {FORMS}")]
    Number {
        /// The whole selector as it was written.
        text: String,
        /// The largest number this form takes.
        most: u32,
    },
}

const FORMS: &str = "write name:nginx, exe:/usr/sbin/nginx, pid:1234 or port:8080";

/// The largest process id that Linux gives out (`PID_MAX_LIMIT` on 64-bit kernels).
const PID_MOST: u32 = 4_194_304;

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let Some((form, value)) = text.split_once(':') else {
            return Err(SelectorError::Form(text.to_owned()));
        };
        if !matches!(form, "name" | "exe" | "pid" | "port") {
            return Err(SelectorError::Form(text.to_owned()));
        }
        if value.is_empty() {
            return Err(SelectorError::Empty(text.to_owned()));
        }
        match form {
            "name" => Ok(Selector::Name(Comm::new(value.as_bytes()))),
            "exe" if value.starts_with('/') => Ok(Selector::Exe(PathBuf::from(value))),
            "exe" => Err(SelectorError::Relative(text.to_owned())),
            "pid" => number(text, value, PID_MOST).map(Selector::Pid),
            _ => number(text, value, u16::MAX.into()).map(|port| Selector::Port(port as u16)),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Selector::Name(name) => write!(f, "name:{name}"),
            Selector::Exe(path) => write!(f, "exe:{}", path.display()),
            Selector::Pid(pid) => write!(f, "pid:{pid}"),
            Selector::Port(port) => write!(f, "port:{port}"),
        }
    }
}

/// All selectors together: a process is selected when one of them matches it. Without any, the
/// default selection holds: every process named as in [`DEFAULT_NAMES`] that listens on TCP.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    selectors: Vec<Selector>,
}

impl Selection {
    /// A selection of these; of none, the default selection.
    pub fn new(selectors: Vec<Selector>) -> Self {
        Selection { selectors }
    }

    /// Whether this is the default selection.
    pub fn is_default(&self) -> bool {
        self.selectors.is_empty()
    }

    /// The names by which a selected program can be known when it starts, without duplicates. The
    /// kernel knows no more than the name at that moment, so for `exe:` it is the file's name and
    /// that of the file it links to. `pid:` and `port:` have none.
    pub fn names(&self) -> Vec<Comm> {
        let mut names: Vec<Comm> = Vec::new();
        if self.is_default() {
            names.extend(DEFAULT_NAMES.map(|name| Comm::new(name.as_bytes())));
        }
        for selector in &self.selectors {
            match selector {
                Selector::Name(name) => names.push(*name),
                Selector::Exe(path) => {
                    names.extend(file_name(path));
                    names.extend(fs::canonicalize(path).ok().and_then(|target| file_name(&target)));
                }
                Selector::Pid(_) | Selector::Port(_) => {}
            }
        }
        names.sort();
        names.dedup();
        names
    }

    /// The TCP ports whose listeners are selected.
    pub fn ports(&self) -> Vec<u16> {
        self.selectors
            .iter()
            .filter_map(|selector| match selector {
                Selector::Port(port) => Some(*port),
                Selector::Name(_) | Selector::Exe(_) | Selector::Pid(_) => None,
            })
            .collect()
    }

    /// Whether the answer of [`Selection::matches`] for this process depends on
    /// [`ProcessFacts::ports`], which are dear to read.
    pub fn depends_on_ports(&self, process: &ProcessFacts) -> bool {
        match self.is_default() {
            true => has_default_name(process),
            false => !self.ports().is_empty(),
        }
    }

    /// Whether this process is selected. Its descendants belong to it without being asked for.
    pub fn matches(&self, process: &ProcessFacts) -> bool {
        match self.is_default() {
            true => has_default_name(process) && !process.ports.is_empty(),
            false => self.selectors.iter().any(|selector| selector.matches(process)),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_default() {
            return write!(f, "{} with a TCP listener", DEFAULT_NAMES.join(", "));
        }
        let texts: Vec<String> = self.selectors.iter().map(Selector::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

impl FromIterator<Selector> for Selection {
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        Selection::new(selectors.into_iter().collect())
    }
}

impl Selector {
    fn matches(&self, process: &ProcessFacts) -> bool {
        match self {
            Selector::Name(name) => process.comm == *name,
            Selector::Exe(path) => process.exe.as_deref().is_some_and(|exe| runs(exe, path)),
            Selector::Pid(pid) => process.pid == *pid,
            Selector::Port(port) => process.ports.contains(port) && !holds_for_others(process),
        }
    }
}

/// Socket activation: the host's init holds the listening sockets of the services it starts. Taken
/// for a gateway, it would bring every process of the host with it.
fn holds_for_others(process: &ProcessFacts) -> bool {
    process.pid == 1 && matches!(process.comm.as_bytes(), b"systemd" | b"init")
}

fn has_default_name(process: &ProcessFacts) -> bool {
    DEFAULT_NAMES.iter().any(|name| process.comm.as_bytes() == name.as_bytes())
}

/// Whether `exe`, the target of `/proc/PID/exe`, is the file at `path`.
fn runs(exe: &Path, path: &Path) -> bool {
    let exe = exe.as_os_str().as_bytes();
    let exe = exe.strip_suffix(DELETED).unwrap_or(exe);
    exe == path.as_os_str().as_bytes()
        || fs::canonicalize(path).is_ok_and(|target| target.as_os_str().as_bytes() == exe)
}

fn file_name(path: &Path) -> Option<Comm> {
    path.file_name().map(|name| Comm::new(name.as_bytes()))
}

fn number(text: &str, value: &str, most: u32) -> Result<u32, SelectorError> {
    value
        .parse()
        .ok()
        .filter(|number| (1..=most).contains(number))
        .ok_or_else(|| SelectorError::Number { text: text.to_owned(), most })
}

#[cfg(test)]
mod tests;
