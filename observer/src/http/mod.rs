//! HTTP messages out of a connection's bytes.

pub mod head;
pub mod http1;
pub mod proxy_protocol;
mod secret;
pub mod short;
mod usual;
