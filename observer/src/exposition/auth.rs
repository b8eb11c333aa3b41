//! Who may read the metrics and who may change things: users with tokens, from a file that may change while it is used.

mod slow;
#[cfg(test)]
mod tests;
mod token;
mod users;

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prometheus::{IntCounterVec, Opts};
use warp::http::HeaderMap;
use warp::http::header::AUTHORIZATION;

use self::slow::Slow;
use super::watched::Watched;
use crate::metrics::Registry;

pub use self::token::Token;
pub use self::users::{AuthError, Role, User, Users, add};

/// Kong's own header for a token.
pub const TOKEN_HEADER: &str = "kong-admin-token";

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// No token.
    Missing,
    /// A token that no user has.
    Unknown,
    /// A user's token without the right.
    Forbidden,
}

impl Denied {
    const ALL: [Denied; 3] = [Denied::Missing, Denied::Unknown, Denied::Forbidden];

    /// The reason as a label's value.
    fn name(self) -> &'static str {
        match self {
            Denied::Missing => "missing",
            Denied::Unknown => "unknown",
            Denied::Forbidden => "forbidden",
        }
    }
}

/// The users of a file, and the failures so far.
pub struct Auth {
    users: Watched<Arc<Users>>,
    failures: IntCounterVec,
    slow: Mutex<Slow>,
}

/// Registers `observer_auth_failures_total`, at 0 for each reason.
pub(crate) fn failures(registry: &Registry) -> IntCounterVec {
    let help = "Requests refused for want of a token or of a right, by reason";
    let failures = IntCounterVec::new(Opts::new("observer_auth_failures_total", help), &["reason"])
        .expect("the metric's name and labels are valid");
    registry.register(Box::new(failures.clone())).expect("each family is registered once");
    for denied in Denied::ALL {
        failures.with_label_values(&[denied.name()]);
    }
    failures
}

impl Auth {
    /// Reads the users, and registers `observer_auth_failures_total`.
    ///
    /// # Errors
    /// A file that cannot be read or used, or that others than its owner can open.
    pub fn open(file: &Path, registry: &Registry) -> Result<Auth, AuthError> {
        let path = file.to_owned();
        let users = Watched::new(vec![file.to_owned()], move || Users::load(&path).map(Arc::new))?;
        let failures = failures(registry);
        Ok(Auth { users, failures, slow: Mutex::default() })
    }

    /// Whether the request's token has the right.
    pub fn check(&self, headers: &HeaderMap, needed: Role) -> Result<(), Denied> {
        let presented = Presented::of(headers).ok_or(Denied::Missing);
        let checked = presented.and_then(|presented| {
            let users = self.users.current();
            let user = users.with_token(&presented.token).ok_or(Denied::Unknown)?;
            if presented.user.is_some_and(|name| name != user.name) {
                return Err(Denied::Unknown);
            }
            if user.role >= needed { Ok(()) } else { Err(Denied::Forbidden) }
        });
        if let Err(denied) = checked {
            self.failures.with_label_values(&[denied.name()]).inc();
        }
        checked
    }

    /// How long an answer to a wrong token has to wait: longer with each that an address sends. The first of a series
    /// is told in the log, without the token.
    pub fn delay(&self, client: Option<IpAddr>) -> Duration {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let (failures, delay) = slow.failed(client, Instant::now());
        if failures == 1 {
            let from = client.map_or_else(|| "a UNIX socket".to_owned(), |address| address.to_string());
            log::warn!("a request from {from} had a wrong token; observer_auth_failures_total counts them");
        }
        delay
    }
}

/// What a request presents.
struct Presented {
    /// With basic auth.
    user: Option<String>,
    token: String,
}

impl Presented {
    /// Kong's header, else `Authorization` with a bearer's token or with a user's name and token.
    fn of(headers: &HeaderMap) -> Option<Presented> {
        if let Some(token) = headers.get(TOKEN_HEADER) {
            return Some(Presented { user: None, token: lossy(token.as_bytes()) });
        }
        let value = lossy(headers.get(AUTHORIZATION)?.as_bytes());
        let (scheme, rest) = value.split_once(' ')?;
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return Some(Presented { user: None, token: rest.to_owned() });
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        // What is no base64 is a wrong token, not a missing one.
        let decoded = BASE64_STANDARD.decode(rest).unwrap_or_default();
        let decoded = lossy(&decoded);
        let (user, token) = decoded.split_once(':').unwrap_or_default();
        Some(Presented { user: Some(user.to_owned()), token: token.to_owned() })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
