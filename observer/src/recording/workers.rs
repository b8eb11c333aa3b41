//! A recording as if several worker processes had done what the recorded one did.

use crate::event::{Cookie, Data, Datagram, Event, Handshake, Opened, Process, ProcessChange, Role, StateChange};

/// Above every process id and thread id (`PID_MAX_LIMIT`, include/linux/threads.h).
const IDS: u32 = 1 << 22;

/// Above every cookie: they count from 1. Not far above, as tables find a socket by what a multiplication makes of its bits.
const COOKIES: Cookie = 1 << 36;

/// Makes each event one of each worker's.
pub struct Workers(u16);

impl Workers {
    /// So many; at least one.
    pub fn new(count: u16) -> Self {
        Workers(count.max(1))
    }

    /// Tells an event as it was recorded, then as each of the others would have had it. What does not belong to single
    /// connections or processes is told once; what was a gateway's first process has a worker of its own for each other.
    pub fn each<'a>(&self, event: &Event<'a>, mut tell: impl FnMut(&Event<'a>)) {
        tell(event);
        (1..self.0).filter_map(|worker| of_worker(event, worker)).for_each(|event| tell(&event));
    }
}

fn of_worker<'a>(event: &Event<'a>, worker: u16) -> Option<Event<'a>> {
    // 0 stands for nobody.
    let id = |id: u32| if id == 0 { 0 } else { id + u32::from(worker) * IDS };
    let cookie = |socket: Cookie| socket + Cookie::from(worker) * COOKIES;
    Some(match event {
        Event::Opened(opened) if opened.role == Role::Listener => return None,
        Event::Opened(opened) => Event::Opened(Opened {
            socket: cookie(opened.socket),
            process: id(opened.process),
            thread: id(opened.thread),
            ..opened.clone()
        }),
        Event::Data(data) => Event::Data(Data {
            socket: cookie(data.socket),
            process: id(data.process),
            thread: id(data.thread),
            ..*data
        }),
        Event::Datagram(datagram) => Event::Datagram(Datagram {
            socket: cookie(datagram.socket),
            process: id(datagram.process),
            thread: id(datagram.thread),
            ..*datagram
        }),
        Event::State(change) => Event::State(StateChange { socket: cookie(change.socket), ..*change }),
        Event::Handshake(handshake) => Event::Handshake(Handshake {
            socket: cookie(handshake.socket),
            process: id(handshake.process),
            thread: id(handshake.thread),
            ..handshake.clone()
        }),
        Event::Process(process) => {
            let change = match &process.change {
                ProcessChange::Found { .. } | ProcessChange::Executed { watched: true, .. } => {
                    ProcessChange::Forked { parent: process.process }
                }
                other => other.clone(),
            };
            Event::Process(Process { process: id(process.process), change, ..*process })
        }
        Event::Lost(_) | Event::Resolved(_) | Event::Remaining(_) | Event::Ready(_) | Event::Tick(_) => return None,
    })
}
