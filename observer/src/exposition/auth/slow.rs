//! Wrong tokens are answered more slowly the more of them an address sends.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// After the first failure; doubled with each further one.
const FIRST: Duration = Duration::from_millis(100);

/// The longest wait. It takes one of the connections' slots meanwhile.
const LONGEST: Duration = Duration::from_secs(3);

/// An address is forgotten after this long without a failure.
const MEMORY: Duration = Duration::from_secs(60);

/// Addresses remembered, some 50 bytes each; then the one that failed longest ago is forgotten.
const ADDRESSES_MAX: usize = 1024;

/// Failures by address, IPv6 by its network of 64 bits: a host has all of that.
#[derive(Debug, Default)]
pub(super) struct Slow {
    failures: HashMap<Option<IpAddr>, (u32, Instant)>,
}

impl Slow {
    /// Counts a failure: how many there were lately, and how long to wait.
    pub(super) fn failed(&mut self, client: Option<IpAddr>, now: Instant) -> (u32, Duration) {
        let key = client.map(network);
        let is_old = |last: Instant| now.saturating_duration_since(last) >= MEMORY;
        if self.failures.len() >= ADDRESSES_MAX && !self.failures.contains_key(&key) {
            self.failures.retain(|_, (_, last)| !is_old(*last));
            if self.failures.len() >= ADDRESSES_MAX {
                let oldest = self.failures.iter().min_by_key(|(_, (_, last))| *last).map(|(key, _)| *key);
                oldest.map(|oldest| self.failures.remove(&oldest));
            }
        }
        let (count, last) = self.failures.entry(key).or_insert((0, now));
        if is_old(*last) {
            *count = 0;
        }
        *count = count.saturating_add(1);
        *last = now;
        let doublings = (*count - 1).min(16);
        (*count, (FIRST * 2u32.pow(doublings)).min(LONGEST))
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_limit() {
        let (mut slow, now) = (Slow::default(), Instant::now());
        let waits: Vec<u64> =
            (0..8).map(|_| u64::try_from(slow.failed(at("10.0.0.1"), now).1.as_millis()).unwrap()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3000, 3000, 3000]);
        assert_eq!(slow.failed(at("10.0.0.2"), now), (1, FIRST));
        assert_eq!(slow.failed(at("10.0.0.1"), now + MEMORY), (1, FIRST));
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let (mut slow, now) = (Slow::default(), Instant::now());
        slow.failed(at("2001:db8::1"), now);
        assert_eq!(slow.failed(at("2001:db8::2"), now).0, 2);
        assert_eq!(slow.failed(at("2001:db8:0:1::2"), now).0, 1);
    }

    #[test]
    fn the_table_stays_small() {
        let (mut slow, now) = (Slow::default(), Instant::now());
        slow.failed(at("10.0.0.1"), now);
        for n in 0..2 * u32::try_from(ADDRESSES_MAX).unwrap() {
            let later = now + Duration::from_millis(u64::from(n) + 1);
            slow.failed(Some(IpAddr::from(n.to_be_bytes())), later);
        }
        assert_eq!(slow.failures.len(), ADDRESSES_MAX);
        assert!(!slow.failures.contains_key(&at("10.0.0.1")));
    }
}
