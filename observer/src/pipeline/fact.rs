//! What following the connections brings to light, for whoever counts.

use std::net::{IpAddr, SocketAddr};

use crate::connection::{Carried, Phase};
use crate::dns::Answer;
use crate::event::{Cookie, Endpoint, Nanoseconds, Opened, Origin};
use crate::exchange::{Ending, Exchange, Unobserved};
use crate::gateways::GatewayId;
use crate::pairing::Evidence;

/// One thing that came to light.
#[derive(Debug)]
pub enum Fact {
    /// Something became of a client's connection.
    Client {
        /// Its socket.
        socket: Cookie,
        /// Whose it is.
        gateway: GatewayId,
        /// What.
        what: ClientFact,
    },
    /// Something became of a connection to an upstream.
    Upstream(Ends, UpstreamFact),
    /// An exchange is over.
    Ended {
        /// All of it.
        exchange: Box<Exchange>,
        /// How.
        ending: Ending,
        /// By what way it came.
        entrance: Entrance,
    },
    /// An exchange of which only the end was seen, or nothing but that it was.
    Stray(Unobserved),
    /// A process ended right behind its answer on this client's connection.
    KilledBehindAnswer(Cookie),
    /// So many upstream exchanges are joined, or nobody's for good.
    Paired(Evidence, u64),
    /// A client's connection turned out to speak this.
    Protocol(&'static str),
    /// What a connection carries is known, or known anew.
    Carries {
        /// What was known before.
        before: Carried,
        /// What is known now.
        now: Carried,
        /// The process that has the connection.
        process: u32,
    },
    /// Nothing more will come of a client's connection, or of one whose TLS could not be read.
    Gone {
        /// Its socket.
        socket: Cookie,
        /// What it carried.
        carried: Carried,
    },
    /// A TLS handshake with a client ended.
    Handshake {
        /// The port that it came in by.
        listener: u16,
        /// What became of it.
        result: &'static str,
        /// How long it took, if it was done.
        took_ns: Option<Nanoseconds>,
    },
    /// The gateway talked to this upstream: a byte count, 0 at the end of the stream, or a negative errno. Told where a
    /// datastore is looked for.
    Talked(Endpoint, i32),
    /// A name server answered a gateway of this network namespace.
    Answered {
        /// The namespace's inode.
        network: u32,
        /// What it said.
        answer: Box<Answer>,
        /// When.
        time_ns: Nanoseconds,
    },
}

/// What became of a client's connection.
#[derive(Debug)]
pub enum ClientFact {
    /// It is open.
    Opened(Ends, Origin),
    /// A request began on it.
    Begun(Phase),
    /// It went from one phase to another.
    Moved(Phase, Phase),
    /// It is over for the gateway, and stood there.
    Closed(Phase),
}

/// What became of a connection to an upstream.
#[derive(Clone, Copy, Debug)]
pub enum UpstreamFact {
    /// A connect began, or the connection was found.
    Opened(Origin),
    /// The connect succeeded.
    Connected,
    /// The connect failed.
    Failed,
    /// It is over.
    Closed,
    /// It is open, now that another datastore is looked for.
    Stands,
}

/// Where a connection leads from and to.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Inode of its network namespace.
    pub network: u32,
    /// The gateway's end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
}

impl Ends {
    /// Those of a socket.
    pub fn of(opened: &Opened) -> Self {
        Ends { network: opened.network, local: opened.local.clone(), remote: opened.remote.clone() }
    }
}

/// By what way a request came in.
#[derive(Clone, Copy, Debug)]
pub struct Entrance {
    /// Whose it was.
    pub gateway: GatewayId,
    /// Inode of the network namespace.
    pub network: u32,
    /// The client's address.
    pub client: Option<IpAddr>,
    /// Where it connected to.
    pub local: Option<SocketAddr>,
    /// The client's connection is of TLS.
    pub is_tls: bool,
}

/// Facts that memory is kept for; seldom does a batch of events bring more.
const KEPT_MAX: usize = 4096;

/// Facts in the order in which they came to light.
#[derive(Debug, Default)]
pub struct Facts {
    all: Vec<(Mark, Fact)>,
    mark: Mark,
}

/// Where a fact stands among those of all who follow connections: which event it comes from, and, where one event tells of
/// many connections, which one it is about. They are told of in their sockets' order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The event's index.
    pub event: u32,
    /// The connection's socket; 0 where only one thread has to do with the event.
    pub socket: Cookie,
}

impl Facts {
    /// What is pushed from here on comes from this event.
    pub fn of_event(&mut self, event: u32) {
        self.mark = Mark { event, socket: 0 };
    }

    /// What is pushed from here on is about this one of the connections that an event tells of.
    pub(super) fn about(&mut self, socket: Cookie) {
        self.mark.socket = socket;
    }

    pub(super) fn push(&mut self, fact: Fact) {
        self.all.push((self.mark, fact));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Gives memory back if one event brought very many, and all were taken out.
    pub fn shrink(&mut self) {
        self.all.shrink_to(KEPT_MAX);
    }

    /// Takes all out.
    pub fn drain(&mut self) -> std::vec::Drain<'_, (Mark, Fact)> {
        self.all.drain(..)
    }
}
