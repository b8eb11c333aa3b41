//! Where a server is.

use std::fmt;
use std::str::FromStr;

use crate::config::{self, Endpoint};

/// The root of a server's pages: `http://HOST:PORT/PATH`, `https://HOST:PORT/PATH` or `unix:/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub(super) is_encrypted: bool,
    pub(super) endpoint: Endpoint,
    /// Before every path; without a slash at its end.
    pub(super) path: String,
}

/// A text that is no [`Url`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an address; write http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
pub struct NotAUrl;

impl Url {
    /// Whether it is a UNIX socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.endpoint, Endpoint::Unix(_))
    }
}

impl FromStr for Url {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<Self, NotAUrl> {
        if text.starts_with("unix:/") {
            let endpoint = text.parse().map_err(|_| NotAUrl)?;
            return Ok(Url { is_encrypted: false, endpoint, path: String::new() });
        }
        let url: config::Url = text.parse().map_err(|_| NotAUrl)?;
        let path = url.path.unwrap_or_default().trim_end_matches('/').to_owned();
        let is_encrypted = match (url.protocol.as_str(), &url.endpoint) {
            ("http", Endpoint::Tcp { .. }) => false,
            ("https", Endpoint::Tcp { .. }) => true,
            _ => return Err(NotAUrl),
        };
        Ok(Url { is_encrypted, endpoint: url.endpoint, path })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.endpoint {
            unix @ Endpoint::Unix(_) => write!(f, "{unix}"),
            tcp => write!(f, "{}://{tcp}{}", if self.is_encrypted { "https" } else { "http" }, self.path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_printed_alike() {
        for text in ["http://127.0.0.1:9542", "https://[::1]:9542/observer", "unix:/run/observer.sock"] {
            let url: Url = text.parse().unwrap();
            assert_eq!(url.to_string(), text);
            assert_eq!(url.is_unix(), text.starts_with("unix:"));
        }
        assert_eq!("http://h/a/".parse::<Url>().unwrap().to_string(), "http://h:80/a");
        for bad in ["", "127.0.0.1:9542", "ftp://h", "unix:relative", "unix:@name", "http://", "http://unix:/a:/b"] {
            assert_eq!(bad.parse::<Url>(), Err(NotAUrl), "{bad}");
        }
    }
}
