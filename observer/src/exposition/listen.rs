//! Where to listen and by which rules: `ADDR:PORT` or `unix:/PATH`, and options after commas.

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

/// A UNIX socket's mode unless `mode=` says otherwise: the observer's own user and root.
pub const UNIX_MODE: u32 = 0o600;

/// One listener as the command line describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub address: Address,
    /// Who may ask (`allow=CIDR`); all when empty.
    pub allow: Vec<IpNet>,
    /// Which paths are served (`paths=/a`); all but `/nginx_status` off the loopback when empty.
    pub paths: Vec<String>,
    /// Whether reading takes no token here (`read=open`), whatever users there are.
    pub reads_openly: bool,
    /// Host names under which clients reach it (`name=HOST`), besides its addresses and the host's own name.
    pub names: Vec<String>,
    /// Certificate and key for TLS.
    pub tls: Option<TlsFiles>,
}

/// The place of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A UNIX socket at an absolute path.
    Unix {
        /// The socket's file.
        path: PathBuf,
        /// The file's mode.
        mode: u32,
    },
}

/// The PEM files of a listener with TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of which clients must have a certificate.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with a listener's description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAListener {
    /// Neither an address with a port nor a UNIX socket.
    #[error("{0:?} is no address; give ADDR:PORT, [ADDR6]:PORT or unix:/PATH, then options after commas")]
    Address(String),
    /// Not an option, or one for the other kind of address.
    #[error(
        "{0:?} is no option here; there are allow=CIDR, paths=/PATH, name=HOST, read=open, cert=FILE, key=FILE, \
         client-ca=FILE, and for unix: mode=0600"
    )]
    Option(String),
    /// A value that cannot be read.
    #[error("{option}={value} cannot be read; write it as {example}")]
    Value {
        /// The option's name.
        option: &'static str,
        /// What was given.
        value: String,
        /// How it should look.
        example: &'static str,
    },
    /// One of `cert=` and `key=` without the other, or `client-ca=` without both.
    #[error("TLS needs both cert=FILE and key=FILE")]
    HalfTls,
    /// An option that can stand only once.
    #[error("{0}= stands twice; give it once")]
    Twice(&'static str),
}

/// A listener that would serve everyone who reaches this host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} would serve everyone who reaches this host; name who may with --allow CIDR or `,allow=CIDR` after it, use \
     --auth-file FILE, give it `,cert=FILE,key=FILE`, or say --insecure"
)]
pub struct Exposed(String);

/// Refuses listeners that other hosts reach where nothing says who may ask.
pub fn check_exposed(listeners: &[Listen], allow: &[IpNet], has_users: bool) -> Result<(), Exposed> {
    let is_protected = |listen: &Listen| {
        let asks_for_users = has_users && !listen.reads_openly;
        listen.is_local() || !listen.allow.is_empty() || !allow.is_empty() || listen.tls.is_some() || asks_for_users
    };
    match listeners.iter().find(|listen| !is_protected(listen)) {
        Some(listen) => Err(Exposed(listen.to_string())),
        None => Ok(()),
    }
}

impl Listen {
    /// A listener without rules.
    pub fn tcp(address: SocketAddr) -> Self {
        Listen {
            address: Address::Tcp(address),
            allow: Vec::new(),
            paths: Vec::new(),
            reads_openly: false,
            names: Vec::new(),
            tls: None,
        }
    }

    /// Whether only this host reaches it.
    pub fn is_local(&self) -> bool {
        match &self.address {
            Address::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Address::Unix { .. } => true,
        }
    }

    /// Whether it is a UNIX socket that nobody but its owner can open.
    pub fn is_private(&self) -> bool {
        matches!(self.address, Address::Unix { mode, .. } if mode & 0o077 == 0)
    }
}

impl fmt::Display for Listen {
    /// The metrics' address, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp(address) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                write!(f, "{scheme}://{address}/metrics")
            }
            Address::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for Listen {
    type Err = NotAListener;

    fn from_str(text: &str) -> Result<Self, NotAListener> {
        let mut parts = text.split(',');
        let address = parts.next().unwrap_or_default();
        let mut options = Options::default();
        for part in parts {
            options.take(part)?;
        }
        let address = match (address.strip_prefix("unix:"), options.mode) {
            // Its mode says who may; its clients have no address.
            (Some(_), _) if !options.allow.is_empty() => return Err(NotAListener::Option("allow=".to_owned())),
            (Some(path), mode) if path.starts_with('/') => {
                Address::Unix { path: path.into(), mode: mode.unwrap_or(UNIX_MODE) }
            }
            (None, None) => Address::Tcp(address.parse().map_err(|_| NotAListener::Address(address.to_owned()))?),
            (None, Some(mode)) => return Err(NotAListener::Option(format!("mode={mode:04o}"))),
            (Some(_), _) => return Err(NotAListener::Address(address.to_owned())),
        };
        let tls = match (options.cert, options.key, options.client_ca) {
            (Some(cert), Some(key), client_ca) => Some(TlsFiles { cert, key, client_ca }),
            (None, None, None) => None,
            _ => return Err(NotAListener::HalfTls),
        };
        let Options { allow, paths, reads_openly, names, .. } = options;
        Ok(Listen { address, allow, paths, reads_openly, names, tls })
    }
}

#[derive(Default)]
struct Options {
    allow: Vec<IpNet>,
    paths: Vec<String>,
    reads_openly: bool,
    names: Vec<String>,
    mode: Option<u32>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

impl Options {
    fn take(&mut self, part: &str) -> Result<(), NotAListener> {
        let unknown = || NotAListener::Option(part.to_owned());
        let (name, value) = part.split_once('=').ok_or_else(unknown)?;
        match name {
            "allow" => self.allow.push(network(value).map_err(|_| unread("allow", value, "10.0.0.0/24 or fd00::/8"))?),
            "paths" if value.starts_with('/') => self.paths.push(value.to_owned()),
            "paths" => return Err(unread("paths", value, "/metrics; once for each path")),
            "name" if !value.is_empty() => self.names.push(value.to_ascii_lowercase()),
            "name" => return Err(unread("name", value, "observer.example.com")),
            "read" if value == "open" => self.reads_openly = true,
            "read" => return Err(unread("read", value, "open")),
            "mode" => once(&mut self.mode, "mode", mode(value).ok_or_else(|| unread("mode", value, "0600"))?)?,
            "cert" => once(&mut self.cert, "cert", value.into())?,
            "key" => once(&mut self.key, "key", value.into())?,
            "client-ca" => once(&mut self.client_ca, "client-ca", value.into())?,
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

/// A network, or one address as a network of its own. `10.0.0.7/24` means `10.0.0.0/24`.
pub fn network(text: &str) -> Result<IpNet, String> {
    let read = text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
    read.map(|net| net.trunc()).map_err(|_| format!("{text:?} is no network; write it as 10.0.0.0/24 or fd00::/8"))
}

fn mode(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777)
}

fn unread(option: &'static str, value: &str, example: &'static str) -> NotAListener {
    NotAListener::Value { option, value: value.to_owned(), example }
}

fn once<T>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), NotAListener> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(NotAListener::Twice(name)),
    }
}
