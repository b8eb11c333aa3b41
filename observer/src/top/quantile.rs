//! Quantiles of histograms.

/// Where a quantile of a histogram lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantile {
    /// About so many milliseconds, as if values lay evenly within their bucket.
    At(f64),
    /// Above the last bound.
    Above(f64),
}

/// The quantile `q` (0 to 1) of cumulative counts, the last of them over all; none without a value.
///
/// It is computed as Prometheus's `histogram_quantile` does it, so that both show the same.
pub fn quantile(q: f64, bounds: &[f64], cumulative: &[u64]) -> Option<Quantile> {
    let all = *cumulative.last().filter(|all| **all > 0)?;
    let rank = q * all as f64;
    let at = cumulative.iter().position(|count| *count as f64 >= rank && *count > 0)?;
    let Some(&upper) = bounds.get(at) else {
        return Some(Quantile::Above(bounds.last().copied().unwrap_or_default()));
    };
    let (lower, below) = match at.checked_sub(1) {
        Some(before) => (bounds[before], cumulative[before]),
        None => (0.0, 0),
    };
    let within = (cumulative[at] - below) as f64;
    Some(Quantile::At(lower + (upper - lower) * ((rank - below as f64) / within).clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: [f64; 3] = [1.0, 2.0, 5.0];

    #[test]
    fn values_lie_evenly_within_their_bucket() {
        // Ten up to 1 ms, eighty up to 2, ten up to 5.
        let counts = [10, 90, 100, 100];
        for (q, expected) in [(0.05, 0.5), (0.5, 1.5), (0.9, 2.0), (0.95, 3.5), (1.0, 5.0)] {
            let Some(Quantile::At(ms)) = quantile(q, &BOUNDS, &counts) else { panic!("no {q}") };
            assert!((ms - expected).abs() < 1e-9, "{q}: {ms}");
        }
    }

    #[test]
    fn nothing_is_guessed_beyond_the_last_bound_or_without_a_value() {
        assert_eq!(quantile(0.99, &BOUNDS, &[0, 0, 1, 2]), Some(Quantile::Above(5.0)));
        assert_eq!(quantile(0.5, &BOUNDS, &[0, 0, 0, 0]), None);
        assert_eq!(quantile(0.5, &BOUNDS, &[]), None);
        assert_eq!(quantile(0.0, &BOUNDS, &[0, 0, 4, 4]), Some(Quantile::At(2.0)), "the first bucket with a value");
    }
}
