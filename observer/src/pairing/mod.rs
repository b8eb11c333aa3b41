//! Which client's exchange an upstream exchange was made for.
//!
//! One thread may serve many clients at once, so the thread's order alone does not tell. When an upstream is asked, each
//! candidate is scored by the evidence at hand and the best one is taken for the time being. It is decided when the
//! client's response begins: what the thread read from an upstream just before is what it passes on, unless the two
//! contradict each other. An upstream exchange belongs to one client's exchange at most at any time.

mod fingerprint;
mod score;
#[cfg(test)]
mod tests;
mod waiting;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event::Cookie;
use crate::exchange::{After, Attempt, Exchange, ExchangeId};
use crate::http::head::Head;

pub use fingerprint::Fingerprint;
pub use waiting::Keys;

use score::{CONCLUSIVE, Score};
use waiting::Waiting;

/// Candidates looked at for one upstream request; more clients than this asking for one target at once are told apart by
/// the thread's order alone.
const CANDIDATES_MAX: usize = 256;

/// Upstream exchanges of nobody's that are kept in mind until a client's response claims them: more than a gateway has
/// health checks and look-ups under way.
const LOOSE_MAX: usize = 4096;

/// What made a pair, the strongest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Evidence {
    /// The same request id on both sides.
    RequestId,
    /// The client's request was the last one read on the thread that asked the upstream.
    ThreadOrder,
    /// The client's response was written right after the upstream's was read on that thread, and fits it.
    WayBack,
    /// Only method, target, address or length agree.
    Content,
    /// The same, of several client exchanges.
    Ambiguous,
    /// Nothing speaks for any client exchange.
    #[default]
    Orphan,
}

impl Evidence {
    /// All of them.
    pub const ALL: [Evidence; 6] = [
        Evidence::RequestId,
        Evidence::ThreadOrder,
        Evidence::WayBack,
        Evidence::Content,
        Evidence::Ambiguous,
        Evidence::Orphan,
    ];

    /// The evidence as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Evidence::RequestId => "request_id",
            Evidence::ThreadOrder => "thread_order",
            Evidence::WayBack => "way_back",
            Evidence::Content => "content",
            Evidence::Ambiguous => "ambiguous",
            Evidence::Orphan => "orphan",
        }
    }
}

/// A client's exchange, as far as the score asks.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// The exchange.
    pub exchange: &'a Exchange,
    /// The client's address as text, without its port; empty if it has none.
    pub client: &'a str,
}

/// An upstream's request, as far as the score asks.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its head.
    pub head: &'a Head,
    /// The process that asked.
    pub process: u32,
    /// What the thread was at when it connected or wrote.
    pub lead: Option<Lead>,
    /// The client exchange that its connect was held to be for.
    pub connected_for: Option<ExchangeId>,
}

/// What a thread was at when it turned to an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lead {
    /// The client's exchange.
    pub client: Option<ExchangeId>,
    /// It read nothing else since the client's request, or the end of an upstream's answer to it.
    pub is_direct: bool,
    /// The upstream exchange that ended just before.
    pub after: Option<After>,
}

/// What a thread turned to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// It read from a client, or answered one.
    Client(Cookie),
    /// It heard from an upstream.
    Upstream {
        /// Which exchange.
        exchange: ExchangeId,
        /// The client's exchange that it was made for, as far as is known.
        client: Option<ExchangeId>,
        /// The upstream exchange is over.
        is_over: bool,
    },
    /// It found a connect done: what it was at before has nothing to do with what it does next.
    Elsewhere,
}

/// Client exchanges that wait for an answer, what threads are at, and upstream exchanges of nobody's.
#[derive(Debug, Default)]
pub struct Pairing {
    threads: FxHashMap<u32, Touch>,
    waiting: Waiting,
    loose: FxHashMap<ExchangeId, Attempt>,
    /// Upstream exchanges that another one began right behind, of nobody's as well.
    followed: FxHashSet<ExchangeId>,
    /// Upstream exchanges by an id in their requests that their clients' requests had not.
    told: FxHashMap<u64, Told>,
}

/// An upstream exchange, and the client's that it is held to be made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// The upstream's.
    pub exchange: ExchangeId,
    /// The client's.
    pub client: Option<ExchangeId>,
}

impl Pairing {
    /// The thread turned to something. Returns how many upstream exchanges are nobody's for good by that.
    pub fn touch(&mut self, thread: u32, touch: Touch) -> u64 {
        let before = self.threads.insert(thread, touch);
        let Some(Touch::Upstream { exchange, client: None, is_over: true }) = before else { return 0 };
        let is_same = matches!(touch, Touch::Upstream { exchange: same, .. } if same == exchange);
        if is_same || self.followed.contains(&exchange) { 0 } else { self.drop_loose(exchange) }
    }

    /// What the thread turned to last.
    pub fn touched(&self, thread: u32) -> Option<Touch> {
        self.threads.get(&thread).copied()
    }

    /// A thread ended.
    pub fn thread_ended(&mut self, thread: u32) {
        self.threads.remove(&thread);
    }

    /// A client's request head is complete. The keys are for [`Pairing::client_done`].
    pub fn client_waits(&mut self, process: u32, head: &Head, id: ExchangeId) -> Keys {
        self.waiting.add(process, head, id)
    }

