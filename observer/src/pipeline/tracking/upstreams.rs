//! What the upstreams' exchanges tell of the clients'.

use crate::connection::{Connection, Moment, Moments};
use crate::event::{Cookie, Data, Direction, Endpoint, Nanoseconds, Origin, StateChange, TcpState};
use crate::exchange::{After, Attempt, Ending, Exchange, ExchangeId, Failure};
use crate::http::http1::{Input, TLS_HANDSHAKE};
use crate::pairing::{Asked, Evidence, Lead, Touch, told_key};

use super::Tracking;
use super::joining::Held;
use crate::pipeline::fact::{Ends, Fact, UpstreamFact};

/// Kong's header with the name of whom it has authenticated (`kong/constants.lua`).
const CONSUMER: &str = "x-consumer-username";

impl Tracking {
    /// A connect belongs to the client's request that its thread is at, until the request on it says otherwise.
    pub(super) fn upstream_opened(&mut self, connection: &mut Connection) {
        let origin = connection.opened.origin;
        self.facts.push(Fact::Upstream(Ends::of(&connection.opened), UpstreamFact::Opened(origin)));
        if origin != Origin::Beginning {
            return;
        }
        connection.lead = self.lead(connection.opened.thread);
        let Some((client, is_direct)) = connection.lead.and_then(|lead| Some((lead.client?, lead.is_direct))) else {
            return;
        };
        let mut attempt =
            Attempt::new(connection.next_id(), connection.opened.remote.clone(), connection.opened.time_ns);
        if let Some(exchange) = self.client_mut(client)
            && exchange.request.head.is_some()
            && exchange.response.head.is_none()
        {
            attempt.is_beside = exchange.awaits_upstream();
            if (is_direct || !attempt.is_beside) && exchange.add_attempt(attempt).is_ok() {
                connection.made_for = Some(client);
            }
        }
    }

    /// Follows a connect, and ends one that failed.
    pub(super) fn upstream_state(&mut self, change: &StateChange) {
        let Some(connection) = self.connections.get_mut(&change.socket) else { return };
        match change.new {
            TcpState::Established => {
                if let Endpoint::Ip(local) = &mut connection.opened.local {
                    let is_v4 = local.is_ipv4();
                    connection.opened.local = Endpoint::from_bytes(is_v4, change.local, change.local_port);
                }
                connection.established_ns = Some(change.time_ns);
                self.facts.push(Fact::Upstream(Ends::of(&connection.opened), UpstreamFact::Connected));
                if let Some(journal) = &mut self.journal {
                    journal.upstream_opened(&connection.opened);
                }
            }
            TcpState::Close if !change.is_reset() => {
                let (id, thread) = (connection.next_id(), connection.thread);
                let made_for = connection.made_for.take();
                let has_failed = change.old == TcpState::SynSent;
                let what = if has_failed { UpstreamFact::Failed } else { UpstreamFact::Closed };
                self.facts.push(Fact::Upstream(Ends::of(&connection.opened), what));
                self.name_servers.closed(change.socket);
                if made_for.is_some() {
                    if let Some(attempt) = self.attempt_mut(made_for, id) {
                        attempt.failure = has_failed.then(|| failed_connect(change));
                    }
                    self.end_attempt(made_for, id, thread, change.time_ns);
                }
            }
            _ => {}
        }
    }

    pub(super) fn upstream_moments(&mut self, socket: Cookie, thread: u32, moments: &mut Moments) {
        let mut told = std::mem::take(&mut moments.told);
        for moment in told.drain(..) {
            match moment {
                Moment::Begun(number) => self.upstream_begun(socket, number, thread),
                Moment::RequestHead(number) => self.upstream_asked(socket, number),
                Moment::ResponseHead(number) => self.upstream_answered(socket, number),
                Moment::RequestEnd(_) => {}
                Moment::Ended(exchange, ending) => {
                    self.upstream_ended(socket, &exchange, ending);
                    moments.give_back(exchange);
                }
                // The clients' exchanges are what is counted.
                Moment::Stray(_) => {}
                Moment::Carries(carried) => self.carries(socket, carried),
            }
        }
        moments.told = told;
    }

