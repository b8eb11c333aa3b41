//! An exchange: one request and its response on one connection, and for a client's the upstream exchanges made for it.

mod attempt;

use std::sync::Arc;

use crate::event::{Cookie, Nanoseconds};
use crate::http::head::Head;
use crate::pairing::{Fingerprint, Keys};
use crate::rules;

pub use attempt::{After, Answer, Aside, Attempt, Failure, Times};

/// Upstream tries kept for one exchange; nginx's `proxy_next_upstream` seldom makes more than a few.
pub const ATTEMPTS_MAX: usize = 64;

/// Names an exchange: its connection, and its number on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId {
    /// The connection.
    pub socket: Cookie,
    /// Counted from 0 on that connection.
    pub number: u64,
}

/// One request and its response, as far as they were seen.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its name.
    pub id: ExchangeId,
    /// The request.
    pub request: Message,
    /// The final response, with all interim ones before it.
    pub response: Message,
    /// The last interim or final status seen in the response's heads.
    pub is_upgraded: bool,
    /// Why it is not seen whole, if so.
    pub flaw: Option<Unobserved>,
    /// Upstream exchanges made for it, in their order; of a client's exchange only.
    pub attempts: Vec<Attempt>,
    /// What it is found by as long as it waits for an answer; of a client's exchange only.
    pub waits_by: Option<Keys>,
    /// How the gateway read the request's body.
    pub body_reads: BodyReads,
}

/// What the calls that read a request's body tell of who read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyReads {
    /// A call began within the body, before the final response's head.
    pub has_own_calls: bool,
    /// Such a call read more than nginx asks for when it throws a body away.
    pub is_beyond_discard: bool,
    /// Such a call read just as much as that, and did not end the body.
    pub is_as_discard: bool,
    /// The body was waited for: its last call so far, before the final response's head, came a while after the one before.
    pub is_awaited: bool,
    /// Bytes behind the body that came with the end of it.
    pub bytes_behind: u64,
    /// The gateway read the end of what the client sends within the body.
    pub reads_end: bool,
    /// The request's bytes read when the final response's head came.
    pub bytes_at_answer: u64,
    /// The same, when its last bytes so far came.
    pub bytes_at_last_write: u64,
    /// More of the body was still to come then.
    pub answered_within: bool,
    /// The gateway shut its side down behind the answer, and still read.
    pub lingers_within: bool,
}

/// One side of an exchange.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// Its head, once complete.
    pub head: Option<Arc<Head>>,
    /// Bytes so far: head, framing and body.
    pub bytes: u64,
    /// Bytes of its heads.
    pub head_bytes: u64,
    /// First byte.
    pub began_ns: Option<Nanoseconds>,
    /// Head complete.
    pub head_ns: Option<Nanoseconds>,
    /// Last byte so far.
    pub last_ns: Nanoseconds,
    /// All of it was seen.
    pub is_complete: bool,
    /// Its bytes are not HTTP.
    pub is_malformed: bool,
    /// The status that the gateway's own error page names, of a response without a head (HTTP/0.9).
    pub page_status: Option<u16>,
    /// The status of an answer that the gateway wrote when the client was gone: no byte of it was sent.
    pub unsent_status: Option<u16>,
    /// The same over TLS, where nothing tells its status.
    pub is_unsent: bool,
    /// It is a response that does not begin like HTTP.
    pub is_bare: bool,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both messages are complete.
    Complete,
    /// The client closed or reset the connection first.
    ByPeer,
    /// The gateway closed the connection first.
    ByGateway,
    /// The gateway's process ended.
    WithProcess,
    /// The gateway closed behind an earlier request and never looked at this one.
    NeverRead,
    /// The observer lost track of it.
    Lost(Unobserved),
}

