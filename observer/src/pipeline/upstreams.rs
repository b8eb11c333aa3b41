//! What the upstreams' exchanges tell of the clients'.

use crate::connection::{Connection, Moment};
use crate::event::{Cookie, Data, Direction, Endpoint, Nanoseconds, Origin, StateChange, TcpState};
use crate::exchange::{ATTEMPTS_MAX, Answer, Attempt, Exchange, ExchangeId};
use crate::http::http1::{Input, TLS_HANDSHAKE};
use crate::pairing::{Asked, Candidate, ReadLast};

use super::Pipeline;

/// Kong's header with the name of whom it has authenticated (`kong/constants.lua`).
const CONSUMER: &str = "x-consumer-username";

impl Pipeline {
    /// A connect belongs to the client's request that its thread read last, until the request on it says otherwise.
    pub(super) fn upstream_opened(&mut self, connection: &mut Connection) {
        self.internal.upstream_opened(&connection.opened);
        if connection.opened.origin != Origin::Beginning {
            return self.datastore.found(&connection.opened);
        }
        let Some(read_last) = self.read_last(connection.opened.thread) else { return };
        connection.read_last = Some(read_last);
        let attempt = attempt(connection, connection.next_id(), connection.opened.time_ns);
        if let Some(exchange) = self.client_mut(read_last.client)
            && exchange.request.head.is_some()
            && exchange.response.head.is_none()
            && !exchange.awaits_upstream()
            && exchange.attempts.len() < ATTEMPTS_MAX
        {
            exchange.attempts.push(attempt);
            connection.made_for = Some(read_last.client);
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
                self.internal.upstream_opened(&connection.opened);
                self.datastore.connected(&connection.opened);
            }
            TcpState::Close if !change.is_reset() => {
                let (id, thread) = (connection.next_id(), connection.thread);
                let made_for = connection.made_for.take();
                let has_failed = change.old == TcpState::SynSent;
                self.datastore.closed(&connection.opened, has_failed);
                self.internal.upstream_closed(&connection.opened);
                self.name_servers.closed(change.socket);
                self.end_attempt(made_for, id, thread, change.time_ns);
            }
            _ => {}
        }
    }

    pub(super) fn upstream_moments(&mut self, socket: Cookie, thread: u32, moments: &mut Vec<Moment>) {
        for moment in moments.drain(..) {
            match moment {
                Moment::Begun(_) => self.upstream_begun(socket, thread),
                Moment::RequestHead(number) => self.upstream_asked(socket, number),
                Moment::ResponseHead(number) => self.upstream_answered(socket, number),
                Moment::RequestEnd(_) => {}
                Moment::Ended(exchange, _) => self.upstream_ended(socket, &exchange),
                // The clients' exchanges are what is counted.
                Moment::Stray(_) => {}
                Moment::Carries(carried) => self.carries(socket, carried),
            }
        }
    }

    /// The first write on a kept connection is what a connect is on a new one.
    fn upstream_begun(&mut self, socket: Cookie, thread: u32) {
        let read_last = self.read_last(thread);
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.read_last = connection.read_last.or(read_last);
        }
    }

    /// A database that a connect led to is no upstream. TLS may hide one.
    pub(super) fn upstream_spoken_to(&mut self, data: &Data<'_>) {
        let Some(connection) = self.connections.get_mut(&data.socket) else { return };
        if data.direction != Direction::Sent || connection.made_for.is_none() {
            return;
        }
        let is_asked = |open: &Exchange| open.id.number > 0 || open.request.head.is_some();
        // The first call alone may be too short to tell.
        let begun = if data.offset == 0 { data.sample } else { connection.begun_head() };
        let may_be_http = Input::new(begun, 0, &[]).may_begin_a_request();
        let may_be_tls = begun.iter().zip(TLS_HANDSHAKE).all(|(byte, expected)| byte == expected);
        if !(may_be_http || may_be_tls || connection.exchanges().any(is_asked)) {
            let id = ExchangeId { socket: data.socket, number: 0 };
            let made_for = connection.made_for.take();
            self.forget_attempt(made_for, id);
        }
    }

    fn upstream_asked(&mut self, socket: Cookie, number: u64) {
        let Some(connection) = self.connections.get(&socket) else { return };
        let Some(exchange) = connection.exchange(number) else { return };
        let Some(head) = exchange.request.head.as_deref() else { return };
        let asked = Asked {
            head,
            process: connection.process,
            read_last: connection.read_last,
            connected_for: connection.made_for,
        };
        let chosen = self.pairing.choose(asked, |id| {
            let client = self.connections.get(&id.socket)?;
            Some(Candidate { exchange: client.exchange(id.number)?, client: &client.peer_address })
        });
        let mut attempt = attempt(connection, exchange.id, exchange.request.began_ns.unwrap_or_default());
        attempt.host = head.host().map(Box::from);
        attempt.path = Some(head.path().into());
        if self.metrics.tells_consumers() {
            attempt.consumer = head.header(CONSUMER).map(Box::from);
        }
        let held_for = connection.made_for;
        if held_for != chosen.map(|(id, _)| id) {
            self.forget_attempt(held_for, attempt.id);
        }
        let Some((client, evidence)) = chosen else {
            self.metrics.pairs("none");
            return;
        };
        self.metrics.pairs(evidence.name());
        self.set_attempt(client, attempt);
        if let Some(connection) = self.connections.get_mut(&socket) {
            connection.made_for = Some(client);
        }
    }

    fn upstream_answered(&mut self, socket: Cookie, number: u64) {
        let Some(connection) = self.connections.get(&socket) else { return };
        let (Some(client), Some(exchange)) = (connection.made_for, connection.exchange(number)) else { return };
        let (id, answer) = (exchange.id, exchange.answer());
        if let Some(attempt) = self.client_mut(client).and_then(|client| client.attempt_mut(id)) {
            attempt.answer = answer;
        }
    }

    fn upstream_ended(&mut self, socket: Cookie, exchange: &Exchange) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        connection.read_last = None;
        let (made_for, thread) = (connection.made_for.take(), connection.thread);
        if let Some(client) = made_for.and_then(|client| self.client_mut(client))
            && let Some(attempt) = client.attempt_mut(exchange.id)
        {
            // A response that came in one call is over before its head is told of.
            attempt.answer = exchange.answer();
        }
        self.end_attempt(made_for, exchange.id, thread, exchange.ended_ns());
    }

    /// What the thread does next it does for that client: it tries again, or answers.
    fn end_attempt(&mut self, client: Option<ExchangeId>, id: ExchangeId, thread: u32, time_ns: Nanoseconds) {
        let Some(client) = client else { return };
        let Some(exchange) = self.client_mut(client) else { return };
        if let Some(attempt) = exchange.attempt_mut(id) {
            attempt.ended_ns = Some(time_ns);
        }
        if exchange.response.head.is_none() {
            self.pairing.client_read(thread, client.socket);
        } else if exchange.is_complete() {
            let mut moments = Vec::new();
            if let Some(connection) = self.connections.get_mut(&client.socket) {
                connection.attempt_ended(client.number, time_ns, &mut moments);
            }
            self.client_moments(client.socket, 0, &mut moments);
        }
    }

    fn forget_attempt(&mut self, client: Option<ExchangeId>, id: ExchangeId) {
        if let Some(client) = client.and_then(|client| self.client_mut(client)) {
            client.attempts.retain(|attempt| attempt.id != id);
        }
    }

    fn set_attempt(&mut self, client: ExchangeId, attempt: Attempt) {
        let Some(client) = self.client_mut(client) else { return };
        if let Some(held) = client.attempt_mut(attempt.id) {
            *held = attempt;
        } else if client.attempts.len() < ATTEMPTS_MAX {
            client.attempts.push(attempt);
        }
    }

    /// The client exchange that a thread works on: of pipelined requests the oldest that is not answered.
    fn read_last(&self, thread: u32) -> Option<ReadLast> {
        let last = self.pairing.read_last(thread)?;
        let open = self.connections.get(&last.client)?.exchanges().find(|open| open.response.head.is_none())?;
        Some(ReadLast { client: open.id, is_at_it: last.is_at_it })
    }

    fn client_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.connections.get_mut(&id.socket)?.exchange_mut(id.number)
    }
}

fn attempt(connection: &Connection, id: ExchangeId, began_ns: Nanoseconds) -> Attempt {
    Attempt {
        id,
        consumer: None,
        peer: connection.opened.remote.clone(),
        began_ns,
        ended_ns: None,
        host: None,
        path: None,
        answer: Answer::default(),
    }
}
