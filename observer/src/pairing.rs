//! Which client's exchange an upstream exchange was made for.
//!
//! One thread may serve many clients at once, so the thread's order alone does not tell. Each candidate is scored by the
//! evidence at hand, and the best one wins; a candidate that nothing speaks for is none.

use rustc_hash::FxHashMap;

use crate::event::Cookie;
use crate::exchange::{Exchange, ExchangeId};
use crate::http::head::Head;

/// Candidates looked at for one upstream request; more clients than this asking for one target at once are told apart by
/// the thread's order alone.
const CANDIDATES_MAX: usize = 256;

/// With so many points the thread's own candidate is the one, and no other is looked at: order, method and target agree,
/// and nothing speaks against it.
const CONCLUSIVE: i32 = 13;

/// What made a pair, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The same request id on both sides.
    RequestId,
    /// The client's request was the last one read on the thread that asked the upstream.
    ThreadOrder,
    /// Only method, target, address or length agree.
    Content,
}

impl Evidence {
    /// The evidence as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Evidence::RequestId => "request_id",
            Evidence::ThreadOrder => "thread_order",
            Evidence::Content => "content",
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
    /// The client exchange that was read last on the thread when it connected or wrote.
    pub read_last: Option<ReadLast>,
    /// The client exchange that its connect was held to be for.
    pub connected_for: Option<ExchangeId>,
}

/// What a thread turned to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLast<T = ExchangeId> {
    /// The client's exchange, or its connection.
    pub client: T,
    /// It has read nothing else since.
    pub is_at_it: bool,
}

/// Client exchanges that wait for an answer.
#[derive(Debug, Default)]
pub struct Pairing {
    /// The client connection that was read last, by thread.
    threads: FxHashMap<u32, ReadLast<Cookie>>,
    /// Waiting exchanges by process and target.
    waiting: FxHashMap<(u32, Box<str>), Vec<ExchangeId>>,
}

impl Pairing {
    /// This client's connection was read on this thread.
    pub fn client_read(&mut self, thread: u32, socket: Cookie) {
        self.threads.insert(thread, ReadLast { client: socket, is_at_it: true });
    }

    /// The thread read from an upstream.
    pub fn upstream_read(&mut self, thread: u32) {
        if let Some(last) = self.threads.get_mut(&thread) {
            last.is_at_it = false;
        }
    }

    /// A client's request head is complete.
    pub fn client_waits(&mut self, process: u32, target: &str, id: ExchangeId) {
        self.waiting.entry((process, target.into())).or_default().push(id);
    }

    /// A client's exchange is over.
    pub fn client_done(&mut self, process: u32, target: &str, id: ExchangeId) {
        // The key is built anew: looking up by parts would need a second map.
        let key = (process, Box::from(target));
        if let Some(waiting) = self.waiting.get_mut(&key) {
            waiting.retain(|&other| other != id);
            if waiting.is_empty() {
                self.waiting.remove(&key);
            }
        }
    }

    /// The client connection that was read last on a thread.
    pub fn read_last(&self, thread: u32) -> Option<ReadLast<Cookie>> {
        self.threads.get(&thread).copied()
    }

    /// A thread ended.
    pub fn thread_ended(&mut self, thread: u32) {
        self.threads.remove(&thread);
    }

    /// The client exchange that an upstream request was most likely made for.
    pub fn choose<'a>(
        &self,
        asked: Asked<'_>,
        find: impl Fn(ExchangeId) -> Option<Candidate<'a>>,
    ) -> Option<(ExchangeId, Evidence)> {
        let read_last = asked.read_last.map(|last| last.client);
        let of_thread = read_last.and_then(|id| find(id).and_then(|candidate| score(asked, candidate)));
        if let (Some(id), Some(score)) = (read_last, &of_thread)
            && score.points >= CONCLUSIVE
        {
            return Some((id, score.evidence));
        }
        let same_target = self.waiting.get(&(asked.process, Box::from(asked.head.target())));
        let others = same_target.into_iter().flatten().filter(|&&id| Some(id) != read_last);
        let others = others.take(CANDIDATES_MAX).filter_map(|&id| Some((score(asked, find(id)?)?, id)));
        of_thread
            .zip(read_last)
            .into_iter()
            .chain(others)
            // Of equals the first: the thread's, then the one that waits longest.
            .reduce(|best, other| if other.0.points > best.0.points { other } else { best })
            .map(|(score, id)| (id, score.evidence))
    }
}

struct Score {
    points: i32,
    evidence: Evidence,
}

/// Points of a candidate; `None` if it is impossible or nothing speaks for it.
fn score(asked: Asked<'_>, candidate: Candidate<'_>) -> Option<Score> {
    let exchange = candidate.exchange;
    let client = exchange.request.head.as_deref()?;
    if exchange.response.head.is_some() {
        return None;
    }
    let of_thread = asked.read_last.filter(|last| last.client == exchange.id);
    let is_thread = of_thread.is_some();
    let ids =
        || client.ids().into_iter().zip(asked.head.ids()).filter(|(own, told)| !own.is_empty() && !told.is_empty());
    let has_id = ids().any(|(own, told)| own == told);
    let mut points = match (has_id, ids().next()) {
        (true, _) => 100,
        (false, Some(_)) => -4,
        (false, None) => 0,
    };
    points += if is_thread { 8 } else { 0 };
    points += if client.method() == asked.head.method() { 1 } else { -6 };
    points += path_points(client.target(), asked.head.target());
    points += address_points(candidate.client, asked.head);
    points += length_points(client, asked.head);
    // A mirrored request asks two upstreams at once; else the second comes when the first is done with.
    let is_at_it = of_thread.is_some_and(|last| last.is_at_it);
    if exchange.awaits_upstream() && asked.connected_for != Some(exchange.id) && !is_at_it {
        points -= 12;
    } else if !exchange.attempts.is_empty() {
        points += 2;
    }
    let evidence = match (has_id, is_thread) {
        (true, _) => Evidence::RequestId,
        (false, true) => Evidence::ThreadOrder,
        (false, false) => Evidence::Content,
    };
    (points > 0).then_some(Score { points, evidence })
}

