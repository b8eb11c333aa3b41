//! Client exchanges that wait for an answer, found by what an upstream request says.

use std::collections::hash_map::Entry;
use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use crate::exchange::ExchangeId;
use crate::http::head::{Head, ID_HEADERS};

/// What a waiting exchange is found by: the last segment of its target, which stays when a gateway strips a prefix or adds
/// one, and its ids. 0 for what it lacks.
pub type Keys = [u64; 1 + ID_HEADERS.len()];

/// The waiting exchanges by each of their keys, those that wait longest first.
#[derive(Debug, Default)]
pub struct Waiting(FxHashMap<u64, Queue>);

/// Nearly always there is one.
#[derive(Debug)]
struct Queue {
    first: ExchangeId,
    behind: Vec<ExchangeId>,
}

impl Waiting {
    /// Adds an exchange. The keys are for [`Waiting::remove`].
    pub fn add(&mut self, process: u32, head: &Head, id: ExchangeId) -> Keys {
        let mut keys = ids_of(process, head);
        keys[0] = by_target(process, head.target());
        for key in present(&keys) {
            match self.0.entry(key) {
                Entry::Occupied(queue) => queue.into_mut().behind.push(id),
                Entry::Vacant(new) => {
                    new.insert(Queue { first: id, behind: Vec::new() });
                }
            }
        }
        keys
    }

    /// Removes an exchange.
    pub fn remove(&mut self, keys: &Keys, id: ExchangeId) {
        for key in present(keys) {
            let Some(queue) = self.0.get_mut(&key) else { continue };
            if queue.first != id {
                if let Some(at) = queue.behind.iter().position(|&other| other == id) {
                    queue.behind.remove(at);
                }
            } else if queue.behind.is_empty() {
                self.0.remove(&key);
            } else {
                queue.first = queue.behind.remove(0);
            }
        }
    }

    /// Exchanges that an upstream request of this process may have been made for; one may come twice.
    pub fn of(&self, process: u32, asked: &Head) -> impl Iterator<Item = ExchangeId> {
        let mut keys = ids_of(process, asked);
        let told = asked.forwarded_path();
        keys[0] = if told.is_empty() { 0 } else { by_target(process, told) };
        let target = by_target(process, asked.target());
        let of_ids = keys.into_iter().skip(1).chain([keys[0], target]).filter(|&key| key != 0);
        let queues = of_ids.filter_map(|key| self.0.get(&key));
        queues.flat_map(|queue| std::iter::once(queue.first).chain(queue.behind.iter().copied()))
    }

    /// Takes all of another one's, which are of other processes.
    pub fn absorb(&mut self, other: &mut Waiting) {
        self.0.extend(other.0.drain());
    }

    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The keys of the ids in a head; the first is left out.
pub fn ids_of(process: u32, head: &Head) -> Keys {
    let mut keys = Keys::default();
    if !head.has_ids() {
        return keys;
    }
    for (kind, id) in head.stable_ids().into_iter().enumerate().filter(|(_, id)| !id.is_empty()) {
        keys[1 + kind] = hash(process, 1 + kind, id);
    }
    keys
}

fn present(keys: &Keys) -> impl Iterator<Item = u64> {
    keys.iter().copied().filter(|&key| key != 0)
}

fn by_target(process: u32, target: &str) -> u64 {
    hash(process, 0, memchr::memrchr(b'/', target.as_bytes()).map_or(target, |slash| &target[slash + 1..]))
}

fn hash(process: u32, kind: usize, text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u32(process);
    hasher.write_usize(kind);
    hasher.write(text.as_bytes());
    hasher.finish() | 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::Side;

    fn head(text: &str) -> Head {
        Head::parse(Side::Request, text.as_bytes()).unwrap()
    }

    const A: ExchangeId = ExchangeId { socket: 1, number: 0 };

    #[test]
    fn a_request_is_found_by_its_target_a_part_of_it_and_its_ids() {
        let mut waiting = Waiting::default();
        waiting.add(7, &head("GET /shop/a?b=c HTTP/1.1\r\nX-Request-ID: q\r\n\r\n"), A);
        let finds = |process, text: &str| waiting.of(process, &head(text)).any(|id| id == A);
        for asked in [
            "GET /shop/a?b=c HTTP/1.1\r\n\r\n",
            "GET /a?b=c HTTP/1.1\r\n\r\n",
            "GET /else HTTP/1.1\r\nX-Forwarded-Path: /shop/a?b=c\r\n\r\n",
            "GET /else HTTP/1.1\r\nX-Request-ID: q\r\n\r\n",
        ] {
            assert!(finds(7, asked), "{asked}");
        }
        assert!(!finds(8, "GET /a?b=c HTTP/1.1\r\n\r\n"), "another process");
        assert!(!finds(7, "GET /b HTTP/1.1\r\nX-Request-ID: r\r\n\r\n"));
    }

    #[test]
    fn nothing_stays_of_a_request_that_waits_no_more() {
        let mut waiting = Waiting::default();
        let keys = waiting.add(7, &head("GET /a HTTP/1.1\r\nX-Request-ID: q\r\ntraceparent: 00-t-s-01\r\n\r\n"), A);
        waiting.remove(&keys, A);
        assert!(waiting.is_empty());
    }
}