/// Why an exchange was not seen whole. None of these is ever guessed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unobserved {
    /// It was under way when the observer came.
    Midway,
    /// Records of its connection were lost.
    RecordsLost,
    /// Its boundary lies in bytes that were not sampled.
    NotSampled,
    /// A call moved bytes whose buffers cannot be told.
    UnsampledCall,
    /// Bytes left the socket by a way that no hook sees.
    UnseenBytes,
    /// Request and response do not fit together.
    OutOfStep,
    /// The gateway's process ended.
    ProcessEnded,
    /// There was no room to keep it.
    TableFull,
    /// It is encrypted, and nothing hands out the plaintext.
    Encrypted,
    /// It is HTTP/2.
    Http2,
}

impl Unobserved {
    /// The reason as a label's value.
    pub const fn name(self) -> &'static str {
        match self {
            Unobserved::Midway => "attached_midway",
            Unobserved::RecordsLost => "records_lost",
            Unobserved::NotSampled => "boundary_not_sampled",
            Unobserved::UnsampledCall => "unsampled_call",
            Unobserved::UnseenBytes => "unseen_bytes",
            Unobserved::OutOfStep => "out_of_step",
            Unobserved::ProcessEnded => "process_ended",
            Unobserved::TableFull => "table_full",
            Unobserved::Encrypted => "tls_unreadable",
            Unobserved::Http2 => "http2",
        }
    }
}

impl Exchange {
    /// An exchange whose first byte came at this time.
    pub fn new(id: ExchangeId, began_ns: Nanoseconds) -> Self {
        Exchange {
            id,
            request: Message { began_ns: Some(began_ns), last_ns: began_ns, ..Message::default() },
            response: Message::default(),
            is_upgraded: false,
            flaw: None,
            attempts: Vec::new(),
            body_reads: BodyReads::default(),
            waits_by: None,
        }
    }

    /// Keeps the first reason for which the exchange is not seen whole.
    pub fn blame(&mut self, reason: Unobserved) {
        self.flaw.get_or_insert(reason);
    }

    /// Whether the response has no head: the request is one of HTTP/0.9, or an upstream's answer was passed on for one.
    pub fn is_simple(&self) -> bool {
        self.response.is_bare || self.request.head.as_ref().is_some_and(|head| head.is_simple())
    }

    /// The status of the final response.
    pub fn status(&self) -> Option<u16> {
        self.response.head.as_ref().map(|head| head.status)
    }

    /// Whether the request asks for another protocol, as far as is known.
    pub fn asks_for_upgrade(&self) -> bool {
        self.request.head.as_ref().is_none_or(|head| head.header("upgrade").is_some() || head.method() == "CONNECT")
    }

    /// The request's method, empty as long as it is not known.
    pub fn method(&self) -> &str {
        self.request.head.as_ref().map_or("", |head| head.method())
    }

    /// Whether an upstream's answer is still awaited.
    pub fn awaits_upstream(&self) -> bool {
        let last = self.attempts.iter().rfind(|attempt| !attempt.is_beside);
        last.is_some_and(|attempt| attempt.answer.header_ns.is_none() && attempt.ended_ns.is_none())
    }

    /// Whether both messages are complete.
    pub fn is_complete(&self) -> bool {
        self.request.is_complete && self.response.is_complete
    }

    /// Whether an upstream that was asked for it, or is to be asked for a copy of it, has not answered in full.
    pub fn has_attempt_under_way(&self) -> bool {
        let is_held_for = |attempt: &Attempt| attempt.is_asked() || attempt.is_beside;
        let is_open = |attempt: &&Attempt| is_held_for(attempt) && attempt.ended_ns.is_none();
        self.attempts.iter().filter(is_open).any(|attempt| !self.has_all_of(attempt))
    }

    /// Whether the client got the whole of an upstream's answer: then the gateway has read it, whether or not by calls that
    /// show it (`splice`).
    fn has_all_of(&self, attempt: &Attempt) -> bool {
        let body_bytes = self.response.bytes.saturating_sub(self.response.head_bytes);
        attempt.is_passed_on && attempt.answer.content_length.is_some_and(|length| length > 0 && body_bytes >= length)
    }

