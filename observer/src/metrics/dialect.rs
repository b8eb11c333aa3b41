//! The versions of Kong's plugin whose families are spoken.

use std::fmt;
use std::str::FromStr;

/// A version of the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// 0.1, of Kong 0.14.
    #[default]
    First,
    /// 0.3: the same without the sums over all services.
    Third,
    /// That of Kong 3.
    Today,
}

/// What the plugin of Kong 3 can be told to count, named as in its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// `per_consumer`: the label `consumer` has a value where the upstream was told one.
    pub per_consumer: bool,
    /// `status_code_metrics`: `kong_http_requests_total`.
    pub status_codes: bool,
    /// `latency_metrics`: the three histograms.
    pub latency: bool,
    /// `bandwidth_metrics`: `kong_bandwidth_bytes`.
    pub bandwidth: bool,
    /// `upstream_health_metrics`: `kong_upstream_target_health`.
    pub upstream_health: bool,
}

impl Switches {
    /// Everything.
    pub const ALL: Switches =
        Switches { per_consumer: true, status_codes: true, latency: true, bandwidth: true, upstream_health: true };
    /// Nothing, which is Kong's default.
    pub const NONE: Switches =
        Switches { per_consumer: false, status_codes: false, latency: false, bandwidth: false, upstream_health: false };
    /// All families. Consumers are told apart by their own switch alone, as each has series of its own.
    pub const FAMILIES: Switches = Switches { per_consumer: false, ..Switches::ALL };
}

/// A dialect as the command line asks for it: `0.1`, `0.3`, `3`, or `3` with some of its switches after commas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spoken {
    /// The version.
    pub dialect: Dialect,
    /// For Kong 3; [`Switches::FAMILIES`] where none is named.
    pub switches: Switches,
}

/// Why a text names no dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotADialect {
    /// Another version.
    #[error("{0:?} is no dialect; there are 0.1, 0.3 and 3")]
    Version(String),
    /// A switch that the dialect does not have.
    #[error(
        "{0:?} is no switch of this dialect; 3 has per_consumer, status_code_metrics, latency_metrics, \
         bandwidth_metrics and upstream_health_metrics, the others none"
    )]
    Switch(String),
}

impl FromStr for Dialect {
    type Err = NotADialect;

    fn from_str(text: &str) -> Result<Dialect, NotADialect> {
        match text {
            "0.1" => Ok(Dialect::First),
            "0.3" => Ok(Dialect::Third),
            "3" => Ok(Dialect::Today),
            _ => Err(NotADialect::Version(text.to_owned())),
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::First => "0.1",
            Dialect::Third => "0.3",
            Dialect::Today => "3",
        })
    }
}

impl FromStr for Spoken {
    type Err = NotADialect;

    fn from_str(text: &str) -> Result<Spoken, NotADialect> {
        let (version, switches) = text.split_once(',').map_or((text, None), |(version, rest)| (version, Some(rest)));
        let dialect = version.parse()?;
        let Some(names) = switches else { return Ok(Spoken { dialect, switches: Switches::FAMILIES }) };
        let mut switches = Switches::NONE;
        for name in names.split(',') {
            match (dialect, name) {
                (Dialect::Today, "per_consumer") => switches.per_consumer = true,
                (Dialect::Today, "upstream_health_metrics") => switches.upstream_health = true,
                (Dialect::Today, "status_code_metrics") => switches.status_codes = true,
                (Dialect::Today, "latency_metrics") => switches.latency = true,
                (Dialect::Today, "bandwidth_metrics") => switches.bandwidth = true,
                _ => return Err(NotADialect::Switch(name.to_owned())),
            }
        }
        Ok(Spoken { dialect, switches })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_follow_their_dialect() {
        for (text, dialect) in [("0.1", Dialect::First), ("0.3", Dialect::Third), ("3", Dialect::Today)] {
            assert_eq!(text.parse(), Ok(Spoken { dialect, switches: Switches::FAMILIES }));
            assert_eq!(dialect.to_string(), text);
        }
        let all = "3,per_consumer,status_code_metrics,latency_metrics,bandwidth_metrics,upstream_health_metrics";
        assert_eq!(all.parse::<Spoken>().unwrap().switches, Switches::ALL);
        let some: Spoken = "3,latency_metrics,per_consumer".parse().unwrap();
        assert_eq!(some.switches, Switches { latency: true, per_consumer: true, ..Switches::NONE });
        for bad in ["", "2", "3.0", "3,", "3,colour", "0.1,latency_metrics"] {
            assert!(bad.parse::<Spoken>().is_err(), "{bad}");
        }
    }
}
