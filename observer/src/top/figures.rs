//! Numbers in few characters.

use super::quantile::Quantile;

/// Per second: three figures, at most 5 characters below a million.
pub fn rate(value: f64) -> String {
    match value {
        v if v < 0.005 => "0".to_owned(),
        v if v < 9.995 => format!("{v:.2}"),
        v if v < 99.95 => format!("{v:.1}"),
        v if v < 99_999.5 => format!("{v:.0}"),
        v if v < 999_500.0 => format!("{:.0}k", v / 1e3),
        v => format!("{:.1}M", v / 1e6),
    }
}

/// A share in percent: at most 4 characters, and nothing that happened is 0.
pub fn share(value: f64) -> String {
    match value * 100.0 {
        v if v <= 0.0 => "0".to_owned(),
        v if v < 0.1 => "<.1".to_owned(),
        v if v < 9.95 => format!("{v:.1}"),
        v if v < 99.5 || value >= 1.0 => format!("{v:.0}"),
        _ => "99".to_owned(),
    }
}

/// Milliseconds, seconds from 10 on: at most 5 characters.
pub fn milliseconds(quantile: Option<Quantile>) -> String {
    match quantile {
        None => "-".to_owned(),
        Some(Quantile::Above(bound)) => format!(">{}", time(bound)),
        Some(Quantile::At(ms)) => time(ms),
    }
}

fn time(ms: f64) -> String {
    match ms {
        ms if ms < 9.95 => format!("{ms:.1}"),
        ms if ms < 9_999.5 => format!("{ms:.0}"),
        ms => format!("{:.0}s", ms / 1e3),
    }
}

/// Bytes by powers of 1024: at most 5 characters.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let (mut value, mut unit) = (value, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$}{}", UNITS[unit])
}

/// `3d 4h`, `4h 12m`, `12m 5s`, `5s`.
pub fn age(seconds: f64) -> String {
    let s = seconds.max(0.0) as u64;
    match (s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60) {
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, s) => format!("{m}m {s}s"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, ..) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stay_short() {
        let rates = [0.0, 0.004, 0.005, 9.99, 10.0, 99.94, 99.96, 12_345.6, 123_456.0, 2_500_000.0].map(rate);
        assert_eq!(rates, ["0", "0", "0.01", "9.99", "10.0", "99.9", "100", "12346", "123k", "2.5M"]);
        let shares = [0.0, 0.0001, 0.001, 0.099, 0.5, 0.9999, 1.0].map(share);
        assert_eq!(shares, ["0", "<.1", "0.1", "9.9", "50", "99", "100"]);
        let times = [0.0, 9.94, 9.96, 1234.0, 12_345.0].map(|ms| milliseconds(Some(Quantile::At(ms))));
        assert_eq!(times, ["0.0", "9.9", "10", "1234", "12s"]);
        assert_eq!([Some(Quantile::Above(60_000.0)), None].map(milliseconds), [">60s", "-"]);
        let bytes = [0.0, 999.0, 1_000.0, 10_240.0, 1e6, 5e9].map(bytes);
        assert_eq!(bytes, ["0B", "999B", "1.0K", "10K", "977K", "4.7G"]);
        assert_eq!([5.0, 65.0, 3_725.0, 90_000.0].map(age), ["5s", "1m 5s", "1h 2m", "1d 1h"]);
    }
}
