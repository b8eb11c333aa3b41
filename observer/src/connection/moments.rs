//! What connections tell, and what they tell it with.

use std::sync::Arc;

use super::Moment;
use crate::event::Nanoseconds;
use crate::exchange::{Exchange, ExchangeId};
use crate::http::head::Head;

/// Exchanges whose memory is kept for others, and heads twice as many: more than one thread's clients have under way most of
/// the time. Some 100 KiB, and 450 KiB at most.
const SPARE_MAX: usize = 64;

/// Upstream exchanges that an exchange keeps memory for.
const ATTEMPTS_MAX: usize = 4;

/// The moments that calls brought, for the caller to take out.
#[derive(Debug, Default)]
pub struct Moments {
    /// In the order in which they happened.
    pub told: Vec<Moment>,
    #[expect(clippy::vec_box, reason = "the boxes themselves are handed out and taken back")]
    exchanges: Vec<Box<Exchange>>,
    heads: Vec<Arc<Head>>,
}

impl Moments {
    /// Takes an exchange that is over, for its memory. Its heads are wiped.
    pub fn give_back(&mut self, mut exchange: Box<Exchange>) {
        let Exchange { request, response, attempts, .. } = &mut *exchange;
        let asked = attempts.iter_mut().filter_map(|attempt| attempt.asked.take());
        for mut head in [request.head.take(), response.head.take()].into_iter().flatten().chain(asked) {
            // One that is still shared is wiped with the exchange that it is shared with.
            if self.heads.len() < 2 * SPARE_MAX
                && let Some(own) = Arc::get_mut(&mut head)
            {
                own.wipe();
                self.heads.push(head);
            }
        }
        attempts.clear();
        if attempts.capacity() > ATTEMPTS_MAX {
            *attempts = Vec::new();
        }
        if self.exchanges.len() < SPARE_MAX {
            self.exchanges.push(exchange);
        }
    }

    pub(super) fn push(&mut self, moment: Moment) {
        self.told.push(moment);
    }

    /// A new exchange whose first byte came at this time.
    pub(super) fn exchange(&mut self, id: ExchangeId, began_ns: Nanoseconds) -> Box<Exchange> {
        let Some(mut spare) = self.exchanges.pop() else { return Box::new(Exchange::new(id, began_ns)) };
        let attempts = std::mem::take(&mut spare.attempts);
        *spare = Exchange { attempts, ..Exchange::new(id, began_ns) };
        spare
    }

    /// Memory for a head, if there is some.
    pub(super) fn head(&mut self) -> Option<Arc<Head>> {
        self.heads.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Endpoint;
    use crate::exchange::{Attempt, Unobserved};
    use crate::http::head::Side;

    const REQUEST: &str = "GET /secret HTTP/1.1\r\nHost: a\r\nX-Request-ID: q\r\nContent-Length: 5\r\n\r\n";

    fn head() -> Arc<Head> {
        Arc::new(Head::parse(Side::Request, REQUEST.as_bytes()).unwrap())
    }

    #[test]
    fn nothing_of_an_exchange_is_in_the_one_that_takes_its_memory() {
        let (first, second) = (ExchangeId { socket: 1, number: 0 }, ExchangeId { socket: 2, number: 7 });
        let mut moments = Moments::default();
        let mut exchange = moments.exchange(first, 5);
        exchange.request.head = Some(head());
        exchange.blame(Unobserved::NotSampled);
        let attempt = Attempt { asked: Some(head()), ..Attempt::new(second, Endpoint::Unix([].into()), 6) };
        exchange.add_attempt(attempt).unwrap();
        moments.give_back(exchange);
        let again = moments.exchange(second, 9);
        assert_eq!(format!("{again:?}"), format!("{:?}", Exchange::new(second, 9)));
        for _ in 0..2 {
            assert_eq!(*moments.head().unwrap(), Head::default());
        }
        assert!(moments.head().is_none());
    }

    #[test]
    fn a_head_that_is_still_shared_stays_as_it_is() {
        let mut moments = Moments::default();
        let (shared, mut exchange) = (head(), moments.exchange(ExchangeId { socket: 1, number: 0 }, 5));
        exchange.request.head = Some(Arc::clone(&shared));
        moments.give_back(exchange);
        assert!(moments.head().is_none());
        assert_eq!(shared, head());
    }
}
