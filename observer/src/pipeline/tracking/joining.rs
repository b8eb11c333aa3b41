//! Decides whose the upstream exchanges are, when a client's response begins.

use crate::connection::Moments;
use crate::event::{Cookie, Data, Direction, Nanoseconds, Role};
use crate::exchange::{Attempt, Exchange, ExchangeId};
use crate::http::head::Head;
use crate::pairing::{Asked, Candidate, Evidence, Pairing, Touch};

use super::Tracking;
use crate::pipeline::fact::Fact;

/// How long the next thing that a thread does is waited for.
const HELD_NS_MAX: Nanoseconds = 5_000_000;

/// A client's exchange that is answered in full, and an upstream exchange which it was kept for and which is over. What the
/// thread does next tells whether that was its own at all.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) thread: u32,
    pub(super) client: ExchangeId,
    pub(super) attempt: ExchangeId,
    pub(super) ended_ns: Nanoseconds,
}

impl Tracking {
    /// A client's response begins: what its thread heard of just before is what it passes on.
    pub(super) fn client_answered(&mut self, socket: Cookie, number: u64, thread: u32) {
        let Some(connection) = self.connections.get_mut(&socket) else { return };
        let process = connection.process;
        let Some(open) = connection.exchange_mut(number) else { return };
        if is_joined_at_once(&mut self.pairing, open, process, thread) {
            return;
        }
        // Taken out meanwhile: what is joined with it comes from others of its kind.
        let mut exchange = std::mem::replace(open, Exchange::new(open.id, 0));
        let has_released = self.join(&mut exchange, thread);
        let id = exchange.id;
        if let Some(open) = self.client_mut(id) {
            *open = exchange;
        }
        if has_released {
            self.client_may_end(id, 0);
        }
    }

    /// Joins a client's exchange, which is in no connection's keeping. Returns whether it lost an attempt.
    pub(super) fn join(&mut self, client: &mut Exchange, thread: u32) -> bool {
        let process = self.connections.get(&client.id.socket).map_or(0, |connection| connection.process);
        if is_joined_at_once(&mut self.pairing, client, process, thread) {
            return false;
        }
        let was_wrong = match heard(&self.pairing, client, process, thread) {
            Some(Heard { exchange, client: owner, is_told }) if owner != Some(client.id) => {
                self.take_over(client, exchange, owner, is_told)
            }
            Some(_) | None => false,
        };
        client.attempts.iter().any(Attempt::is_unanswered) && self.release(client, was_wrong)
    }

    /// The response is that of an upstream exchange which was held to be another's, or nobody's.
    fn take_over(&mut self, client: &mut Exchange, id: ExchangeId, owner: Option<ExchangeId>, is_told: bool) -> bool {
        let Some(attempt) = self.attempt_mut(owner, id) else { return false };
        let is_free = !attempt.is_passed_on && attempt.is_asked() && (is_told || may_be_for(client, attempt));
        // An error behind a failure of its own needs no other's.
        let is_explained = attempt.has_failed() && client.is_due_again();
        if !is_free || is_explained || !Pairing::is_passed_on(attempt, client, is_told) {
            return false;
        }
        let mut evidence = if is_told { Evidence::RequestId } else { Evidence::WayBack };
        let mut next = self.take(id, owner);
        while let Some(attempt) = next {
            let is_passed_on = attempt.id == id;
            let asked = attempt.asked.clone();
            let after = attempt.after.filter(|after| after.client != Some(client.id));
            self.belongs_to(&attempt, Some(client.id));
            if let Err(attempt) = client.add_attempt(Attempt { evidence, is_passed_on, ..attempt }) {
                self.loosen(*attempt);
            }
            evidence = Evidence::WayBack;
            // A retry asks for the same as the try that failed before it.
            let path = asked.as_deref().map(Head::path);
            let is_before =
                |before: &&mut Attempt| (!before.has_failed() || before.path() == path) && may_be_for(client, before);
            let after =
                after.filter(|after| self.attempt_mut(after.client, after.exchange).filter(is_before).is_some());
            next = after.and_then(|after| self.take(after.exchange, after.client));
        }
        true
    }

    /// What a client was answered without may be another's: one that waits for the same and has no upstream, unless it
    /// looks like a copy of this client's. `was_wrong`: the client's own answer came from an upstream that was held to be
    /// another's, so that what it was held to have asked is in doubt, too.
    fn release(&mut self, client: &mut Exchange, was_wrong: bool) -> bool {
        let asked: Vec<ExchangeId> =
            client.attempts.iter().filter(|attempt| attempt.is_unanswered()).map(|attempt| attempt.id).collect();
        let mut has_released = false;
        for id in asked {
            if !is_doubtful(client, id) {
                continue;
            }
            let other = self.other_client(id);
            if other.is_none() && !was_wrong {
                continue;
            }
            let Some(attempt) = client.take_attempt(id) else { continue };
            has_released = true;
            match other {
                Some((other, evidence)) => self.assign(Attempt { evidence, ..attempt }, other),
                None => self.loosen(attempt),
            }
        }
        has_released
    }

