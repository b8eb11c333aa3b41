//! Harness of the end-to-end tests: real nginx, scripted upstreams, raw clients, the agent under test, and the
//! comparison of its metrics with nginx's access log.
//!
//! Every wait polls with a deadline and every process is ended by its handle. The tests measure times on the
//! host they run on, so each takes [`wait::alone`] first: plain `cargo test` then runs them one after the other.

pub mod wait;

pub mod namespace;
pub mod netstat;
pub mod process;
pub mod socket;
pub mod tls;
pub mod wire;

pub mod client;
pub mod nginx;
pub mod recorded;
pub mod request;
pub mod tunnel;
pub mod upstream;

pub mod agent;
pub mod agent_config;
pub mod browser;
pub mod compare;
pub mod conformance;
#[cfg(target_arch = "x86_64")]
pub mod debugger;
pub mod dns;
pub mod exposition;
pub mod kong_admin;
pub mod name_server;
pub mod openssl;
pub mod prometheus;
pub mod terminal;
pub mod tools;
pub mod totals;
pub mod traffic;
pub mod truth;
pub mod ui;

pub use agent::Agent;
pub use client::Client;
pub use nginx::Nginx;
pub use request::{Body, Request};
pub use upstream::Upstream;