    /// Of an upstream's exchange what its answer tells.
    pub fn answer(&self) -> Answer {
        let head = self.response.head.as_deref();
        if head.is_some_and(rules::is_answer_refused) {
            return Answer::default();
        }
        Answer {
            began_ns: self.response.began_ns,
            header_ns: self.response.head_ns,
            status: head.map_or(0, |head| head.status),
            content_length: head.and_then(|head| head.content_length),
            is_redirect: head.is_some_and(|head| head.redirects),
            fingerprint: self.fingerprint(),
        }
    }

    /// What of the response shows on both sides of a gateway, once its head is complete.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.response.head.as_deref().map(Fingerprint::of)
    }

    /// Finds, once the exchange is over, what the gateway asked upstreams for without passing it on.
    pub fn find_asides(&mut self) {
        for index in 0..self.attempts.len() {
            self.attempts[index].aside = rules::aside(self, &self.attempts[index]);
        }
    }

    /// Adds an attempt where it belongs by its time. Gives it back if there are too many.
    pub fn add_attempt(&mut self, attempt: Attempt) -> Result<(), Box<Attempt>> {
        if self.attempts.len() >= ATTEMPTS_MAX {
            return Err(Box::new(attempt));
        }
        let at = self.attempts.iter().rposition(|other| other.began_ns <= attempt.began_ns).map_or(0, |at| at + 1);
        if self.attempts.is_empty() {
            // Nearly always it stays the only one.
            self.attempts.reserve_exact(1);
        }
        // Nearly always it is the last one, and stays where it is pushed.
        self.attempts.push(attempt);
        self.attempts[at..].rotate_right(1);
        Ok(())
    }

    /// Whether the client was answered with this one.
    pub fn has_passed_on(&self, id: ExchangeId) -> bool {
        self.attempts.iter().any(|attempt| attempt.id == id && attempt.is_passed_on)
    }

    /// Takes an attempt out: it was made for another exchange.
    pub fn take_attempt(&mut self, id: ExchangeId) -> Option<Attempt> {
        let at = self.attempts.iter().rposition(|attempt| attempt.id == id)?;
        Some(self.attempts.remove(at))
    }

    /// The attempt that an upstream exchange is.
    pub fn attempt_mut(&mut self, id: ExchangeId) -> Option<&mut Attempt> {
        self.attempts.iter_mut().rev().find(|attempt| attempt.id == id)
    }

    /// Whether either side said that the connection ends with it (RFC 9112, section 9.3).
    pub fn is_last(&self) -> bool {
        let says_close = |head: &Head| head.close || (head.minor == 0 && !head.keep_alive);
        [&self.request, &self.response].into_iter().filter_map(|message| message.head.as_deref()).any(says_close)
    }

    /// When the gateway was done with it: the last write, or the last read of an unwanted body.
    pub fn ended_ns(&self) -> Nanoseconds {
        self.request.last_ns.max(self.response.last_ns)
    }

    /// Waiting for an upstream's response header, for each try that got one: from its beginning to the header, as nginx's
    /// `$upstream_header_time` has it. A try without a header has no such time there.
    pub fn upstream_waits(&self) -> impl Iterator<Item = (Nanoseconds, Nanoseconds)> {
        let is_interim = self.status().is_some_and(rules::is_interim_passed_on);
        let header_ns = move |answer: &Answer| if is_interim { answer.began_ns } else { answer.header_ns };
        self.tries().filter_map(move |attempt| Some((attempt.began_ns, header_ns(&attempt.answer)?)))
    }

    /// Whether nothing speaks against another upstream's being asked for it: it is not answered, and all that were asked
    /// failed.
    pub fn lacks_attempt(&self) -> bool {
        self.response.head.is_none() && self.attempts.iter().all(Attempt::has_failed)
    }

    /// Whether upstreams were asked for it, and all of them failed: the next one is asked, or the client answered.
    pub fn is_due_again(&self) -> bool {
        !self.attempts.is_empty() && self.attempts.iter().all(Attempt::has_failed)
    }

    /// The attempts at an answer to the request itself: not those made for a subrequest.
    pub fn tries(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        (0..self.attempts.len()).filter(|&index| rules::is_try(self, index)).map(|index| &self.attempts[index])
    }
}
