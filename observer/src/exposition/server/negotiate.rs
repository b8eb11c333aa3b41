//! What a client would rather have (RFC 9110, 12.5).

use warp::http::HeaderMap;
use warp::http::header::{ACCEPT, ACCEPT_ENCODING, HeaderName};

use crate::exposition::text::Format;

/// OpenMetrics 1.0 where the client prefers it to plain text; in doubt plain text, as on the page.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let (mut open, mut text) = (0, 0);
    each(headers, &ACCEPT, |kind, parameters, quality| match kind {
        "application/openmetrics-text" if version(parameters).is_none_or(|version| version == "1.0.0") => {
            open = open.max(quality);
        }
        "text/plain" | "text/*" | "*/*" => text = text.max(quality),
        _ => {}
    });
    if open > text { Format::OpenMetrics } else { Format::Text }
}

/// Whether gzip may be sent.
pub(in crate::exposition) fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any) = (None, None);
    each(headers, &ACCEPT_ENCODING, |coding, _, quality| match coding {
        "gzip" | "x-gzip" => gzip = Some(quality),
        "*" => any = Some(quality),
        _ => {}
    });
    gzip.or(any).is_some_and(|quality| quality > 0)
}

/// Calls `take` with each member of a list, in lower case: its name, its parameters and its quality in thousandths.
fn each<'a>(headers: &'a HeaderMap, name: &HeaderName, mut take: impl FnMut(&str, &[(&'a str, &'a str)], u16)) {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    for member in values.flat_map(|value| value.split(',')) {
        let mut parts = member.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        let quality = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("q"));
        let quality = quality.map_or(1.0, |(_, value)| value.parse::<f32>().unwrap_or(0.0));
        // Casts saturate, and take what is no number for 0.
        take(&kind, &parameters, (quality.clamp(0.0, 1.0) * 1000.0) as u16);
    }
}

fn version<'a>(parameters: &[(&'a str, &'a str)]) -> Option<&'a str> {
    let version = parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case("version"));
    version.map(|(_, value)| value.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    #[test]
    fn open_metrics_is_sent_to_those_who_prefer_it() {
        for (accept, expected) in [
            // Prometheus 3, 2.42, curl, browsers.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.9, text/plain;q=0.8", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            ("application/openmetrics-text, text/plain", Format::Text),
            ("application/openmetrics-text;q=0.3, text/plain;q=0.4", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
            ("application/json", Format::Text),
            ("", Format::Text),
        ] {
            assert_eq!(format(&headers(ACCEPT, accept)), expected, "{accept}");
        }
        assert_eq!(format(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (accept, expected) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("*", true),
            ("gzip;q=0", false),
            ("*, gzip;q=0", false),
            ("gzip;q=0.001", true),
            ("br, deflate", false),
            ("identity", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&headers(ACCEPT_ENCODING, accept)), expected, "{accept}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