/// A gateway passes the path on, strips a prefix, adds one, or rewrites it.
fn path_points(client: &str, upstream: &str) -> i32 {
    if client == upstream {
        4
    } else if client.ends_with(upstream) || upstream.ends_with(client) {
        2
    } else {
        -3
    }
}

fn address_points(client: &str, asked: &Head) -> i32 {
    let told = asked.forwarded();
    if client.is_empty() || told.is_empty() {
        0
    } else if told.split(',').any(|address| address.trim() == client) {
        2
    } else {
        -4
    }
}

fn length_points(client: &Head, asked: &Head) -> i32 {
    match (client.content_length, asked.content_length) {
        (Some(client), Some(upstream)) => {
            if client == upstream {
                1
            } else {
                -3
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Endpoint;
    use crate::exchange::Attempt;
    use crate::http::head::Side;

    fn head(text: &str) -> Head {
        Head::parse(Side::Request, text.as_bytes()).unwrap()
    }

    fn exchange(number: u64, text: &str) -> Exchange {
        let mut exchange = Exchange::new(ExchangeId { socket: 1, number }, 0);
        exchange.request.head = Some(Box::new(head(text)));
        exchange
    }

    fn attempt() -> Attempt {
        Attempt {
            id: ExchangeId { socket: 2, number: 0 },
            consumer: None,
            peer: Endpoint::Unix([].into()),
            began_ns: 0,
            ended_ns: None,
            host: None,
            path: None,
            answer: Default::default(),
        }
    }

    fn choose(open: &[Exchange], read_last: Option<u64>, asked: &str) -> Option<(u64, Evidence)> {
        let mut pairing = Pairing::default();
        for exchange in open {
            let target = exchange.request.head.as_ref().unwrap().target();
            pairing.client_waits(7, target, exchange.id);
        }
        let asked = head(asked);
        let read_last = read_last.map(|number| ReadLast { client: ExchangeId { socket: 1, number }, is_at_it: false });
        let asked = Asked { head: &asked, process: 7, read_last, connected_for: None };
        let find = |id: ExchangeId| {
            open.iter().find(|exchange| exchange.id == id).map(|exchange| Candidate { exchange, client: "10.0.0.7" })
        };
        pairing.choose(asked, find).map(|(id, evidence)| (id.number, evidence))
    }

    #[test]
    fn the_request_read_last_on_the_thread_is_the_one() {
        let open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /a HTTP/1.1\r\n\r\n")];
        assert_eq!(choose(&open, Some(1), "GET /a HTTP/1.1\r\n\r\n"), Some((1, Evidence::ThreadOrder)));
    }

    #[test]
    fn a_rewritten_path_still_goes_by_the_threads_order() {
        let open = [exchange(0, "GET /shop/a HTTP/1.1\r\n\r\n")];
        assert_eq!(choose(&open, Some(0), "GET /internal HTTP/1.1\r\n\r\n"), Some((0, Evidence::ThreadOrder)));
    }

    #[test]
    fn a_waiting_request_for_the_same_target_beats_one_that_has_its_upstream() {
        let mut open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n"), exchange(1, "GET /b HTTP/1.1\r\n\r\n")];
        open[1].attempts.push(attempt());
        assert_eq!(choose(&open, Some(1), "GET /a HTTP/1.1\r\n\r\n"), Some((0, Evidence::Content)));
    }

    #[test]
    fn a_request_id_beats_all_else() {
        let open = [
            exchange(0, "GET /a HTTP/1.1\r\nX-Request-ID: q\r\n\r\n"),
            exchange(1, "GET /a HTTP/1.1\r\nX-Request-ID: r\r\n\r\n"),
        ];
        let asked = "GET /a HTTP/1.1\r\nx-request-id: q\r\n\r\n";
        assert_eq!(choose(&open, Some(1), asked), Some((0, Evidence::RequestId)));
    }

    #[test]
    fn an_answered_exchange_is_no_candidate() {
        let mut open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n")];
        let response = Head::parse(Side::Response, b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        open[0].response.head = Some(Box::new(response));
        assert_eq!(choose(&open, Some(0), "GET /a HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn nothing_is_chosen_when_nothing_speaks_for_it() {
        let open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n")];
        assert_eq!(choose(&open, None, "POST /b HTTP/1.1\r\n\r\n"), None);
    }

    #[test]
    fn a_forwarded_address_of_another_client_speaks_against_it() {
        let open = [exchange(0, "GET /a HTTP/1.1\r\n\r\n")];
        assert_eq!(choose(&open, None, "GET /b HTTP/1.1\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n"), None);
        let other = "GET /a HTTP/1.1\r\nX-Forwarded-For: 10.9.9.9\r\n\r\n";
        assert_eq!(choose(&open, None, other), Some((0, Evidence::Content)), "the target still agrees");
    }

    #[test]
    fn a_finished_exchange_waits_no_more() {
        let mut pairing = Pairing::default();
        let id = ExchangeId { socket: 1, number: 0 };
        pairing.client_waits(7, "/a", id);
        pairing.client_done(7, "/a", id);
        assert!(pairing.waiting.is_empty());
    }
}
