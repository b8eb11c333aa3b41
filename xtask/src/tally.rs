//! Counts tests by the result lines of cargo's test programs.

use std::fmt;

/// Tests that ran, over all test programs so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Adds the numbers of a line such as `test result: ok. 5 passed; 0 failed; 0 ignored; ...`. Other lines add nothing.
    pub fn add_line(&mut self, line: &str) {
        let Some(numbers) = result_numbers(line) else {
            return;
        };
        self.passed += numbers.0;
        self.failed += numbers.1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

fn result_numbers(line: &str) -> Option<(u64, u64)> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let (passed, counts) = counts.split_once(" passed; ")?;
    let (failed, _) = counts.split_once(" failed")?;
    Some((passed.parse().ok()?, failed.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> String {
        let mut tally = Tally::default();
        for line in lines {
            tally.add_line(line);
        }
        tally.to_string()
    }

    #[test]
    fn result_lines_add_up() {
        assert_eq!(
            tally(&[
                "running 7 tests",
                "test a ... ok",
                "test result: ok. 5 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.01s",
                "test result: FAILED. 10 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
            ]),
            "15 passed, 3 failed"
        );
    }

    #[test]
    fn lines_that_only_look_alike_add_nothing() {
        assert_eq!(
            tally(&[
                "",
                "test result: ok. many passed; 0 failed; 0 ignored",
                "test result: ok. 5 passed",
                "a test said: test result: ok. 5 passed; 0 failed; 0 ignored",
            ]),
            "0 passed, 0 failed"
        );
    }
}
