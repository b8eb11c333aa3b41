//! Which route a request takes, by the order of priority of Kong's router (`kong/router/traditional.lua`).
//!
//! A route with several paths counts as one route for each. Of those that match, the first wins: more kinds of
//! conditions before fewer, then by the kinds (hosts, headers, paths, methods, SNIs), then wildcard hosts with a port,
//! plain hosts before wildcards, regular expressions before prefixes, more headers before fewer, `regex_priority`, longer
//! prefixes, age, and the file's order. A route's `protocols` take no part: Kong lets a plain request take an https
//! route and answers it with a redirect or 426.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::entry::{Entry, by_path, priority};
use super::host::{HostRule, NameRule, lower, split};
use super::path_index::{Item, PathIndex};
use super::{RequestFacts, Scheme, path_of};
use crate::config::{Config, Route, normalize};

/// All routes, ready for look-ups.
pub struct Router {
    /// By priority, the first the highest.
    entries: Vec<Entry>,
    /// Entries that name a host, by its name.
    plain_hosts: ByName,
    /// Entries for hosts that end with a dot and a name, by these.
    suffix_hosts: ByName,
    /// Entries for hosts that begin with a name and a dot, by these.
    prefix_hosts: ByName,
    any_host: PathIndex,
    header_names: BTreeSet<Arc<str>>,
    /// Names of the routes of each service.
    by_service: Vec<Vec<Option<Arc<str>>>>,
}

/// Entries by a name, with the port that goes with it; any port where it has none.
type ByName = FxHashMap<Arc<str>, Vec<(Option<u16>, PathIndex)>>;

/// A service's number, if the route has one, and the route's name, if it has one.
pub type Found = (Option<u32>, Option<Arc<str>>);

impl Router {
    pub fn new(config: &Config) -> Self {
        let mut by_service = Vec::new();
        let mut split = Vec::new();
        for (service, id) in config.services.iter().zip(0..) {
            by_service.push(service.routes.iter().map(|route| route.name.clone()).collect());
            if service.enabled {
                split.extend(service.routes.iter().flat_map(|route| by_path(Some(id), route)));
            }
        }
        split.extend(config.routes.iter().flat_map(|route| by_path(None, route)));
        // The sort is stable: what is equal stays in the file's order.
        split.sort_by_cached_key(|(route, entry)| priority(route, entry.path.as_ref()));
        Self::indexed(split, by_service)
    }

    /// Names of the headers that any route asks for.
    pub fn header_names(&self) -> impl Iterator<Item = &str> {
        self.header_names.iter().map(|name| &**name)
    }

    /// The names of a service's routes.
    pub fn routes_of(&self, service: u32) -> &[Option<Arc<str>>] {
        self.by_service.get(service as usize).map_or(&[], Vec::as_slice)
    }

    /// The route that the request takes among those whose service is accepted.
    pub fn find(&self, request: &RequestFacts<'_>, accepts: impl Fn(Option<u32>) -> bool) -> Option<Found> {
        if self.entries.is_empty() {
            return None;
        }
        let path = normalize(path_of(request.path));
        let mut best = u32::MAX;
        self.each_index_for(request, |index| {
            index.search(&path, &mut best, |id| {
                let entry = &self.entries[id as usize];
                accepts(entry.service) && entry.conditions.agree(request)
            });
        });
        let entry = self.entries.get(best as usize)?;
        Some((entry.service, entry.route.clone()))
    }

    /// Calls for the indexes of all host rules that fit the request.
    fn each_index_for(&self, request: &RequestFacts<'_>, mut call: impl FnMut(&PathIndex)) {
        let (name, port) = split(request.host.unwrap_or_default());
        let name: Cow<'_, str> = lower(name);
        let port = port.unwrap_or(match request.scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        let mut each_of = |hosts: &ByName, name: &str| {
            let indexes = hosts.get(name).into_iter().flatten();
            indexes.filter(|(own, _)| own.is_none_or(|own| own == port)).for_each(|(_, index)| call(index));
        };
        each_of(&self.plain_hosts, &name);
        if !self.suffix_hosts.is_empty() || !self.prefix_hosts.is_empty() {
            // A wildcard stands for one character at least.
            for (dot, _) in name.match_indices('.') {
                if dot > 0 {
                    each_of(&self.suffix_hosts, &name[dot..]);
                }
                if dot + 1 < name.len() {
                    each_of(&self.prefix_hosts, &name[..=dot]);
                }
            }
        }
        call(&self.any_host);
    }

    fn indexed(split: Vec<(&Route, Entry)>, by_service: Vec<Vec<Option<Arc<str>>>>) -> Self {
        let mut header_names = BTreeSet::new();
        let mut by_host: Vec<(HostRule, Vec<Item>)> = Vec::new();
        let mut places: FxHashMap<Arc<str>, usize> = FxHashMap::default();
        let mut any_host = Vec::new();
        let mut entries = Vec::with_capacity(split.len());
        for ((route, entry), id) in split.into_iter().zip(0..) {
            header_names.extend(route.headers.iter().map(|header| header.name.clone()));
            let item = (id, entry.path.clone());
            if route.hosts.is_empty() {
                any_host.push(item.clone());
            }
            for host in &route.hosts {
                let place = *places.entry(host.clone()).or_insert_with(|| {
                    by_host.push((HostRule::new(host), Vec::new()));
                    by_host.len() - 1
                });
                by_host[place].1.push(item.clone());
            }
            entries.push(entry);
        }
        let mut router = Self {
            entries,
            plain_hosts: ByName::default(),
            suffix_hosts: ByName::default(),
            prefix_hosts: ByName::default(),
            any_host: PathIndex::new(&any_host),
            header_names,
            by_service,
        };
        for (rule, items) in by_host {
            router.add_host(rule, PathIndex::new(&items));
        }
        router
    }

    fn add_host(&mut self, rule: HostRule, index: PathIndex) {
        let (hosts, name) = match rule.name {
            NameRule::Plain(name) => (&mut self.plain_hosts, name),
            NameRule::Suffix(end) => (&mut self.suffix_hosts, end),
            NameRule::Prefix(start) => (&mut self.prefix_hosts, start),
        };
        hosts.entry(name).or_default().push((rule.port, index));
    }
}
