//! A histogram as bars, one line a bucket.

use crate::top::figures::{milliseconds, share};
use crate::top::quantile::Quantile;

/// Eighths of a block.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A bucket, or several that share a line.
#[derive(Clone, Debug, PartialEq)]
struct Band {
    /// None for what lies above the last bound.
    upper_ms: Option<f64>,
    count: u64,
}

/// Lines of at most `width` characters, at most `height` of them, from the first bucket with a value to the last.
pub(super) fn bars(bounds_ms: &[f64], buckets: &[u64], width: usize, height: usize) -> Vec<String> {
    let all: u64 = buckets.iter().sum();
    let bands = bands(bounds_ms, buckets, height);
    let most = bands.iter().map(|band| band.count).max().unwrap_or(0);
    let last = bounds_ms.last().copied().unwrap_or_default();
    let line = |band: &Band| {
        let (sign, bound) = match band.upper_ms {
            Some(upper) => ("≤", milliseconds(Some(Quantile::At(upper)))),
            None => (">", milliseconds(Some(Quantile::At(last)))),
        };
        let label = format!("{sign} {bound:>5}");
        let figures = format!(" {} ({} %)", band.count, share(band.count as f64 / all.max(1) as f64));
        let room = width.saturating_sub(label.chars().count() + 1 + figures.chars().count());
        format!("{label} {}{figures}", bar(band.count as f64 / most.max(1) as f64, room))
    };
    bands.iter().map(line).collect()
}

fn bar(share: f64, width: usize) -> String {
    let eighths = (share * width as f64 * 8.0).round() as usize;
    // What is there shows.
    let eighths = if share > 0.0 { eighths.max(1) } else { 0 };
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// Where there is no room for all, as many neighbours as needed share a line each.
fn bands(bounds_ms: &[f64], buckets: &[u64], height: usize) -> Vec<Band> {
    let has_some = |count: &u64| *count > 0;
    let (Some(first), Some(last)) = (buckets.iter().position(has_some), buckets.iter().rposition(has_some)) else {
        return Vec::new();
    };
    let each = (last - first + 1).div_ceil(height.max(1));
    let band = |from: usize| {
        let to = (from + each - 1).min(last);
        Band { upper_ms: bounds_ms.get(to).copied(), count: buckets[from..=to].iter().sum() }
    };
    (first..=last).step_by(each).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_go_from_the_first_value_to_the_last() {
        let lines = bars(&[1.0, 10.0, 100.0, 1000.0], &[0, 4, 0, 1, 3], 30, 10);
        assert_eq!(
            lines,
            [
                "≤    10 █████████████ 4 (50 %)",
                "≤   100  0 (0 %)",
                "≤  1000 ███▎ 1 (12 %)",
                ">  1000 █████████▊ 3 (38 %)"
            ]
        );
        assert!(bars(&[1.0], &[0, 0], 30, 10).is_empty());
        assert!(bars(&[], &[], 30, 10).is_empty());
    }

    #[test]
    fn buckets_share_lines_where_there_are_few() {
        let lines = bars(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1, 1, 1, 1, 1, 1000], 30, 3);
        assert_eq!(lines.len(), 3);
        assert!(lines[0].starts_with("≤   2.0 ▏ 2 (0.2 %)"), "{lines:?}");
        assert!(lines[2].starts_with(">   5.0 ██"), "{lines:?}");
    }
}
