//! The rows as a table for people.

use super::{Row, Verdict, can_observe};

/// The rows in aligned columns, what to do below each that needs it, and the answer as the last
/// line; with a line feed at the end. `colour` marks the verdicts for a terminal.
pub fn render(rows: &[Row], colour: bool) -> String {
    let width = rows
        .iter()
        .map(|row| row.name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let verdict = marked(row.verdict, colour);
        text.push_str(&format!("{verdict}  {:width$}  {}\n", row.name, row.found));
        if let Some(mend) = &row.mend {
            let indent = VERDICT_WIDTH + 2 + width + 2;
            text.push_str(&format!("{:indent$}-> {mend}\n", ""));
        }
    }
    text.push('\n');
    text.push_str(&answer(rows));
    text.push('\n');
    text
}

const VERDICT_WIDTH: usize = "missing".len();

fn marked(verdict: Verdict, colour: bool) -> String {
    let (word, code) = match verdict {
        Verdict::Ok => ("ok", 32),
        Verdict::Warn => ("warn", 33),
        Verdict::Missing => ("missing", 31),
    };
    match colour {
        true => format!("\x1b[{code}m{word:VERDICT_WIDTH$}\x1b[0m"),
        false => format!("{word:VERDICT_WIDTH$}"),
    }
}

fn answer(rows: &[Row]) -> String {
    if can_observe(rows) {
        return "This host can be observed.".to_owned();
    }
    let missing = rows.iter().filter(|row| row.verdict == Verdict::Missing);
    let names: Vec<&str> = missing.map(|row| row.name.as_str()).collect();
    format!(
        "This host cannot be observed yet: mend {} as written above, then run `observer check` again.",
        names.join(", ")
    )
}
