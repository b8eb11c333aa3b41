//! Which exchanges a reader wants, as options and as a query string.

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use super::entry::{Detail, Entry};
use crate::exposition::listen::network;

/// What a reader asks for: `GET /tail?service=a&status=5xx&with_query=1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Which exchanges.
    pub filter: Filter,
    /// Their queries too.
    pub with_query: bool,
}

/// An exchange passes when it fits one value of each kind that has any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Services by name; `-` stands for none.
    pub services: Vec<String>,
    /// Statuses.
    pub statuses: Vec<StatusFilter>,
    /// It took longer than this.
    pub slower_than_ms: Option<u64>,
    /// Where clients are.
    pub clients: Vec<IpNet>,
}

/// `404`, or `5xx`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusFilter {
    /// One status.
    Exact(u16),
    /// All with this first digit.
    Class(u16),
}

/// A text that is no [`StatusFilter`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no status; write one as 404, a class as 5xx")]
pub struct NotAStatus(String);

/// A query string that asks for something else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadQuery {
    /// No such parameter.
    #[error("{0:?} is no parameter here; there are service, status, slower_than_ms, client and with_query=1")]
    Parameter(String),
    /// A value that cannot be read.
    #[error("{parameter}={value} cannot be read; write it as {example}")]
    Value {
        /// The parameter.
        parameter: &'static str,
        /// What was given.
        value: String,
        /// How it should look.
        example: &'static str,
    },
}

impl Filter {
    /// Whether this one is wanted.
    pub fn passes(&self, entry: &Entry) -> bool {
        let service = entry.service.as_deref().unwrap_or("-");
        (self.services.is_empty() || self.services.iter().any(|wanted| wanted == service))
            && (self.statuses.is_empty() || self.statuses.iter().any(|wanted| wanted.passes(entry.status)))
            && self.slower_than_ms.is_none_or(|limit| entry.request_ms > limit)
            && (self.clients.is_empty() || entry.client.is_some_and(|client| self.has(client)))
    }

    fn has(&self, client: std::net::IpAddr) -> bool {
        let client = client.to_canonical();
        self.clients.iter().any(|network| network.contains(&client))
    }
}

impl StatusFilter {
    fn passes(self, status: u16) -> bool {
        match self {
            StatusFilter::Exact(wanted) => status == wanted,
            StatusFilter::Class(digit) => status / 100 == digit,
        }
    }
}

impl FromStr for StatusFilter {
    type Err = NotAStatus;

    fn from_str(text: &str) -> Result<Self, NotAStatus> {
        let bad = || NotAStatus(text.to_owned());
        match text.as_bytes() {
            [digit @ b'1'..=b'5', b'x' | b'X', b'x' | b'X'] => Ok(StatusFilter::Class(u16::from(digit - b'0'))),
            [_, _, _] => text.parse().ok().filter(|status| *status >= 100).map(StatusFilter::Exact).ok_or_else(bad),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for StatusFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatusFilter::Exact(status) => write!(f, "{status}"),
            StatusFilter::Class(digit) => write!(f, "{digit}xx"),
        }
    }
}

impl Wish {
    /// How much of each exchange it takes.
    pub fn detail(&self) -> Detail {
        if self.with_query { Detail::Query } else { Detail::Path }
    }

    /// Reads a query string.
    ///
    /// # Errors
    /// What cannot be read; nothing is left out in silence.
    pub fn from_query(query: &str) -> Result<Wish, BadQuery> {
        let mut wish = Wish::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let bad = |parameter, example| BadQuery::Value { parameter, value: value.to_string(), example };
            let filter = &mut wish.filter;
            match &*name {
                "service" => filter.services.push(value.into_owned()),
                "status" => filter.statuses.push(value.parse().map_err(|_| bad("status", "404 or 5xx"))?),
                "slower_than_ms" => {
                    filter.slower_than_ms = Some(value.parse().map_err(|_| bad("slower_than_ms", "200"))?);
                }
                "client" => filter.clients.push(network(&value).map_err(|_| bad("client", "10.0.0.0/8"))?),
                "with_query" if value == "1" => wish.with_query = true,
                "with_query" => return Err(bad("with_query", "1")),
                _ => return Err(BadQuery::Parameter(name.into_owned())),
            }
        }
        Ok(wish)
    }

    /// The query string that [`Wish::from_query`] reads.
    pub fn to_query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for service in &self.filter.services {
            query.append_pair("service", service);
        }
        for status in &self.filter.statuses {
            query.append_pair("status", &status.to_string());
        }
        if let Some(limit) = self.filter.slower_than_ms {
            query.append_pair("slower_than_ms", &limit.to_string());
        }
        for client in &self.filter.clients {
            query.append_pair("client", &client.to_string());
        }
        if self.with_query {
            query.append_pair("with_query", "1");
        }
        query.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(service: Option<&str>, status: u16, request_ms: u64, client: &str) -> Entry {
        Entry { service: service.map(Into::into), status, request_ms, client: client.parse().ok(), ..Entry::default() }
    }

    #[test]
    fn every_kind_of_filter_has_to_be_met_by_one_of_its_values() {
        let slow = entry(Some("a"), 503, 201, "10.1.2.3");
        let mapped = entry(None, 404, 200, "::ffff:10.1.2.3");
        for (query, expected) in [
            ("", [true, true]),
            ("service=a", [true, false]),
            ("service=-", [false, true]),
            ("service=a&service=-", [true, true]),
            ("status=5xx", [true, false]),
            ("status=404&status=503", [true, true]),
            ("status=500", [false, false]),
            ("slower_than_ms=200", [true, false]),
            ("client=10.0.0.0%2F8", [true, true]),
            ("client=10.1.2.4", [false, false]),
            ("service=a&status=4xx", [false, false]),
        ] {
            let filter = Wish::from_query(query).unwrap().filter;
            assert_eq!([filter.passes(&slow), filter.passes(&mapped)], expected, "{query}");
        }
        let local = Wish::from_query("client=10.0.0.0/8").unwrap().filter;
        assert!(!local.passes(&entry(None, 200, 1, "")), "a UNIX socket's client has no address");
    }

    #[test]
    fn a_wish_goes_through_a_query_string_and_back() {
        let query =
            "service=a+%26b&service=-&status=5xx&status=404&slower_than_ms=200&client=fd00%3A%3A%2F8&with_query=1";
        let wish = Wish::from_query(query).unwrap();
        assert_eq!((wish.filter.services.len(), wish.detail()), (2, Detail::Query));
        assert_eq!(Wish::from_query(&wish.to_query()).unwrap(), wish);
        for bad in [
            "colour=red",
            "status=xx",
            "status=6xx",
            "status=12",
            "status=099",
            "slower_than_ms=1s",
            "client=x",
            "with_query=yes",
        ] {
            assert!(Wish::from_query(bad).is_err(), "{bad}");
        }
    }
}
