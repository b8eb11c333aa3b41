//! How lines are printed.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use clap::ValueEnum;

use super::entry::Entry;

/// A way to print an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// One line to read: time, client, method, path, status, then names and numbers
    #[default]
    Text,
    /// As the agent tells it, a JSON object a line
    Json,
    /// As web servers log by default; what it has no place for is left out, and headers are never told
    Combined,
}

/// Prints an exchange in one line, without its end. `raw` is its JSON as it came.
pub fn print(entry: &Entry, raw: &str, format: Format) -> String {
    match format {
        Format::Text => text(entry),
        Format::Json => raw.to_owned(),
        Format::Combined => combined(entry),
    }
}

fn text(entry: &Entry) -> String {
    let upstream = entry.upstream_ms.map(|ms| format!("{ms}ms"));
    format!(
        "{} {} {} {} {} service={} route={} target={} in={} out={} request={}ms upstream={} kong={}ms retries={} failed={}",
        humantime::format_rfc3339_millis(time(entry)),
        client(entry),
        shown(&entry.method),
        shown(&target(entry)),
        entry.status,
        shown(entry.service.as_deref().unwrap_or_default()),
        shown(entry.route.as_deref().unwrap_or_default()),
        shown(entry.target.as_deref().unwrap_or_default()),
        entry.request_bytes,
        entry.response_bytes,
        entry.request_ms,
        shown(upstream.as_deref().unwrap_or_default()),
        entry.kong_ms,
        entry.retries,
        shown(entry.failed_by.as_deref().unwrap_or_default()),
    )
}

fn combined(entry: &Entry) -> String {
    let version = match entry.minor {
        9 => String::new(),
        minor => format!(" HTTP/1.{minor}"),
    };
    let request = match entry.method.as_str() {
        "" => String::new(),
        method => format!("{} {}{version}", shown(method), shown(&target(entry))),
    };
    let (client, date) = (client(entry), date(entry));
    format!("{client} - - [{date}] \"{request}\" {} {} \"-\" \"-\"", entry.status, entry.body_bytes)
}

fn target(entry: &Entry) -> String {
    match &entry.query {
        Some(query) => format!("{}?{query}", entry.path),
        None => entry.path.clone(),
    }
}

fn client(entry: &Entry) -> String {
    entry.client.map_or_else(|| "unix:".to_owned(), |client| client.to_canonical().to_string())
}

fn time(entry: &Entry) -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_micros((entry.time_ms * 1e3) as u64)
}

/// `22/Nov/2026:21:13:09 +0000`, from `2026-11-22T21:13:09Z`.
fn date(entry: &Entry) -> String {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let text = humantime::format_rfc3339_seconds(time(entry)).to_string();
    let month = text[5..7].parse().ok().and_then(|month: usize| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"-");
    format!("{}/{month}/{}:{} +0000", &text[8..10], &text[..4], &text[11..19])
}

/// A text of a stranger's for a terminal or a field; `-` for an empty one.
///
/// Bytes of strangers must not move a terminal's cursor, nor end a field: they are written as nginx writes them.
pub fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' ' | '"' | '\\' => escape(&mut shown, c),
            c if c.is_control() || is_invisible(c) => escape(&mut shown, c),
            c => shown.push(c),
        }
    }
    shown
}

fn escape(shown: &mut String, c: char) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        // A String takes any text.
        let _ = write!(shown, "\\x{byte:02X}");
    }
}

/// Marks that change the direction of what follows, and spaces of other kinds.
fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            time_ms: 1_795_381_989_123.0,
            gateway: "nginx".into(),
            client: "10.0.0.1".parse().ok(),
            method: "GET".into(),
            path: "/orders/1".into(),
            query: None,
            minor: 1,
            status: 502,
            service: Some("orders".into()),
            route: Some("orders-api".into()),
            target: Some("10.0.0.7:8080".into()),
            request_bytes: 78,
            response_bytes: 1250,
            body_bytes: 1000,
            request_ms: 12,
            upstream_ms: Some(10),
            kong_ms: 2,
            retries: 1,
            failed_by: Some("upstream".into()),
        }
    }

    #[test]
    fn each_format_has_its_line() {
        let entry = entry();
        assert_eq!(
            print(&entry, "", Format::Text),
            "2026-11-22T21:13:09.123Z 10.0.0.1 GET /orders/1 502 service=orders route=orders-api target=10.0.0.7:8080 \
             in=78 out=1250 request=12ms upstream=10ms kong=2ms retries=1 failed=upstream"
        );
        assert_eq!(
            print(&entry, "", Format::Combined),
            "10.0.0.1 - - [22/Nov/2026:21:13:09 +0000] \"GET /orders/1 HTTP/1.1\" 502 1000 \"-\" \"-\""
        );
        assert_eq!(print(&entry, "{}", Format::Json), "{}");
    }

    #[test]
    fn what_is_missing_is_a_dash_and_what_is_dangerous_is_escaped() {
        let bare = Entry { status: 400, path: "/\u{1b}[2J \"\u{202e}ä".into(), ..Entry::default() };
        let line = print(&bare, "", Format::Text);
        assert!(
            line.starts_with("1970-01-01T00:00:00.000Z unix: - /\\x1B[2J\\x20\\x22\\xE2\\x80\\xAEä 400 service=- ")
        );
        assert!(line.ends_with(" upstream=- kong=0ms retries=0 failed=-"), "{line}");
        assert!(print(&bare, "", Format::Combined).contains("] \"\" 400 0 "));
        let query = Entry { query: Some("a=b".into()), ..entry() };
        assert!(print(&query, "", Format::Combined).contains("\"GET /orders/1?a=b HTTP/1.1\""));
    }
}
