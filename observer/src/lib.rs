//! Watches an API gateway from outside and serves its Kong metrics.
//!
//! The modules stand in the order in which a request flows through them.

pub mod cli;
pub mod commands;
pub mod logging;
pub mod progress;
pub mod privileges;
pub mod agent;
pub mod priority;
pub mod capture;
pub mod host;
pub mod tls;
pub mod resolver;
pub mod reload;
pub mod client;
pub mod kong_admin;
pub mod event;
pub mod recording;
pub mod pipeline;
pub mod shards;
pub mod gateways;
pub mod connection;
pub mod http;
pub mod dns;
pub mod exchange;
pub mod pairing;
pub mod verdict;
pub mod resets;
pub mod rules;
pub mod config;
pub mod attribution;
pub mod metrics;
pub mod snapshot;
pub mod tail;
pub mod top;
pub mod exposition;
pub mod check;
pub mod reference;