    /// Who else may have asked an upstream that has not answered yet.
    fn other_client(&self, id: ExchangeId) -> Option<(ExchangeId, Evidence)> {
        let connection = self.connections.get(&id.socket)?;
        let head = connection.exchange(id.number)?.request.head.as_deref()?;
        let asked = Asked { head, process: connection.process, lead: None, connected_for: None };
        self.pairing.choose(asked, |id| self.candidate(id).filter(|candidate| candidate.exchange.lacks_attempt()))
    }

    /// An attempt is this client's, and those nobody's that it came right after.
    pub(super) fn assign(&mut self, attempt: Attempt, client: ExchangeId) {
        let after = attempt.after.map(|after| after.exchange);
        self.belongs_to(&attempt, Some(client));
        let Some(exchange) = self.client_mut(client) else { return self.loosen(attempt) };
        if let Some(held) = exchange.attempt_mut(attempt.id) {
            *held = attempt;
        } else if let Err(attempt) = exchange.add_attempt(attempt) {
            return self.loosen(*attempt);
        }
        if let Some(before) = after.and_then(|after| self.pairing.claim(after)) {
            self.assign(Attempt { evidence: Evidence::ThreadOrder, ..before }, client);
        }
    }

    pub(super) fn loosen(&mut self, attempt: Attempt) {
        self.belongs_to(&attempt, None);
        let dropped = self.pairing.loosen(attempt);
        self.orphaned(dropped);
    }

    /// The attempt, from a client that is not answered by it, or of nobody's.
    fn take(&mut self, id: ExchangeId, owner: Option<ExchangeId>) -> Option<Attempt> {
        let owner = owner.and_then(|owner| self.client_mut(owner));
        let of_owner = owner.filter(|owner| !owner.has_passed_on(id)).and_then(|owner| owner.take_attempt(id));
        of_owner.or_else(|| self.pairing.claim(id))
    }

    /// Keeps in mind whose an upstream exchange is, as long as it is under way or an id may tell of it.
    fn belongs_to(&mut self, attempt: &Attempt, client: Option<ExchangeId>) {
        self.pairing.set_told(attempt, client);
        if let Some(connection) = self.connections.get_mut(&attempt.id.socket)
            && attempt.ended_ns.is_none()
            && (connection.exchange(attempt.id.number).is_some() || connection.next_id() == attempt.id)
        {
            connection.made_for = client;
        }
    }

    /// The pairs of a client's exchange that is over.
    pub(super) fn count_pairs(&mut self, exchange: &Exchange) {
        for attempt in exchange.attempts.iter().filter(|attempt| attempt.is_asked()) {
            self.facts.push(Fact::Paired(attempt.evidence, 1));
            self.pairing.forget_told(attempt);
        }
        if let Some(journal) = &mut self.journal
            && let Some(connection) = self.connections.get(&exchange.id.socket)
        {
            journal.ended(exchange, &connection.opened);
        }
    }

    pub(super) fn touch(&mut self, thread: u32, touch: Touch) {
        if thread != 0 {
            let orphans = self.pairing.touch(thread, touch);
            self.orphaned(orphans);
            self.end_held(|held| held.thread == thread);
        }
    }

    /// Only what a thread writes to a client can show whose the upstream exchange was that it read before.
    pub(super) fn look_at_held(&mut self, data: &Data<'_>) {
        if self.held.is_empty() {
            return;
        }
        let is_to_client = data.direction == Direction::Sent
            && self.connections.get(&data.socket).is_some_and(|connection| connection.opened.role == Role::Client);
        if !is_to_client {
            self.end_held(|held| held.thread == data.thread);
        }
    }

    pub(super) fn time_went_by(&mut self, now_ns: Nanoseconds) {
        self.end_held_of_all(|held| now_ns.saturating_sub(held.ended_ns) > HELD_NS_MAX);
    }

    /// Nothing else will come.
    pub fn end_all_held(&mut self) {
        self.end_held_of_all(|_| true);
    }

    fn end_held_of_all(&mut self, is_due: impl Fn(&Held) -> bool) {
        let due = |held: &[Held]| {
            let due = held.iter().enumerate().filter(|(_, held)| is_due(held));
            due.min_by_key(|(_, held)| held.client.socket).map(|(at, _)| at)
        };
        while let Some(at) = due(&self.held) {
            self.facts.about(self.held[at].client.socket);
            self.end_one_held(at);
        }
    }

    fn end_held(&mut self, is_due: impl Fn(&Held) -> bool) {
        while let Some(at) = self.held.iter().position(&is_due) {
            self.end_one_held(at);
        }
    }

    fn end_one_held(&mut self, at: usize) {
        let Held { client, attempt, ended_ns, .. } = self.held.remove(at);
        let is_its_own = self.client_mut(client).is_some_and(|client| client.attempt_mut(attempt).is_some());
        self.client_may_end(client, if is_its_own { ended_ns } else { 0 });
    }

