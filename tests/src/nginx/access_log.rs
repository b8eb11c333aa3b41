//! nginx's access log: the truth that the agent's numbers are compared with.

use anyhow::{Context, Result, ensure};

/// The logged variables, in the order of the columns of a line.
const VARIABLES: [&str; 14] = [
    "$connection",
    "$connection_requests",
    "$status",
    "$request_length",
    "$bytes_sent",
    "$request_time",
    "$upstream_header_time",
    "$upstream_status",
    "$upstream_addr",
    "$upstream_response_time",
    "$msec",
    "$pid",
    "$http_x_case",
    "$request",
];

/// One request as nginx logged it at its end.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// nginx's number of the client's connection; counts from 1 in each master.
    pub connection: u64,
    /// Which request of its connection it is, from 1.
    pub connection_requests: u64,
    /// `$status`.
    pub status: u16,
    /// `$request_length`, bytes.
    pub request_length: u64,
    /// `$bytes_sent`.
    pub bytes_sent: u64,
    /// `$request_time` in ms.
    pub request_ms: f64,
    /// `$upstream_header_time` in ms, one per try; `None` for a try that got no header.
    pub upstream_header_ms: Vec<Option<f64>>,
    /// `$upstream_status` per try.
    pub upstream_status: Vec<Option<u16>>,
    /// `$upstream_addr` per try.
    pub upstream_addr: Vec<String>,
    /// `$upstream_response_time` in ms, one per try.
    pub upstream_response_ms: Vec<Option<f64>>,
    /// `$msec` in ms: when the line was written, since the epoch.
    pub end_ms: f64,
    /// Of the worker.
    pub pid: u32,
    /// The client's `X-Case` line.
    pub case: Option<String>,
    /// The request line, escaped as nginx does (`\xXX`).
    pub request: String,
}

impl Line {
    /// Milliseconds to the upstream's header, summed over the tries; `None` where no try got one.
    pub fn upstream_ms(&self) -> Option<f64> {
        let tries: Vec<f64> = self.upstream_header_ms.iter().flatten().copied().collect();
        (!tries.is_empty()).then(|| tries.iter().sum())
    }

    /// The target's path, query excluded; empty when the request line has none.
    pub fn path(&self) -> &str {
        let target = self.request.split(' ').nth(1).unwrap_or_default();
        target.split('?').next().unwrap_or_default()
    }

    /// The path's first segment: the service's name in the tests' configurations.
    pub fn service(&self) -> &str {
        self.path().split('/').nth(1).unwrap_or_default()
    }
}

/// nginx's default escape turns control characters in values into `\xXX`, so a tab is always a separator.
pub(super) fn format_directive() -> String {
    format!("log_format observed '{}';", VARIABLES.join("\t"))
}

/// All whole lines of a log's text.
pub fn parse(text: &str) -> Result<Vec<Line>> {
    text.split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
        .map(|text| line(text).with_context(|| format!("access log line {text:?}")))
        .collect()
}

fn line(text: &str) -> Result<Line> {
    let columns: Vec<&str> = text.split('\t').collect();
    ensure!(columns.len() == VARIABLES.len(), "{} columns", columns.len());
    let column = |variable: &str| {
        let index = VARIABLES.iter().position(|known| *known == variable);
        index.map(|index| columns[index]).context("unknown column")
    };
    Ok(Line {
        connection: column("$connection")?.parse()?,
        connection_requests: column("$connection_requests")?.parse()?,
        status: column("$status")?.parse()?,
        request_length: column("$request_length")?.parse()?,
        bytes_sent: column("$bytes_sent")?.parse()?,
        request_ms: milliseconds(column("$request_time")?)?,
        upstream_header_ms: per_try(column("$upstream_header_time")?, milliseconds)?,
        upstream_status: per_try(column("$upstream_status")?, |text| Ok(text.parse()?))?,
        upstream_addr: tries(column("$upstream_addr")?).map(str::to_owned).collect(),
        upstream_response_ms: per_try(column("$upstream_response_time")?, milliseconds)?,
        end_ms: milliseconds(column("$msec")?)?,
        pid: column("$pid")?.parse()?,
        case: some(column("$http_x_case")?).map(str::to_owned),
        request: column("$request")?.to_owned(),
    })
}

/// Tries are separated by commas, and by colons after an internal redirect. `-` alone: no try at all.
fn tries(text: &str) -> impl Iterator<Item = &str> {
    some(text).into_iter().flat_map(|text| text.split(", ")).flat_map(|text| text.split(" : "))
}

fn per_try<T>(text: &str, value: impl Fn(&str) -> Result<T>) -> Result<Vec<Option<T>>> {
    tries(text).map(|text| some(text).map(&value).transpose()).collect()
}

fn some(text: &str) -> Option<&str> {
    (text != "-").then_some(text)
}

/// Seconds with three decimals, exactly in ms.
fn milliseconds(seconds: &str) -> Result<f64> {
    let (whole, thousandths) = seconds.split_once('.').context("no decimals")?;
    Ok(format!("{whole}{thousandths}").parse::<u64>()? as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRIED: &str = "7\t2\t200\t81\t1024\t0.120\t-, 0.004 : 0.001\t502, 200 : 204\t\
        127.0.0.1:1, 127.0.0.1:2 : unix:/a\t0.001, 0.005 : 0.001\t1700000000.250\t99\t-\tGET /a/b?c=d HTTP/1.1\n";

    #[test]
    fn a_retried_and_redirected_request_is_read() {
        let lines = parse(RETRIED).unwrap();
        let line = &lines[0];
        assert_eq!(line.request_ms, 120.0);
        assert_eq!(line.upstream_header_ms, [None, Some(4.0), Some(1.0)]);
        assert_eq!(line.upstream_ms(), Some(5.0));
        assert_eq!(line.upstream_addr, ["127.0.0.1:1", "127.0.0.1:2", "unix:/a"]);
        assert_eq!(line.end_ms, 1_700_000_000_250.0);
        assert_eq!((line.case.as_deref(), line.path(), line.service()), (None, "/a/b", "a"));
    }

    #[test]
    fn a_line_that_is_being_written_is_left_out() {
        let half = RETRIED.trim_end();
        assert_eq!(parse(&format!("{RETRIED}{half}")).unwrap().len(), 1);
    }

    #[test]
    fn a_line_of_another_format_is_an_error() {
        assert!(parse("127.0.0.1 - - [01/Jan/2024]\n").is_err());
    }
}
