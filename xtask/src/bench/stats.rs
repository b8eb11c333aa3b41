//! Medians, their intervals, and what they say about a limit.

use std::fmt;

/// Where the middle of a series lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The median.
    pub median: f64,
    /// The 95 % interval of the median; `None` below six values, which cannot give one.
    pub interval: Option<(f64, f64)>,
}

/// Which of a row's values has to keep the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judge {
    /// The median, with its interval.
    Median,
    /// The greatest: for what must hold in each run.
    Worst,
}

/// What a row comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The limit is kept.
    Pass,
    /// The limit is missed.
    Short,
    /// The runs do not tell: the interval has the limit inside, or there are too few of them.
    Undecided,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Pass => "pass",
            Verdict::Short => "short",
            Verdict::Undecided => "undecided",
        })
    }
}

/// Median and interval. `None` without values.
pub fn estimate(values: &[f64]) -> Option<Estimate> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (lower, upper) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    let interval = rank(sorted.len()).map(|rank| (sorted[rank - 1], sorted[sorted.len() - rank]));
    Some(Estimate { median: (lower + upper) / 2.0, interval })
}

/// Whether `values` are at most `limit`.
pub fn verdict(values: &[f64], limit: f64, judge: Judge) -> Verdict {
    if values.iter().any(|value| value.is_nan()) {
        return Verdict::Undecided;
    }
    match judge {
        Judge::Worst => match values.iter().copied().reduce(f64::max) {
            Some(worst) if worst <= limit => Verdict::Pass,
            Some(_) => Verdict::Short,
            None => Verdict::Undecided,
        },
        Judge::Median => match estimate(values).and_then(|estimate| estimate.interval) {
            Some((_, upper)) if upper <= limit => Verdict::Pass,
            Some((lower, _)) if lower > limit => Verdict::Short,
            _ => Verdict::Undecided,
        },
    }
}

/// The rank, from 1, of the order statistic that begins the median's 95 % interval: the largest whose chance to lie
/// beyond the median, binomial with p = 1/2, is at most 2.5 %. The interval ends at the same rank from above.
fn rank(count: usize) -> Option<usize> {
    let mut chance = 0.5_f64.powi(i32::try_from(count).ok()?);
    let mut below = chance;
    let mut rank = 0;
    while below <= 0.025 && rank < count {
        rank += 1;
        chance *= (count - rank + 1) as f64 / rank as f64;
        below += chance;
    }
    (rank > 0).then_some(rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_sign_tests_tables() {
        let ranks = [5, 6, 8, 9, 12, 15, 20, 30].map(rank);
        assert_eq!(ranks, [None, Some(1), Some(1), Some(2), Some(3), Some(4), Some(6), Some(10)]);
    }

    #[test]
    fn the_interval_of_fifteen_goes_from_the_fourth_to_the_twelfth() {
        let values: Vec<f64> = (1..=15).rev().map(f64::from).collect();
        assert_eq!(estimate(&values), Some(Estimate { median: 8.0, interval: Some((4.0, 12.0)) }));
    }

    #[test]
    fn an_even_count_has_its_median_between_the_middle_two() {
        assert_eq!(estimate(&[4.0, 1.0, 3.0, 2.0]), Some(Estimate { median: 2.5, interval: None }));
        assert_eq!(estimate(&[]), None);
    }

    #[test]
    fn the_interval_decides_and_not_the_median() {
        let around = |middle: f64| -> Vec<f64> { (-7..=7).map(|step| middle + 0.01 * f64::from(step)).collect() };
        assert_eq!(verdict(&around(1.00), 1.08, Judge::Median), Verdict::Pass);
        assert_eq!(verdict(&around(1.06), 1.08, Judge::Median), Verdict::Undecided);
        assert_eq!(verdict(&around(1.10), 1.08, Judge::Median), Verdict::Undecided);
        assert_eq!(verdict(&around(1.20), 1.08, Judge::Median), Verdict::Short);
    }

    #[test]
    fn five_values_decide_nothing_by_their_median() {
        assert_eq!(verdict(&[1.0; 5], 2.0, Judge::Median), Verdict::Undecided);
        assert_eq!(verdict(&[1.0; 6], 2.0, Judge::Median), Verdict::Pass);
    }

    #[test]
    fn one_bad_run_is_one_too_many_where_the_worst_is_judged() {
        let mut values = [0.0; 15];
        assert_eq!(verdict(&values, 0.0, Judge::Worst), Verdict::Pass);
        values[7] = 1.0;
        assert_eq!(verdict(&values, 0.0, Judge::Worst), Verdict::Short);
        assert_eq!(verdict(&[], 0.0, Judge::Worst), Verdict::Undecided);
    }
}
