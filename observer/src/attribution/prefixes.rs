//! Prefixes of a path among many, found by one binary search.

use std::cmp::Ordering;

/// Values by prefix.
///
/// The prefixes are sorted. Of those that a path begins with, the longest is the last one not greater than the path
/// or lies on that one's chain of parents, and the rest are its parents.
pub struct Prefixes<T> {
    nodes: Vec<Node<T>>,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        let nodes = Vec::new();
        Self { nodes }
    }
}

struct Node<T> {
    /// [`start`] of the prefix: nearly always it decides, and lies with the others that are compared.
    start: u64,
    prefix: Box<[u8]>,
    /// The longest other prefix that this one begins with.
    parent: Option<usize>,
    value: T,
}

impl<T: Default> Prefixes<T> {
    /// Puts each item's prefix in; `add` puts the item with its prefix's value.
    pub fn new<'a, I>(items: impl Iterator<Item = (&'a [u8], I)>, add: impl Fn(&mut T, I)) -> Self {
        let mut sorted = std::collections::BTreeMap::<&[u8], T>::new();
        for (prefix, item) in items {
            add(sorted.entry(prefix).or_default(), item);
        }
        let mut nodes: Vec<Node<T>> = Vec::with_capacity(sorted.len());
        for (prefix, value) in sorted {
            let mut parent = nodes.len().checked_sub(1);
            while let Some(at) = parent.filter(|&at| !prefix.starts_with(&nodes[at].prefix)) {
                parent = nodes[at].parent;
            }
            nodes.push(Node { start: start(prefix), prefix: prefix.into(), parent, value });
        }
        Self { nodes }
    }
}

impl<T> Prefixes<T> {
    /// The values of all prefixes that `path` begins with, the longest first.
    pub fn of(&self, path: &[u8]) -> impl Iterator<Item = &T> {
        self.with_lengths(path).map(|(value, _)| value)
    }

    /// The same, each with its prefix's length in bytes.
    pub fn with_lengths(&self, path: &[u8]) -> impl Iterator<Item = (&T, usize)> {
        let first = start(path);
        let is_before = |node: &Node<T>| match node.start.cmp(&first) {
            Ordering::Less => true,
            Ordering::Equal => *node.prefix <= *path,
            Ordering::Greater => false,
        };
        let mut at = self.nodes.partition_point(is_before).checked_sub(1);
        while let Some(i) = at.filter(|&i| !path.starts_with(&self.nodes[i].prefix)) {
            at = self.nodes[i].parent;
        }
        let chain = std::iter::successors(at, |&i| self.nodes[i].parent);
        chain.map(|i| (&self.nodes[i].value, self.nodes[i].prefix.len()))
    }
}

/// The first bytes as a number: where those of two texts differ, the texts are in the same order.
fn start(text: &[u8]) -> u64 {
    let mut first = [0; 8];
    first.iter_mut().zip(text).for_each(|(first, byte)| *first = *byte);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn paths() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec("/?[ab/\\x00]{0,12}", 0..40)
    }

    proptest! {
        #[test]
        fn the_search_agrees_with_a_look_at_every_prefix(prefixes in paths(), asked in paths()) {
            let items = prefixes.iter().map(|prefix| (prefix.as_bytes(), prefix.clone()));
            let index = Prefixes::new(items, |value: &mut String, prefix| *value = prefix);
            for path in asked {
                let found: Vec<&String> = index.of(path.as_bytes()).collect();
                let mut naive: Vec<&String> = prefixes.iter().filter(|p| path.starts_with(&***p)).collect();
                naive.sort_by_key(|prefix| std::cmp::Reverse(prefix.len()));
                naive.dedup();
                prop_assert_eq!(found, naive);
            }
        }
    }
}
