//! What is told of an exchange.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

/// Bytes of a path, and of a query, that are told; the rest is cut off and marked with [`CUT`]. With [`super::QUEUE`] it
/// bounds what waits in memory.
pub const TEXT_BYTES_MAX: usize = 1024;

/// The end of a text that was longer.
const CUT: char = '…';

/// One exchange that is over. Nothing of its headers or bodies is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Entry {
    /// When it ended, in milliseconds since 1970.
    pub time_ms: f64,
    /// The gateway, as in the label `gateway`.
    pub gateway: Arc<str>,
    /// The other end of its connection; none over a UNIX socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Empty for a request whose head did not come.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Behind the `?`; for those only who ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// HTTP's minor version: 0 or 1; 9 for HTTP/0.9.
    pub minor: u8,
    /// As counted: the response's, or the one that the gateway logs.
    pub status: u16,
    /// None for a request that belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// The route's name, where it has one and could be told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Arc<str>>,
    /// The upstream that was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Bytes of the request, head and framing included.
    pub request_bytes: u64,
    /// Bytes of the response, likewise.
    pub response_bytes: u64,
    /// Those of them behind its heads.
    pub body_bytes: u64,
    /// First byte of the request to last byte of the response.
    pub request_ms: u64,
    /// Waiting for the upstream's response header; none where none was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_ms: Option<u64>,
    /// The rest.
    pub kong_ms: u64,
    /// Requests to an upstream after the first one.
    pub retries: usize,
    /// Who broke it: client, gateway, upstream or network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_by: Option<String>,
}

/// One line of the stream.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// So many exchanges passed while the reader was behind; they were not even compared with its filter.
    Lost {
        /// How many.
        lost: u64,
    },
    /// One that is over.
    Entry(Box<Entry>),
}

impl Entry {
    /// Takes a target apart: path and query, each cut to [`TEXT_BYTES_MAX`].
    pub fn set_target(&mut self, path: &str, target: &str, detail: Detail) {
        self.path = cut(path);
        self.query = match detail {
            Detail::Path => None,
            Detail::Query => target.split_once('?').map(|(_, query)| cut(query)),
        };
    }
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(TEXT_BYTES_MAX);
    format!("{}{CUT}", &text[..end])
}

/// How much of each exchange somebody wants to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// All but the query.
    Path,
    /// The query too.
    Query,
}

/// What the pipeline looks at: whether anybody wants to be told. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicU8>);

impl Wanted {
    /// None as long as nobody listens.
    pub fn detail(&self) -> Option<Detail> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(Detail::Path),
            _ => Some(Detail::Query),
        }
    }

    /// From the next exchange on.
    pub fn set(&self, detail: Option<Detail>) {
        let value = match detail {
            None => 0,
            Some(Detail::Path) => 1,
            Some(Detail::Query) => 2,
        };
        self.0.store(value, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_only_when_asked_for_and_long_texts_are_cut() {
        let long = format!("/{}ä", "a".repeat(TEXT_BYTES_MAX - 2));
        for (target, detail, path, query) in [
            ("/a?token=x", Detail::Path, "/a", None),
            ("/a?token=x", Detail::Query, "/a", Some("token=x")),
            ("/a", Detail::Query, "/a", None),
        ] {
            let mut entry = Entry::default();
            entry.set_target("/a", target, detail);
            assert_eq!((&*entry.path, entry.query.as_deref()), (path, query), "{target}");
        }
        let mut entry = Entry::default();
        entry.set_target(&long, &long, Detail::Path);
        assert_eq!(entry.path, format!("/{}…", "a".repeat(TEXT_BYTES_MAX - 2)), "cut between characters");
    }

    #[test]
    fn a_line_is_an_exchange_or_a_loss() {
        let entry = Entry { status: 200, target: Some("10.0.0.1:80".into()), ..Entry::default() };
        let text = serde_json::to_string(&entry).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), Line::Entry(Box::new(entry)));
        assert_eq!(serde_json::from_str::<Line>(r#"{"lost":7}"#).unwrap(), Line::Lost { lost: 7 });
        assert!(!text.contains("query"), "{text}");
    }
}
