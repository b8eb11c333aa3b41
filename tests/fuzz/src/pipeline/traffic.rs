//! What a script's traffic is: only what is sound can be asked to count alike in other calls.

use observer::connection::{Carried, Moment};
use observer::exchange::{Ending, Exchange};
use observer::http::http1::{Kind, Span};

/// What the bytes of all connections are by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Traffic {
    /// Each connection is in step all along, and each head is one.
    pub is_sound: bool,
    /// There are bytes of protocols that are not HTTP.
    pub has_tunnels: bool,
}

impl Default for Traffic {
    fn default() -> Self {
        Traffic { is_sound: true, has_tunnels: false }
    }
}

impl Traffic {
    /// Takes a run of bytes. Where all are known, an end that is looked for in the last ones is that of chunks that are none.
    pub fn take_span(&mut self, span: &Span<'_>) {
        self.is_sound &= span.kind != Kind::LastChunk;
    }

    /// Takes what a connection tells.
    pub fn take(&mut self, moment: &Moment) {
        match moment {
            Moment::Stray(_) | Moment::Ended(_, Ending::Lost(_)) => self.is_sound = false,
            Moment::Ended(exchange, ending) => {
                // What a gateway closes without an answer within a body is judged by the calls that read the body.
                let is_within_body = exchange.request.head.is_some() && !exchange.request.is_complete;
                let is_answered = exchange.response.head.is_some();
                self.is_sound &= is_answered || !is_within_body || *ending != Ending::ByGateway;
                self.take_exchange(exchange);
            }
            Moment::Carries(carried) => self.is_sound &= *carried == Carried::Http1,
            Moment::Begun(_) | Moment::RequestHead(_) | Moment::RequestEnd(_) | Moment::ResponseHead(_) => {}
        }
    }

    /// Takes an exchange that is over, or is never to be.
    pub fn take_exchange(&mut self, exchange: &Exchange) {
        let (request, response) = (&exchange.request, &exchange.response);
        // Bare answers and HTTP/0.9 are told by how calls begin.
        let is_bare = response.is_bare || exchange.is_simple();
        let is_method = exchange.method().bytes().all(|byte| byte.is_ascii_uppercase());
        self.is_sound &= is_method && !(request.is_malformed || response.is_malformed || is_bare);
        self.has_tunnels |= exchange.is_upgraded;
    }
}
