//! An upstream exchange as a client's exchange sees it.

use std::sync::Arc;

use super::ExchangeId;
use crate::event::{Endpoint, Nanoseconds};
use crate::http::head::Head;
use crate::pairing::{Evidence, Fingerprint};

/// One upstream exchange, from the client exchange's point of view.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The upstream exchange; one that was not asked yet bears the number it will have.
    pub id: ExchangeId,
    /// Whom Kong named to the upstream (`X-Consumer-Username`); kept where the metrics tell consumers apart.
    pub consumer: Option<Box<str>>,
    /// The upstream's address.
    pub peer: Endpoint,
    /// The connect, or the first write on a kept connection.
    pub began_ns: Nanoseconds,
    /// The connection closed or the exchange ended.
    pub ended_ns: Option<Nanoseconds>,
    /// The upstream request's head, once it was asked.
    pub asked: Option<Arc<Head>>,
    /// The upstream's answer, as far as it has come.
    pub answer: Answer,
    /// Whether the gateway asked for it within the request, and answered by itself ([`crate::rules::aside`]).
    pub aside: Option<Aside>,
    /// It is a connect that was begun while another upstream was awaited: a copy's, if it is this exchange's at all.
    pub is_beside: bool,
    /// What speaks for its being made for that client's exchange.
    pub evidence: Evidence,
    /// The client's response is this one's, as far as the way back tells.
    pub is_passed_on: bool,
    /// The upstream exchange that ended on the thread just before this one began.
    pub after: Option<After>,
    /// What a response may name it by; 0 for nothing.
    pub told: u64,
    /// Its times, for the phases.
    pub times: Times,
    /// How it failed, if it did.
    pub failure: Option<Failure>,
}

/// An upstream exchange that another one began right behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// Which.
    pub exchange: ExchangeId,
    /// The client's exchange that it was held to be made for then.
    pub client: Option<ExchangeId>,
}

/// When an upstream exchange got how far, beside its beginning and its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The connect was done; none on a kept connection.
    pub connected_ns: Option<Nanoseconds>,
    /// The request's first byte was written.
    pub asked_ns: Option<Nanoseconds>,
    /// The request's last byte was written.
    pub sent_ns: Option<Nanoseconds>,
    /// The response's last byte was read.
    pub received_ns: Option<Nanoseconds>,
}

/// Why an upstream exchange has no whole answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connect was refused, or reset.
    Refused,
    /// The connect got no answer, or there is no way there.
    Unreachable,
    /// The upstream closed or reset the connection within its answer, or before it.
    Broken,
    /// The gateway closed it while the answer was awaited.
    GivenUp,
}

/// How it is known that an answer was not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aside {
    /// The client got what cannot be made of it.
    Told,
    /// The client got nothing that tells of it.
    Inferred,
}

/// What of an upstream's answer tells what the gateway asked it for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its first byte, an interim response's included.
    pub began_ns: Option<Nanoseconds>,
    /// Its head complete.
    pub header_ns: Option<Nanoseconds>,
    /// Its status, 0 as long as there is none.
    pub status: u16,
    /// `Content-Length`.
    pub content_length: Option<u64>,
    /// It sends the gateway elsewhere (`X-Accel-Redirect`).
    pub is_redirect: bool,
    /// What of it a gateway passes on.
    pub fingerprint: Option<Fingerprint>,
}

impl Attempt {
    /// One that began at this time.
    pub fn new(id: ExchangeId, peer: Endpoint, began_ns: Nanoseconds) -> Self {
        Attempt {
            id,
            consumer: None,
            peer,
            began_ns,
            ended_ns: None,
            asked: None,
            answer: Answer::default(),
            aside: None,
            is_beside: false,
            evidence: Evidence::default(),
            is_passed_on: false,
            after: None,
            told: 0,
            times: Times::default(),
            failure: None,
        }
    }

    /// Whether it was asked: else it is a connect, so far.
    pub fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The upstream request's host, once it was asked.
    pub fn host(&self) -> Option<&str> {
        self.asked.as_deref()?.host()
    }

    /// The upstream request's path, once it was asked.
    pub fn path(&self) -> Option<&str> {
        Some(self.asked.as_deref()?.path())
    }

    /// Whether it was asked, and its answer has not begun.
    pub fn is_unanswered(&self) -> bool {
        self.is_asked() && self.answer.header_ns.is_none() && self.ended_ns.is_none()
    }

    /// Whether it is over without an answer.
    pub fn has_failed(&self) -> bool {
        self.answer.header_ns.is_none() && self.ended_ns.is_some()
    }
}
