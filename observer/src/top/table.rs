//! The same numbers as plain text, for scripts: one line a service, fields parted by spaces.

use super::figures::{bytes, milliseconds, rate, share};
use super::rates::{Rates, Row};
use crate::tail::shown;

const TITLES: [&str; 18] = [
    "SERVICE", "REQ/S", "2XX%", "3XX%", "4XX%", "5XX%", "KONG50", "KONG90", "KONG99", "UP50", "UP90", "UP99", "REQ50",
    "REQ90", "REQ99", "IN/S", "OUT/S", "FAIL/S",
];

/// A title, a line a service by name, each ended by a newline. `-` stands for what there is none of.
pub fn table(rates: &Rates) -> String {
    let lines: Vec<[String; TITLES.len()]> =
        std::iter::once(TITLES.map(str::to_owned)).chain(rates.rows.iter().map(fields)).collect();
    let widths: Vec<usize> =
        (0..TITLES.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).enumerate().map(|(at, (field, &width))| match at {
            0 => format!("{field:<width$}"),
            _ => format!("{field:>width$}"),
        });
        text.push_str(padded.collect::<Vec<_>>().join(" ").trim_end());
        text.push('\n');
    }
    text
}

fn fields(row: &Row) -> [String; TITLES.len()] {
    let class = |class: f64| if row.requests > 0.0 { share(class) } else { "-".to_owned() };
    let mut fields = vec![shown(&row.name), rate(row.requests)];
    fields.extend(row.classes[1..].iter().map(|one| class(*one)));
    fields.extend(row.latencies.iter().flat_map(|times| times.quantiles.map(milliseconds)));
    fields.extend([bytes(row.ingress), bytes(row.egress), rate(row.failures)]);
    fields.try_into().expect("one field a title")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rates::tests::snapshot;

    #[test]
    fn every_service_has_a_line_of_as_many_fields_as_titles() {
        let mut rates = Rates::between(&snapshot(1), &snapshot(2));
        rates.rows.push(Row { name: "a \u{1b}[2J".into(), ..Row::default() });
        let text = table(&rates);
        assert_eq!(
            text.lines().take(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>(),
            [
                TITLES.join(" "),
                "orders 10.0 100 0 0 0 0.5 0.9 1.0 1.0 8.2 9.8 10 82 98 1.0K 20K 0".to_owned(),
                "users 10.0 50 0 0 50 0.5 0.9 1.0 1.0 8.2 9.8 10 82 98 1.0K 20K 5.00".to_owned(),
            ]
        );
        assert!(text.lines().all(|line| line.split_whitespace().count() == TITLES.len()), "{text}");
        assert!(text.contains("a\\x20\\x1B[2J"), "{text}");
    }
}
