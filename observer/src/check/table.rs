//! The rows as a table for people.

use super::{Row, Verdict, can_observe};

/// How the table is laid out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// Marks the verdicts for a terminal.
    pub colour: bool,
    /// The terminal's width: what is longer goes on below itself. Without it each row is one line.
    pub columns: Option<usize>,
}

/// The rows in aligned columns, what to do below each that needs it, and the answer as the last line; with a line feed
/// at the end.
pub fn render(rows: &[Row], look: Look) -> String {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let indent = VERDICT_WIDTH + 2 + width + 2;
    let room = look.columns.map(|columns| columns.saturating_sub(indent).max(LEAST_WIDTH));
    let mut text = String::new();
    for row in rows {
        let verdict = marked(row.verdict, look.colour);
        let found = folded(&row.found, room, indent);
        text.push_str(&format!("{verdict}  {:width$}  {found}\n", row.name));
        if let Some(mend) = &row.mend {
            let mend = folded(&format!("-> {mend}"), room, indent);
            text.push_str(&format!("{:indent$}{mend}\n", ""));
        }
    }
    text.push('\n');
    text.push_str(&answer(rows));
    text.push('\n');
    text
}

const VERDICT_WIDTH: usize = "missing".len();

/// On a terminal narrower than that lines are broken by the terminal.
const LEAST_WIDTH: usize = 20;

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

/// Broken between words, each further line below the first.
fn folded(text: &str, room: Option<usize>, indent: usize) -> String {
    let Some(room) = room else { return text.to_owned() };
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("one from the start");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join(&format!("\n{:indent$}", ""))
}

fn answer(rows: &[Row]) -> String {
    let named = |verdict: Verdict| {
        let rows = rows.iter().filter(|row| row.verdict == verdict);
        rows.map(|row| row.name.as_str()).collect::<Vec<_>>()
    };
    let (missing, warned) = (named(Verdict::Missing).join(", "), named(Verdict::Warn));
    match (can_observe(rows), warned.as_slice()) {
        (true, []) => format!("This host can be observed: all {} rows are as needed.", rows.len()),
        (true, warned) => {
            let of = format!("{} of {} rows", warned.len(), rows.len());
            format!("This host can be observed; {of} are worth a look: {}.", warned.join(", "))
        }
        (false, _) => format!(
            "This host cannot be observed yet: mend {missing} as written above, then run `observer check` again."
        ),
    }
}
