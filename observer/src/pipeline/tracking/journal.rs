//! The pairs one by one, for whoever checks them.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::event::{Cookie, Opened};
use crate::exchange::Exchange;
use crate::pairing::Evidence;

/// One client exchange joined to one upstream exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The client's end of its connection.
    pub client: Option<SocketAddr>,
    /// Which exchange on it, from 0.
    pub client_number: u64,
    /// The gateway's end of the upstream connection, where its connect was seen.
    pub upstream: Option<SocketAddr>,
    /// Which exchange on it, from 0.
    pub upstream_number: u64,
    /// What made it.
    pub evidence: Evidence,
    /// It was to answer the request itself, not for a subrequest.
    pub is_try: bool,
}

/// Pairs of exchanges that are over.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) pairs: Vec<Pair>,
    upstreams: FxHashMap<Cookie, SocketAddr>,
}

impl Journal {
    pub(super) fn upstream_opened(&mut self, opened: &Opened) {
        self.upstreams.extend(opened.local.ip().map(|local| (opened.socket, local)));
    }

    pub(super) fn ended(&mut self, exchange: &Exchange, client: &Opened) {
        for (index, attempt) in exchange.attempts.iter().enumerate().filter(|(_, attempt)| attempt.is_asked()) {
            self.pairs.push(Pair {
                client: client.remote.ip(),
                client_number: exchange.id.number,
                upstream: self.upstreams.get(&attempt.id.socket).copied(),
                upstream_number: attempt.id.number,
                evidence: attempt.evidence,
                is_try: crate::rules::is_try(exchange, index),
            });
        }
    }
}
