//! Connections that their peer reset, until the gateway closes them.

use std::collections::VecDeque;

use crate::event::{Cookie, Nanoseconds, StateChange, TcpState};

/// How long the gateway's close is waited for: several of nginx's timeouts, which are a minute each unless configured.
const HOLD_NS: Nanoseconds = 300_000_000_000;

/// The resets whose closes are awaited, oldest first, and some that were closed.
#[derive(Debug, Default)]
pub struct Resets {
    held: VecDeque<StateChange>,
}

impl Resets {
    /// Awaits the close of a connection that was just reset.
    pub fn hold(&mut self, reset: &StateChange) {
        // Nearly always it is the last.
        let at = self.held.iter().rposition(|held| held.time_ns <= reset.time_ns).map_or(0, |at| at + 1);
        self.held.insert(at, *reset);
    }

    /// What is awaited of this socket is awaited elsewhere from here on.
    pub fn give_up(&mut self, socket: Cookie) -> Option<StateChange> {
        let at = self.held.iter().position(|reset| reset.socket == socket)?;
        self.held.remove(at)
    }

    /// Awaits all that the other one does.
    pub fn absorb(&mut self, other: &mut Resets) {
        other.held.drain(..).for_each(|reset| self.hold(&reset));
    }

    /// A close that must have been lost, made up for the moment of the reset. `is_open` tells whether a socket is still
    /// kept.
    pub fn overdue(&mut self, now_ns: Nanoseconds, is_open: impl Fn(Cookie) -> bool) -> Option<StateChange> {
        while let Some(reset) = self.held.front() {
            let is_open = is_open(reset.socket);
            if is_open && now_ns.saturating_sub(reset.time_ns) < HOLD_NS {
                return None;
            }
            let reset = self.held.pop_front()?;
            if is_open {
                return Some(StateChange { old: TcpState::Close, is_closed: true, ..reset });
            }
        }
        None
    }
}
