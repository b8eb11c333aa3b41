//! Which shard follows what.
//!
//! All that an exchange is made of happens in one process: its client's connection, the connections to upstreams, the calls
//! of the threads in between, whose order joins them. So a process's calls, and the sockets that it makes them on, belong to
//! one shard. Three things do not fit at once, and each is brought to fit before it can matter:
//!
//! - The kernel accepts connections in no process's name. They wait in the lobby, and go to the shard of the process that
//!   makes the first call on them. Until then nothing but states of their own can have happened to them.
//! - States change in interrupts. They go where the socket is.
//! - A process may make a call on a socket of another shard: one that it inherited, or was handed. Then what the one shard
//!   has becomes the other's, all of it, before the call is looked at: whatever had to do with either process is together
//!   from there on.

use rustc_hash::FxHashMap;

use crate::event::{Cookie, Event, Opened, Process, ProcessChange, Role, StateChange, TcpState};

/// Whom an event goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It is about a socket that nobody follows.
    Nowhere,
    /// It is about no connection.
    Counting,
    /// The lobby.
    Lobby,
    /// A shard.
    Shard(usize),
    /// A shard, which gets this connection from the lobby first.
    OutOfLobby {
        /// The connection.
        socket: Cookie,
        /// The shard.
        shard: usize,
    },
    /// A shard, which gets all that the other one has first.
    United {
        /// The one that is left with nothing.
        from: usize,
        /// The shard.
        to: usize,
    },
    /// The lobby and all shards, then the counting.
    Everyone,
}

/// Where a socket is followed: a shard, or the lobby.
pub type Place = Option<usize>;

/// The shards of processes and sockets.
pub struct Routes {
    processes: FxHashMap<u32, usize>,
    sockets: FxHashMap<Cookie, Place>,
    /// Processes of each shard.
    loads: Vec<usize>,
}

impl Routes {
    /// For so many shards.
    pub fn new(shards: usize) -> Self {
        Routes { processes: FxHashMap::default(), sockets: FxHashMap::default(), loads: vec![0; shards] }
    }

    /// Whom an event goes to.
    pub fn way(&mut self, event: &Event<'_>) -> Way {
        match event {
            Event::Data(data) => self.of_call(data.socket, data.process),
            Event::Handshake(handshake) => self.of_call(handshake.socket, handshake.process),
            Event::Datagram(datagram) => Way::Shard(self.of_process(datagram.process, None)),
            Event::State(change) => self.of_state(change),
            Event::Opened(opened) => self.of_opened(opened),
            Event::Process(process) => self.of_change(process),
            Event::Remaining(_) | Event::Ready(_) | Event::Tick(_) => Way::Everyone,
            Event::Lost(_) | Event::Resolved(_) => Way::Counting,
        }
    }

    /// Keeps those sockets in mind that `is_followed` tells of.
    pub fn retain(&mut self, is_followed: impl Fn(Cookie, Place) -> bool) {
        self.sockets.retain(|&socket, place| is_followed(socket, *place));
    }

    /// Sockets that are kept in mind.
    #[cfg(test)]
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    fn of_call(&mut self, socket: Cookie, process: u32) -> Way {
        match self.sockets.get(&socket) {
            None => Way::Shard(self.of_process(process, None)),
            Some(&Some(shard)) => self.of_both(process, shard),
            Some(None) => {
                let shard = self.of_process(process, None);
                self.sockets.insert(socket, Some(shard));
                Way::OutOfLobby { socket, shard }
            }
        }
    }

    fn of_opened(&mut self, opened: &Opened) -> Way {
        if opened.role == Role::Listener {
            return Way::Everyone;
        }
        let place = match self.sockets.get(&opened.socket) {
            Some(&Some(shard)) if opened.process != 0 => return self.of_both(opened.process, shard),
            Some(&place) => place,
            None if opened.process == 0 => None,
            None => Some(self.of_process(opened.process, None)),
        };
        self.sockets.insert(opened.socket, place);
        place.map_or(Way::Lobby, Way::Shard)
    }

    /// A socket's shard, where a process's call on it belongs, too.
    fn of_both(&mut self, process: u32, to: usize) -> Way {
        let from = self.of_process(process, Some(to));
        if from == to {
            return Way::Shard(to);
        }
        self.sockets.values_mut().filter(|place| **place == Some(from)).for_each(|place| *place = Some(to));
        self.processes.values_mut().filter(|shard| **shard == from).for_each(|shard| *shard = to);
        self.loads[to] += std::mem::take(&mut self.loads[from]);
        Way::United { from, to }
    }

    fn of_state(&mut self, change: &StateChange) -> Way {
        if change.old == TcpState::Listen {
            return Way::Everyone;
        }
        let is_last = change.new == TcpState::Close && !change.is_reset();
        let place =
            if is_last { self.sockets.remove(&change.socket) } else { self.sockets.get(&change.socket).copied() };
        match place {
            None => Way::Nowhere,
            Some(place) => place.map_or(Way::Lobby, Way::Shard),
        }
    }

    fn of_change(&mut self, process: &Process) -> Way {
        if process.change == ProcessChange::Exited
            && let Some(shard) = self.processes.remove(&process.process)
        {
            self.loads[shard] -= 1;
        }
        Way::Everyone
    }

    /// A process's shard. One that makes its first call joins the shard of the socket, if that has one, else the one with
    /// the fewest processes: a gateway's workers, which share its connections evenly, are shared out evenly.
    fn of_process(&mut self, process: u32, socket: Place) -> usize {
        let Routes { processes, loads, .. } = self;
        *processes.entry(process).or_insert_with(|| {
            let fewest = || (0..loads.len()).min_by_key(|&shard| loads[shard]).unwrap_or_default();
            let shard = socket.unwrap_or_else(fewest);
            loads[shard] += 1;
            shard
        })
    }
}
