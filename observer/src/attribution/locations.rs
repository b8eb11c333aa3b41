//! Which location of nginx a request takes, by nginx's own order (`ngx_http_core_find_location`).
//!
//! First the server: among those that listen where the client connected, the one with that very name, then the longest
//! wildcard before a name, then the longest after one, then the first expression, then the default. Then the location:
//! an exact one, else the longest prefix is kept in mind (and the locations within it asked), then expressions in the
//! file's order unless the prefix forbids it, then the prefix.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::prefixes::Prefixes;
use super::routes::Found;
use crate::config::{Location, LocationRule, NginxPattern};

/// The locations of one block, without those within them.
pub struct Level {
    paths: Prefixes<Place>,
    /// Prefixes without the slash at their end, for which nginx redirects.
    redirects: FxHashMap<Box<[u8]>, usize>,
    regexes: Vec<(NginxPattern, usize)>,
    all: Vec<Leaf>,
}

/// The exact location and the prefix of one path.
type Place = [Option<usize>; 2];

/// What a request finds.
pub enum Hit<'a> {
    /// No location.
    Nothing,
    /// A prefix, which gives way to expressions further out.
    Prefix(&'a Leaf),
    /// A location that gives way to none.
    Final(&'a Leaf),
    /// An expression of which it cannot be told whether it matches.
    Unknown,
}

/// One location.
pub struct Leaf {
    service: Option<u32>,
    name: Arc<str>,
    is_final: bool,
    within: Level,
}

impl Level {
    /// `service` numbers a service by its name.
    pub fn new(locations: &[Location], service: &dyn Fn(&str) -> Option<u32>) -> Self {
        let mut level =
            Self { paths: Prefixes::default(), redirects: FxHashMap::default(), regexes: Vec::new(), all: Vec::new() };
        let mut paths = Vec::new();
        for (location, at) in locations.iter().zip(0..) {
            let mut is_final = false;
            match &location.rule {
                LocationRule::Exact(path) => paths.push((&**path, [Some(at), None])),
                LocationRule::Prefix { path, is_final: own } => {
                    is_final = *own;
                    paths.push((&**path, [None, Some(at)]));
                }
                LocationRule::Regex(pattern) => level.regexes.push((pattern.clone(), at)),
            }
            if let (true, LocationRule::Exact(path) | LocationRule::Prefix { path, .. }) =
                (location.redirects, &location.rule)
            {
                level.redirects.insert(path[..path.len() - 1].into(), at);
            }
            level.all.push(Leaf {
                service: location.service.as_deref().and_then(service),
                name: location.name.clone(),
                is_final,
                within: Self::new(&location.locations, service),
            });
        }
        level.paths = Prefixes::new(paths.into_iter(), |[exact, prefix]: &mut Place, new: Place| {
            *exact = exact.or(new[0]);
            *prefix = prefix.or(new[1]);
        });
        level
    }

    /// The location of a path that is normalised as nginx does.
    pub fn find(&self, path: &[u8]) -> Hit<'_> {
        let mut found = Hit::Nothing;
        match self.by_path(path) {
            Hit::Prefix(leaf) => {
                found = match leaf.within.find(path) {
                    Hit::Nothing => Hit::Prefix(leaf),
                    within => within,
                };
                if leaf.is_final || !matches!(found, Hit::Prefix(_)) {
                    return found;
                }
            }
            Hit::Nothing => {}
            done => return done,
        }
        for (pattern, at) in &self.regexes {
            let leaf = &self.all[*at];
            match pattern.is_match(path) {
                Some(false) => {}
                None => return Hit::Unknown,
                Some(true) => {
                    return match leaf.within.find(path) {
                        Hit::Nothing => Hit::Final(leaf),
                        Hit::Prefix(leaf) | Hit::Final(leaf) => Hit::Final(leaf),
                        Hit::Unknown => Hit::Unknown,
                    };
                }
            }
        }
        found
    }

    fn by_path(&self, path: &[u8]) -> Hit<'_> {
        let mut prefix = None;
        for (place, length) in self.paths.with_lengths(path) {
            match *place {
                [Some(exact), _] if length == path.len() => return Hit::Final(&self.all[exact]),
                [_, Some(at)] => {
                    prefix = Some((at, length));
                    break;
                }
                _ => {}
            }
        }
        let is_whole = prefix.is_some_and(|(_, length)| length == path.len());
        if let (false, Some(&at)) = (is_whole, self.redirects.get(path)) {
            return Hit::Final(&self.all[at]);
        }
        prefix.map_or(Hit::Nothing, |(at, _)| Hit::Prefix(&self.all[at]))
    }
}

impl Hit<'_> {
    /// The location's service and name, if there is one.
    pub fn found(&self) -> Option<Found> {
        match self {
            Self::Prefix(leaf) | Self::Final(leaf) => Some((leaf.service, Some(leaf.name.clone()))),
            Self::Nothing | Self::Unknown => None,
        }
    }
}
