//! The auth file: a line for each user with its name, its role and the SHA-256 of its token, in hexadecimal digits.
//! Lines that begin with `#` are comments.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::token::{Digest, Token};

/// The file's mode at most.
const MODE: u32 = 0o600;

/// A larger file is refused; a user takes some 80 bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a user may do. A greater role may all that a lesser may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Metrics,
    /// Read and change.
    Admin,
}

/// Somebody with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Letters, digits, `.`, `_`, `-` and `@`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    digest: Digest,
}

/// All of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users(Vec<User>);

/// Why an auth file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// It cannot be read.
    #[error("cannot read the auth file {file}: {reason}; `observer token USER --role admin --auth-file {file}` makes one",
            file = .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// Others than its owner can open it.
    #[error("the auth file {file} has mode {mode:04o}, so that others can open it; `chmod 0600 {file}` mends it",
            file = .file.display())]
    Mode {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line is not as it should be.
    #[error("{file}:{line}: {problem}; a line is USER ROLE SHA256, with the role metrics or admin",
            file = .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// It cannot be written.
    #[error("cannot write the auth file {file}: {reason}; give a file in a directory that this user may write to",
            file = .file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The kernel's answer.
        reason: io::Error,
    },
    /// A name that cannot stand in the file or in basic auth.
    #[error("{0:?} cannot be a user's name; use up to 64 letters, digits, `.`, `_`, `-` and `@`")]
    Name(String),
    /// No random numbers.
    #[error("the kernel gives no random numbers: {0}; try again later")]
    Random(getrandom::Error),
}

impl Users {
    /// Reads a file.
    pub fn load(file: &Path) -> Result<Users, AuthError> {
        let read = || -> io::Result<(u32, String)> {
            let opened = File::open(file)?;
            let mode = opened.metadata()?.permissions().mode() & 0o7777;
            let mut text = String::new();
            opened.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
            Ok((mode, text))
        };
        let (mode, text) = read().map_err(|reason| AuthError::Read { file: file.to_owned(), reason })?;
        if mode & !MODE != 0 {
            return Err(AuthError::Mode { file: file.to_owned(), mode });
        }
        Users::parse(&text).map_err(|(line, problem)| AuthError::Line { file: file.to_owned(), line, problem })
    }

    fn parse(text: &str) -> Result<Users, (usize, &'static str)> {
        let mut users: Vec<User> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            let user = User::parse(line).map_err(|problem| (at + 1, problem))?;
            if users.iter().any(|other| other.name == user.name) {
                return Err((at + 1, "this user has a line already"));
            }
            users.push(user);
        }
        Ok(Users(users))
    }

    /// Whose token it is. All users are compared, so that the time tells nothing.
    pub fn with_token(&self, token: &str) -> Option<&User> {
        let digest = Digest::of(token);
        self.0.iter().fold(None, |found, user| if user.digest.is(&digest) { Some(user) } else { found })
    }
}

impl User {
    fn parse(line: &str) -> Result<User, &'static str> {
        let mut words = line.split_whitespace();
        let (Some(name), Some(role), Some(digest), None) = (words.next(), words.next(), words.next(), words.next())
        else {
            return Err("there are not three words");
        };
        if !is_name(name) {
            return Err("the first word cannot be a user's name");
        }
        let role = role.parse().map_err(|_| "the second word is no role")?;
        let digest = Digest::parse(digest).ok_or("the third word is not 64 hexadecimal digits")?;
        Ok(User { name: name.to_owned(), role, digest })
    }
}

/// Gives a user a new token, in place of an old one, and makes the file if there is none.
pub fn add(file: &Path, name: &str, role: Role) -> Result<Token, AuthError> {
    if !is_name(name) {
        return Err(AuthError::Name(name.to_owned()));
    }
    let old = match Users::load(file) {
        Ok(_) => fs::read_to_string(file).map_err(|reason| AuthError::Read { file: file.to_owned(), reason })?,
        Err(AuthError::Read { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let token = Token::new().map_err(AuthError::Random)?;
    let others = old.lines().filter(|line| line.split_whitespace().next() != Some(name));
    let mut text: String = others.flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!("{name} {role} {}\n", token.digest()));
    replace(file, &text).map_err(|reason| AuthError::Write { file: file.to_owned(), reason })?;
    Ok(token)
}

/// Writes beside the file and moves over it, so that nobody ever reads half of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let mut new = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&beside)?;
    let written = new.write_all(text.as_bytes()).and_then(|()| new.sync_all()).and_then(|()| fs::rename(&beside, file));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn is_name(name: &str) -> bool {
    let is_in = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(is_in)
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Metrics => "metrics",
            Role::Admin => "admin",
        })
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Role, &'static str> {
        match text {
            "metrics" => Ok(Role::Metrics),
            "admin" => Ok(Role::Admin),
            _ => Err("there are the roles metrics (may read) and admin (may change things too)"),
        }
    }
}
