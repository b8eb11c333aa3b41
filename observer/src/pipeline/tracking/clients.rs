//! What becomes of the clients' exchanges.

use crate::connection::{Connection, Moment, Moments};
use crate::event::{Cookie, Data, Direction, Opened, Role};
use crate::exchange::{Ending, Exchange};
use crate::pairing::Touch;

use super::Tracking;
use crate::pipeline::fact::{ClientFact, Ends, Entrance, Fact};

impl Tracking {
    pub(super) fn client_opened(&mut self, connection: &Connection) {
        let Opened { socket, origin, .. } = connection.opened;
        let what = ClientFact::Opened(Ends::of(&connection.opened), origin);
        self.facts.push(Fact::Client { socket, gateway: connection.gateway, what });
    }

    pub(super) fn client_closed(&mut self, socket: Cookie) {
        if let Some(connection) = self.connections.get_mut(&socket)
            && connection.opened.role == Role::Client
            && !connection.is_closed
        {
            connection.is_closed = true;
            let Connection { gateway, phase, .. } = *connection;
            self.facts.push(Fact::Client { socket, gateway, what: ClientFact::Closed(phase) });
        }
    }

    /// `call` is the one that moved bytes just now, if one did.
    pub(super) fn client_moments(&mut self, socket: Cookie, call: Option<&Data<'_>>, moments: &mut Moments) {
        let thread = call.map_or(0, |call| call.thread);
        let mut answered = None;
        for moment in moments.told.drain(..) {
            match moment {
                Moment::Begun(_) => self.client_begun(socket),
                Moment::RequestHead(number) => self.client_waits(socket, number),
                Moment::RequestEnd(_) => {}
                Moment::ResponseHead(number) => {
                    answered = Some(number);
                    self.client_answered(socket, number, thread);
                }
                Moment::Ended(mut exchange, ending) => {
                    // One that was answered in one call is out of its connection before its head is told of.
                    if answered == Some(exchange.id.number) && exchange.waits_by.is_some() {
                        self.join(&mut exchange, thread);
                    }
                    let is_gateway_done = exchange.response.head.is_some() && ending != Ending::WithProcess;
                    if ending == Ending::Complete || is_gateway_done {
                        self.give_back(&mut exchange);
                    }
                    self.client_ended(socket, exchange, ending);
                }
                Moment::Stray(reason) => self.stray(reason),
                Moment::Carries(carried) => self.carries(socket, carried),
            }
        }
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let (from, to) = (connection.phase, connection.current_phase());
        if from != to && !connection.is_closed {
            connection.phase = to;
            self.facts.push(Fact::Client { socket, gateway: connection.gateway, what: ClientFact::Moved(from, to) });
        }
        if let Some(call) = call {
            let touch = client_touch(connection, call, || self.pairing.touched(call.thread));
            self.touch(call.thread, touch);
        }
    }

    fn client_begun(&mut self, socket: Cookie) {
        if let Some(&Connection { gateway, phase, .. }) = self.connections.get(&socket) {
            self.facts.push(Fact::Client { socket, gateway, what: ClientFact::Begun(phase) });
        }
    }

    fn client_waits(&mut self, socket: Cookie, number: u64) {
        if let Some(connection) = self.connections.get_mut(&socket) {
            if !std::mem::replace(&mut connection.is_protocol_told, true) {
                self.facts.push(Fact::Protocol("http/1"));
            }
            let process = connection.process;
            if let Some(exchange) = connection.exchange_mut(number)
                && let Some(head) = &exchange.request.head
            {
                exchange.waits_by = Some(self.pairing.client_waits(process, head, exchange.id));
            }
        }
    }

    pub(super) fn client_waits_no_more(&mut self, exchange: &mut Exchange) {
        if let Some(keys) = exchange.waits_by.take() {
            self.pairing.client_done(&keys, exchange.id);
        }
    }

    fn client_ended(&mut self, socket: Cookie, mut exchange: Box<Exchange>, ending: Ending) {
        self.client_waits_no_more(&mut exchange);
        exchange.find_asides();
        self.count_pairs(&exchange);
        let Some(connection) = self.connections.get(&socket) else { return };
        let entrance = Entrance {
            gateway: connection.gateway,
            network: connection.opened.network,
            client: connection.opened.remote.ip().map(|remote| remote.ip()),
            local: connection.opened.local.ip(),
            is_tls: connection.is_tls(),
        };
        self.facts.push(Fact::Ended { exchange, ending, entrance });
    }
}

/// A thread that answers one client stays with another's request that it read meanwhile.
fn client_touch(connection: &Connection, call: &Data<'_>, before: impl FnOnce() -> Option<Touch>) -> Touch {
    if call.direction != Direction::Sent {
        return Touch::Client(call.socket);
    }
    // Within a head that takes several calls, what was read before them still counts.
    let oldest = connection.exchanges().next().map(|open| &open.response);
    let is_within_head = oldest.is_some_and(|response| response.began_ns.is_some() && response.head.is_none());
    let is_asked = || connection.exchanges().any(|open| open.response.head.is_none());
    match before() {
        Some(before) if is_within_head => before,
        Some(before @ Touch::Client(_)) if !is_asked() => before,
        _ => Touch::Client(call.socket),
    }
}
