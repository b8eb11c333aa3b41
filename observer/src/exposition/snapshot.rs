//! `GET /snapshot`: the metrics as JSON, for what draws them.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use warp::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::server::answer::{Answer, JSON, gzipped, message, typed};
use super::server::negotiate;
use crate::metrics::{ProcessMetrics, View};
use crate::snapshot::{Cost, Snapshot};

/// What snapshots are made of.
#[derive(Clone)]
pub struct Snapshots {
    view: View,
    process: ProcessMetrics,
    host: String,
    started_ms: u64,
}

impl Snapshots {
    /// Of an agent that starts now.
    pub fn new(view: View) -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        Snapshots {
            view,
            process: ProcessMetrics::default(),
            host: host.unwrap_or_default(),
            started_ms: now_ms() as u64,
        }
    }

    /// The numbers now.
    pub fn take(&self, is_enabled: bool) -> Snapshot {
        Snapshot {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.clone(),
            time_ms: now_ms(),
            started_ms: self.started_ms,
            enabled: is_enabled,
            observer: self.cost(),
            ..self.view.snapshot()
        }
    }

    /// Plain computing, as a scrape's text is.
    pub(super) fn answer(&self, is_enabled: bool, headers: &HeaderMap) -> Answer {
        let Ok(body) = serde_json::to_vec(&self.take(is_enabled)) else {
            return message(StatusCode::INTERNAL_SERVER_ERROR, "the numbers cannot be written as JSON; see /metrics");
        };
        let mut answer = if negotiate::takes_gzip(headers) {
            gzipped(JSON, [&body].into_iter())
        } else {
            typed(StatusCode::OK, JSON, body)
        };
        answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    fn cost(&self) -> Cost {
        let mut cost = Cost::default();
        for family in self.process.collect() {
            let Some(metric) = family.get_metric().first() else { continue };
            match family.name() {
                "process_cpu_seconds_total" => cost.cpu_seconds = metric.get_counter().get_value(),
                "process_resident_memory_bytes" => cost.resident_bytes = metric.get_gauge().get_value() as u64,
                _ => {}
            }
        }
        cost
    }
}

/// Since 1970; whole microseconds are as exact as anything that is shown.
fn now_ms() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_micros() as f64 / 1e3
}