    /// The gateway is done with a client's request, so what upstreams have yet to answer was not asked for it.
    pub(super) fn give_back(&mut self, client: &mut Exchange) {
        let foreign = |attempt: &Attempt| attempt.is_unanswered() && !attempt.is_passed_on;
        while let Some(at) = client.attempts.iter().position(foreign) {
            let attempt = client.attempts.remove(at);
            match self.other_client(attempt.id) {
                Some((other, evidence)) => self.assign(Attempt { evidence, ..attempt }, other),
                None => self.loosen(Attempt { evidence: Evidence::Orphan, ..attempt }),
            }
        }
    }

    fn orphaned(&mut self, count: u64) {
        if count > 0 {
            self.facts.push(Fact::Paired(Evidence::Orphan, count));
        }
    }

    /// Something that a client's exchange which is answered in full may have been kept for is over.
    pub(super) fn client_may_end(&mut self, client: ExchangeId, time_ns: Nanoseconds) {
        let mut moments = Moments::default();
        if let Some(connection) = self.connections.get_mut(&client.socket) {
            connection.attempt_ended(client.number, time_ns, &mut moments);
        }
        self.client_moments(client.socket, None, &mut moments);
    }

    pub(super) fn candidate(&self, id: ExchangeId) -> Option<Candidate<'_>> {
        let client = self.connections.get(&id.socket)?;
        Some(Candidate { exchange: client.exchange(id.number)?, client: &client.peer_address })
    }

    /// An upstream exchange, wherever it is kept.
    pub(super) fn attempt_mut(&mut self, client: Option<ExchangeId>, id: ExchangeId) -> Option<&mut Attempt> {
        match client {
            Some(client) => self.client_mut(client)?.attempt_mut(id),
            None => self.pairing.loose_mut(id),
        }
    }

    pub(super) fn client_mut(&mut self, id: ExchangeId) -> Option<&mut Exchange> {
        self.connections.get_mut(&id.socket)?.exchange_mut(id.number)
    }
}

/// The upstream exchange that a client is answered by, as far as an id in the answer or the thread's order tells.
struct Heard {
    exchange: ExchangeId,
    /// The client's exchange that it was held to be made for.
    client: Option<ExchangeId>,
    /// An id in the answer tells.
    is_told: bool,
}

fn heard(pairing: &Pairing, client: &Exchange, process: u32, thread: u32) -> Option<Heard> {
    let told = client.response.head.as_deref().and_then(|head| pairing.told_by(process, head));
    match (told, pairing.touched(thread)) {
        (Some(told), _) => Some(Heard { exchange: told.exchange, client: told.client, is_told: true }),
        (None, Some(Touch::Upstream { exchange, client, .. })) => Some(Heard { exchange, client, is_told: false }),
        (None, Some(Touch::Client(_) | Touch::Elsewhere) | None) => None,
    }
}

/// Confirms what a client's exchange was joined with, now that it is answered. Returns whether that is all: no other one's
/// answer was passed on, and nothing is left that may have been asked for another.
fn is_joined_at_once(pairing: &mut Pairing, client: &mut Exchange, process: u32, thread: u32) -> bool {
    if let Some(keys) = client.waits_by.take() {
        pairing.client_done(&keys, client.id);
    }
    match heard(pairing, client, process, thread) {
        Some(heard) if heard.client == Some(client.id) => confirm(client, heard.exchange, heard.is_told),
        Some(_) => return false,
        None => {}
    }
    !client.attempts.iter().any(Attempt::is_unanswered)
}

/// A gateway asks nobody for a request that was sent ahead before it is done with the one in front.
fn may_be_for(client: &Exchange, attempt: &Attempt) -> bool {
    client.request.began_ns.is_none_or(|began_ns| attempt.began_ns >= began_ns)
}

/// Forth and back the evidence says the same.
fn confirm(client: &mut Exchange, id: ExchangeId, is_told: bool) {
    let back = client.fingerprint();
    let Some(attempt) = client.attempt_mut(id) else { return };
    let answer = attempt.answer.fingerprint;
    attempt.is_passed_on = answer.zip(back).is_some_and(|(upstream, client)| upstream.has_status_of(&client));
    match attempt.evidence {
        Evidence::Content | Evidence::Ambiguous if !is_told => attempt.evidence = Evidence::WayBack,
        Evidence::RequestId => {}
        _ if is_told => attempt.evidence = Evidence::RequestId,
        _ => {}
    }
}

/// Whether an attempt that is not answered may be another client's: nothing but the thread's order speaks for it, and it
/// asks for the same as the one that was passed on. A copy goes elsewhere.
fn is_doubtful(client: &Exchange, id: ExchangeId) -> bool {
    let Some(doubtful) = client.attempts.iter().find(|attempt| attempt.id == id) else { return false };
    let passed_on = client.attempts.iter().find(|attempt| attempt.is_passed_on);
    let is_alike = passed_on.is_none_or(|passed| passed.host() == doubtful.host() && passed.path() == doubtful.path());
    is_alike && doubtful.evidence != Evidence::RequestId
}
