//! Exposition: the metrics as text, and the HTTP surface that serves it.

pub mod text;
pub mod auth;
pub mod health;
pub mod listen;
pub mod plugins;
pub mod server;
pub mod snapshot;
mod status;
mod ui;
mod watched;