    /// A client's response began, or its exchange is over.
    pub fn client_done(&mut self, keys: &Keys, id: ExchangeId) {
        self.waiting.remove(keys, id);
    }

    /// The client exchange that an upstream request was most likely made for. `find` leaves out what is no candidate.
    pub fn choose<'a>(
        &self,
        asked: Asked<'_>,
        find: impl Fn(ExchangeId) -> Option<Candidate<'a>>,
    ) -> Option<(ExchangeId, Evidence)> {
        let led_by = asked.lead.and_then(|lead| lead.client);
        let of_thread = led_by.and_then(|id| find(id).and_then(|candidate| score::forth(asked, candidate)));
        if let (Some(id), Some(score)) = (led_by, &of_thread)
            && score.points >= CONCLUSIVE
        {
            return Some((id, score.evidence));
        }
        let others = self.waiting.of(asked.process, asked.head).filter(|&id| Some(id) != led_by);
        let others = others.take(CANDIDATES_MAX).filter_map(|id| Some((score::forth(asked, find(id)?)?, id)));
        of_thread.zip(led_by).into_iter().chain(others).reduce(better).map(|(score, id)| (id, score.evidence))
    }

    /// Whether an upstream exchange is the one whose answer a client got, which its thread wrote right after it had heard
    /// from that upstream, or whose id the response tells.
    pub fn is_passed_on(attempt: &Attempt, client: &Exchange, is_told: bool) -> bool {
        score::is_passed_on(attempt, client, is_told)
    }

    /// Keeps an upstream exchange of nobody's. Returns how many others, or itself, are nobody's for good for want of room.
    pub fn loosen(&mut self, attempt: Attempt) -> u64 {
        let mut dropped = 0;
        if self.loose.len() >= LOOSE_MAX {
            let over = self.loose.values().filter(|attempt| attempt.ended_ns.is_some()).map(|attempt| attempt.id);
            for id in over.collect::<Vec<_>>() {
                dropped += self.drop_loose(id);
            }
            if self.loose.len() >= LOOSE_MAX {
                self.forget_told(&attempt);
                return dropped + 1;
            }
        }
        self.set_told(&attempt, None);
        let before = attempt.after.map(|after| after.exchange);
        self.followed.extend(before.filter(|before| self.loose.contains_key(before)));
        self.loose.insert(attempt.id, attempt);
        dropped
    }

    /// An upstream exchange of nobody's.
    pub fn loose_mut(&mut self, id: ExchangeId) -> Option<&mut Attempt> {
        self.loose.get_mut(&id)
    }

    /// An upstream exchange of nobody's, which becomes somebody's.
    pub fn claim(&mut self, id: ExchangeId) -> Option<Attempt> {
        self.followed.remove(&id);
        self.loose.remove(&id)
    }

    /// An upstream exchange is held to be made for this client's.
    pub fn set_told(&mut self, attempt: &Attempt, client: Option<ExchangeId>) {
        if attempt.told != 0 {
            self.told.insert(attempt.told, Told { exchange: attempt.id, client });
        }
    }

    /// An upstream exchange is accounted for.
    pub fn forget_told(&mut self, attempt: &Attempt) {
        if attempt.told != 0 && self.told.get(&attempt.told).is_some_and(|told| told.exchange == attempt.id) {
            self.told.remove(&attempt.told);
        }
    }

    /// The upstream exchange whose request had an id that this response has.
    pub fn told_by(&self, process: u32, response: &Head) -> Option<Told> {
        if self.told.is_empty() {
            return None;
        }
        let keys = waiting::ids_of(process, response);
        own_ids(&keys).find_map(|key| self.told.get(&key).copied())
    }

    /// Takes all of another one's, which has to do with other threads and processes.
    pub fn absorb(&mut self, other: &mut Pairing) {
        self.threads.extend(other.threads.drain());
        self.waiting.absorb(&mut other.waiting);
        self.loose.extend(other.loose.drain());
        self.followed.extend(other.followed.drain());
        self.told.extend(other.told.drain());
    }

    /// Drops an upstream exchange of nobody's, and those that it followed. Returns how many.
    fn drop_loose(&mut self, id: ExchangeId) -> u64 {
        let (mut next, mut dropped) = (Some(id), 0);
        while let Some(attempt) = next.and_then(|id| self.claim(id)) {
            self.forget_told(&attempt);
            next = attempt.after.map(|after| after.exchange);
            dropped += 1;
        }
        dropped
    }
}

/// The key that a response may name an upstream request by; 0 for none.
pub fn told_key(process: u32, asked: &Head) -> u64 {
    own_ids(&waiting::ids_of(process, asked)).next().unwrap_or(0)
}

/// Of ids that one request has for itself.
fn own_ids(keys: &Keys) -> impl Iterator<Item = u64> {
    [keys[2], keys[1]].into_iter().filter(|&key| key != 0)
}

/// Of equals the first: the thread's, then the one that waits longest.
fn better(best: (Score, ExchangeId), other: (Score, ExchangeId)) -> (Score, ExchangeId) {
    if other.0.points > best.0.points {
        return other;
    }
    let is_equal = other.0.points == best.0.points && other.1 != best.1;
    match best.0.evidence {
        Evidence::Content if is_equal => (Score { evidence: Evidence::Ambiguous, ..best.0 }, best.1),
        _ => best,
    }
}