    /// The thread heard from an upstream, or found a connect done (`is_fresh`).
    pub(super) fn upstream_touched(&mut self, data: &Data<'_>, is_fresh: bool) {
        let Some(connection) = self.connections.get(&data.socket) else { return };
        let open = connection.exchanges().next();
        let touch = match data.direction {
            Direction::Received => Touch::Upstream {
                exchange: open.map_or_else(|| connection.next_id(), |open| open.id),
                client: connection.made_for.or(connection.spoken_for),
                is_over: open.is_none(),
            },
            Direction::Sent if is_fresh && connection.opened.remote.ip().is_some() => Touch::Elsewhere,
            Direction::Sent => return,
        };
        self.touch(data.thread, touch);
    }

    /// The first write on a kept connection is what a connect is on a new one.
    fn upstream_begun(&mut self, socket: Cookie, number: u64, thread: u32) {
        self.end_unseen(socket, number);
        let lead = self.lead(thread);
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.lead = connection.lead.or(lead);
        }
    }

    /// No gateway asks for more before it has all of an answer: it took the rest of the one before by calls that nothing
    /// shows yet.
    fn end_unseen(&mut self, socket: Cookie, number: u64) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let before = number.checked_sub(1).and_then(|before| connection.exchange(before));
        let Some(before) = before.filter(|before| before.response.head.is_some()) else { return };
        let (id, ended_ns) = (before.id, before.ended_ns());
        let made_for = connection.made_for.take();
        connection.told_over = number;
        connection.lead = None;
        connection.established_ns = None;
        if let Some(attempt) = self.attempt_mut(made_for, id) {
            attempt.ended_ns = Some(ended_ns);
        }
        if let Some(client) = made_for {
            self.client_may_end(client, 0);
        }
    }

    /// A database that a connect led to is no upstream. TLS may hide one.
    pub(super) fn upstream_spoken_to(&mut self, data: &Data<'_>) {
        if data.direction != Direction::Sent {
            return;
        }
        let Some(connection) = self.connections.get(&data.socket) else { return };
        let is_asked = |open: &Exchange| open.id.number > 0 || open.request.head.is_some();
        if connection.exchanges().any(is_asked) {
            return;
        }
        self.remember_asker(data);
        let Some(connection) = self.connections.get_mut(&data.socket) else { return };
        if connection.made_for.is_none() {
            return;
        }
        // The first call alone may be too short to tell.
        let begun = if data.offset == 0 { data.sample } else { connection.begun_head() };
        let may_be_http = Input::new(begun, 0, &[]).may_begin_a_request();
        let may_be_tls = begun.iter().zip(TLS_HANDSHAKE).all(|(byte, expected)| byte == expected);
        if !(may_be_http || may_be_tls) {
            let id = ExchangeId { socket: data.socket, number: 0 };
            let made_for = connection.made_for.take();
            self.forget_attempt(made_for, id);
        }
    }

    /// What is no HTTP is for the client that the thread is at: Lua asks a store within a request.
    fn remember_asker(&mut self, data: &Data<'_>) {
        if self.connections.get(&data.socket).is_some_and(|connection| connection.exchanges().next().is_none()) {
            let lead = self.lead(data.thread);
            if let Some(connection) = self.connections.get_mut(&data.socket) {
                let first = connection.lead.take();
                connection.spoken_for = first.or(lead).and_then(|lead| lead.client);
            }
        }
    }

    fn upstream_asked(&mut self, socket: Cookie, number: u64) {
        let Some(connection) = self.connections.get(&socket) else { return };
        let Some(exchange) = connection.exchange(number) else { return };
        let Some(head) = &exchange.request.head else { return };
        let asked =
            Asked { head, process: connection.process, lead: connection.lead, connected_for: connection.made_for };
        let chosen = self.pairing.choose(asked, |id| self.candidate(id));
        let began_ns = exchange.request.began_ns.unwrap_or_default();
        let mut attempt = Attempt::new(exchange.id, connection.opened.remote.clone(), began_ns);
        attempt.asked = Some(head.clone());
        if self.options.keeps_consumers {
            attempt.consumer = head.header(CONSUMER).map(Box::from);
        }
        attempt.after = connection.lead.and_then(|lead| lead.after);
        attempt.times.connected_ns = connection.established_ns;
        attempt.times.asked_ns = exchange.request.head_ns;
        if chosen.is_none_or(|(_, evidence)| evidence != Evidence::RequestId) {
            attempt.told = told_key(connection.process, head);
        }
        let held_for = connection.made_for;
        if held_for != chosen.map(|(id, _)| id) {
            self.forget_attempt(held_for, attempt.id);
        }
        let Some((client, evidence)) = chosen else {
            return self.loosen(attempt);
        };
        attempt.evidence = evidence;
        self.assign(attempt, client);
    }

    fn upstream_answered(&mut self, socket: Cookie, number: u64) {
        let Some(connection) = self.connections.get(&socket) else { return };
        let (made_for, Some(exchange)) = (connection.made_for, connection.exchange(number)) else { return };
        let (id, answer, sent_ns) = (exchange.id, exchange.answer(), exchange.request.last_ns);
        if let Some(attempt) = self.attempt_mut(made_for, id) {
            attempt.answer = answer;
            attempt.times.sent_ns = Some(sent_ns);
        }
    }

    fn upstream_ended(&mut self, socket: Cookie, exchange: &Exchange, ending: Ending) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        if exchange.id.number < connection.told_over {
            return;
        }
        connection.told_over = exchange.id.number + 1;
        connection.lead = None;
        connection.established_ns = None;
        let (made_for, thread) = (connection.made_for.take(), connection.thread);
        if let Some(attempt) = self.attempt_mut(made_for, exchange.id) {
            // A response that came in one call is over before its head is told of.
            attempt.answer = exchange.answer();
            attempt.times.sent_ns = Some(exchange.request.last_ns);
            attempt.times.received_ns = exchange.response.is_complete.then_some(exchange.response.last_ns);
            attempt.failure = failure(exchange, ending);
        }
        self.end_attempt(made_for, exchange.id, thread, exchange.ended_ns());
    }

    /// What the thread does next it does for that client: it tries again, or answers.
    fn end_attempt(&mut self, client: Option<ExchangeId>, id: ExchangeId, thread: u32, time_ns: Nanoseconds) {
        if let Some(attempt) = self.attempt_mut(client, id) {
            attempt.ended_ns = Some(time_ns);
        }
        self.touch(thread, Touch::Upstream { exchange: id, client, is_over: true });
        if let Some(client) = client
            && self.client_mut(client).is_some_and(|exchange| exchange.is_complete())
        {
            self.held.push(Held { thread, client, attempt: id, ended_ns: time_ns });
        }
    }

    fn forget_attempt(&mut self, client: Option<ExchangeId>, id: ExchangeId) {
        let Some(client) = client else { return };
        let Some(exchange) = self.client_mut(client) else { return };
        exchange.attempts.retain(|attempt| attempt.id != id);
        if exchange.is_complete() {
            // It was kept for this one.
            self.client_may_end(client, 0);
        }
    }

    /// What a thread is at: of pipelined requests the oldest that is not answered.
    fn lead(&self, thread: u32) -> Option<Lead> {
        let waits = |id: &ExchangeId| {
            let exchange = self.connections.get(&id.socket).and_then(|client| client.exchange(id.number));
            exchange.is_some_and(|exchange| exchange.response.head.is_none())
        };
        match self.pairing.touched(thread)? {
            Touch::Client(socket) => {
                let open = self.connections.get(&socket)?.exchanges().find(|open| open.response.head.is_none())?;
                Some(Lead { client: Some(open.id), is_direct: true, after: None })
            }
            Touch::Upstream { exchange, client, is_over } => Some(Lead {
                client: client.filter(waits),
                is_direct: is_over,
                after: is_over.then_some(After { exchange, client }),
            }),
            Touch::Elsewhere => None,
        }
    }
}

fn failed_connect(change: &StateChange) -> Failure {
    match nix::errno::Errno::from_raw(change.error) {
        nix::errno::Errno::ECONNREFUSED | nix::errno::Errno::ECONNRESET => Failure::Refused,
        _ => Failure::Unreachable,
    }
}

fn failure(exchange: &Exchange, ending: Ending) -> Option<Failure> {
    match ending {
        _ if exchange.response.is_complete => None,
        Ending::ByPeer => Some(Failure::Broken),
        Ending::ByGateway => Some(Failure::GivenUp),
        Ending::Complete | Ending::WithProcess | Ending::NeverRead | Ending::Lost(_) => None,
    }
}
