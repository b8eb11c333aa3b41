//! One route as the router sees it: what it asks for, and how it ranks.

use std::cmp::Reverse;
use std::sync::Arc;

use super::host::{NameRule, lower, split};
use super::{RequestFacts, Scheme};
use crate::config::{HeaderRule, PathRule, Route};

/// One route with one of its paths, without its hosts.
pub struct Entry {
    pub service: Option<u32>,
    pub route: Option<Arc<str>>,
    pub path: Option<PathRule>,
    pub conditions: Arc<Conditions>,
}

/// What a route asks for besides host and path.
pub struct Conditions {
    methods: Vec<Arc<str>>,
    headers: Vec<HeaderRule>,
    snis: Vec<NameRule>,
}

impl Conditions {
    pub fn agree(&self, request: &RequestFacts<'_>) -> bool {
        let method = self.methods.is_empty() || self.methods.iter().any(|m| **m == *request.method);
        method && self.sni_agrees(request) && self.headers.iter().all(|h| header_agrees(h, request))
    }

    /// A plain request has no server name to ask for.
    fn sni_agrees(&self, request: &RequestFacts<'_>) -> bool {
        if self.snis.is_empty() || request.scheme == Scheme::Http {
            return true;
        }
        let name = lower(request.sni.unwrap_or_default());
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.snis.iter().any(|rule| rule.matches(name))
    }
}

/// One entry for each of the route's paths; none for a route that asks for nothing.
pub fn by_path(service: Option<u32>, route: &Route) -> Vec<(&Route, Entry)> {
    if kinds(route) == [false; 5] {
        return Vec::new();
    }
    let conditions = Arc::new(Conditions {
        methods: route.methods.clone(),
        headers: route.headers.clone(),
        snis: route.snis.iter().map(|sni| NameRule::new(sni)).collect(),
    });
    let entry = |path: Option<&PathRule>| Entry {
        service,
        route: route.name.clone(),
        path: path.cloned(),
        conditions: conditions.clone(),
    };
    if route.paths.is_empty() {
        return vec![(route, entry(None))];
    }
    route
        .paths
        .iter()
        .map(|path| (route, entry(Some(path))))
        .collect()
}

/// Sorts the highest priority first.
pub fn priority(route: &Route, path: Option<&PathRule>) -> impl Ord + use<> {
    let kinds = kinds(route);
    let is_wildcard = |host: &&Arc<str>| host.contains('*');
    let port_of_wildcard = route
        .hosts
        .iter()
        .filter(is_wildcard)
        .any(|host| split(host).1.is_some());
    let is_plain = !route.hosts.iter().any(|host| host.contains('*'));
    let (is_regex, length) = match path {
        Some(PathRule::Prefix(prefix)) => (false, prefix.len()),
        Some(PathRule::Regex(_)) => (true, 0),
        None => (false, 0),
    };
    let regex_priority = if is_regex { route.regex_priority } else { 0 };
    Reverse((
        kinds.iter().filter(|&&has| has).count(),
        kinds,
        (port_of_wildcard, is_plain, is_regex),
        route.headers.len(),
        regex_priority,
        length,
        Reverse(route.created_at.unwrap_or(i64::MAX)),
    ))
}

fn header_agrees(rule: &HeaderRule, request: &RequestFacts<'_>) -> bool {
    (request.headers)(&rule.name).is_some_and(|value| {
        rule.values
            .iter()
            .any(|own| own.eq_ignore_ascii_case(value))
            || rule
                .patterns
                .iter()
                .any(|own| own.is_match(value.as_bytes()))
    })
}

/// Which kinds of conditions the route has, the weightiest first.
fn kinds(route: &Route) -> [bool; 5] {
    [
        !route.hosts.is_empty(),
        !route.headers.is_empty(),
        !route.paths.is_empty(),
        !route.methods.is_empty(),
        !route.snis.is_empty(),
    ]
}
