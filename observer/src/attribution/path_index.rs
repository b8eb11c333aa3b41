//! Routes by their path.

use super::prefixes::Prefixes;
use crate::config::{PathRule, Pattern};

/// A route's place in the order of priority, and its path if it asks for one.
pub type Item = (u32, Option<PathRule>);

/// The places of routes, each list in order.
#[derive(Default)]
pub struct PathIndex {
    prefixes: Prefixes<Vec<u32>>,
    regexes: Vec<(u32, Pattern)>,
    any_path: Vec<u32>,
}

impl PathIndex {
    /// `items` by priority.
    pub fn new(items: &[Item]) -> Self {
        let prefix = |item: &Item| match &item.1 {
            Some(PathRule::Prefix(prefix)) => Some((prefix.clone(), item.0)),
            _ => None,
        };
        let regex = |item: &Item| match &item.1 {
            Some(PathRule::Regex(pattern)) => Some((item.0, pattern.clone())),
            _ => None,
        };
        let prefixes: Vec<_> = items.iter().filter_map(prefix).collect();
        let items_by_prefix = prefixes.iter().map(|(prefix, id)| (&**prefix, *id));
        let without_path = items.iter().filter(|item| item.1.is_none());
        Self {
            prefixes: Prefixes::new(items_by_prefix, |ids: &mut Vec<u32>, id| ids.push(id)),
            regexes: items.iter().filter_map(regex).collect(),
            any_path: without_path.map(|item| item.0).collect(),
        }
    }

    /// Lowers `best` to the first entry whose path fits and that agrees, if that is before it.
    pub fn search(&self, path: &[u8], best: &mut u32, agrees: impl Fn(u32) -> bool) {
        for ids in self.prefixes.of(path).chain([&self.any_path]) {
            let before = ids.iter().copied().take_while(|id| id < best);
            if let Some(id) = { before }.find(|&id| agrees(id)) {
                *best = id;
            }
        }
        // Last, since an expression costs more than all the rest and its entry may be behind the best already.
        let before = self.regexes.iter().take_while(|(id, _)| id < best);
        if let Some((id, _)) = { before }.find(|(id, regex)| agrees(*id) && regex.is_match(path)) {
            *best = *id;
        }
    }
}
