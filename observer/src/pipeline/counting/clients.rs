//! Which clients are observed gateways themselves.

use rustc_hash::{FxHashMap, FxHashSet};

use super::internal::Internal;
use crate::event::{Cookie, Origin};
use crate::pipeline::fact::Ends;

/// Clients' connections, as far as they are internal or may turn out so.
#[derive(Debug, Default)]
pub struct Clients {
    internal: FxHashSet<Cookie>,
    /// A scan may have found the gateway's end before the other gateway's.
    met: FxHashMap<Cookie, Ends>,
}

impl Clients {
    /// A client's connection is open. Returns whether it is internal.
    pub fn opened(&mut self, socket: Cookie, origin: Origin, ends: Ends, internal: &Internal) -> bool {
        let is_internal = internal.is_internal(&ends);
        if is_internal {
            self.internal.insert(socket);
        } else if origin != Origin::Beginning {
            self.met.insert(socket, ends);
        }
        is_internal
    }

    /// A request began on a connection. Returns whether that turned out to be internal by now.
    pub fn turned_out_internal(&mut self, socket: Cookie, internal: &Internal) -> bool {
        let is_internal = self.met.get(&socket).is_some_and(|ends| internal.is_internal(ends));
        if is_internal {
            self.met.remove(&socket);
            self.internal.insert(socket);
        }
        is_internal
    }

    /// Whether a connection comes from an observed gateway.
    pub fn is_internal(&self, socket: Cookie) -> bool {
        !self.internal.is_empty() && self.internal.contains(&socket)
    }

    /// A connection is gone.
    pub fn gone(&mut self, socket: Cookie) {
        self.internal.remove(&socket);
        self.met.remove(&socket);
    }
}
