//! Exposition: the metrics as text, and the HTTP surface that serves it.

pub mod server;
pub mod text;
