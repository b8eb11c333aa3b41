//! `multipart/form-data` (RFC 7578) of small text fields.

use memchr::memmem;

/// The parts' names and values; `None` where the body is not what `parameters` of its content type say.
pub(super) fn parts(parameters: &str, body: &[u8]) -> Option<Vec<(String, String)>> {
    let boundary = parameter(parameters, "boundary").filter(|boundary| (1..=70).contains(&boundary.len()))?;
    let delimiter = format!("\r\n--{boundary}");
    let delimiter = delimiter.as_bytes();
    // The first delimiter may stand at the very beginning.
    let body = [b"\r\n", body].concat();
    let mut rest = &body[memmem::find(&body, delimiter)? + delimiter.len()..];
    let mut parts = Vec::new();
    while !rest.starts_with(b"--") {
        let line = memmem::find(rest, b"\r\n")?;
        if !rest[..line].iter().all(|byte| b" \t".contains(byte)) {
            return None;
        }
        let end = memmem::find(rest, delimiter)?;
        parts.push(part(rest.get(line + 2..end)?)?);
        rest = &rest[end + delimiter.len()..];
    }
    Some(parts)
}

fn part(bytes: &[u8]) -> Option<(String, String)> {
    let end = memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let value = std::str::from_utf8(&bytes[end + 4..]).ok()?;
    let name = head.split("\r\n").find_map(|line| {
        let (header, value) = line.split_once(':')?;
        let (kind, parameters) = value.split_once(';')?;
        let is_it = header.eq_ignore_ascii_case("content-disposition") && kind.trim().eq_ignore_ascii_case("form-data");
        if is_it { parameter(parameters, "name") } else { None }
    })?;
    Some((name, value.to_owned()))
}

/// The value of `name=value` or `name="value"` in a list parted by semicolons.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    parameters.split(';').find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        let value = value.trim();
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        found.trim().eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As curl 7.88 sends `-F name=prometheus -F enabled=true`.
    const CURL: &str = "--------------------------d74496d66958873e\r\n\
        Content-Disposition: form-data; name=\"name\"\r\n\r\nprometheus\r\n\
        --------------------------d74496d66958873e\r\n\
        Content-Disposition: form-data; name=\"enabled\"\r\n\r\ntrue\r\n\
        --------------------------d74496d66958873e--\r\n";
    const TYPE: &str = " boundary=------------------------d74496d66958873e";

    #[test]
    fn the_parts_of_a_form_come_in_order() {
        let parts = parts(TYPE, CURL.as_bytes()).unwrap();
        let expected = [("name", "prometheus"), ("enabled", "true")];
        assert_eq!(parts, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn values_may_hold_lines_and_be_empty() {
        let body = "preamble\r\n--b \r\ncontent-disposition: form-data; name=x\r\nContent-Type: text/plain\r\n\r\n1\r\n2\r\n--b\r\nContent-Disposition: form-data; name=y\r\n\r\n\r\n--b--\r\nepilogue";
        let parts = parts("charset=utf-8; boundary=\"b\"", body.as_bytes()).unwrap();
        assert_eq!(parts, [("x".to_owned(), "1\r\n2".to_owned()), ("y".to_owned(), String::new())]);
    }

    #[test]
    fn no_prefix_of_a_body_is_taken_for_the_whole() {
        let whole = CURL.trim_end();
        for length in 0..whole.len() {
            assert_eq!(parts(TYPE, &whole.as_bytes()[..length]), None, "{length}");
        }
        assert!(parts(TYPE, whole.as_bytes()).is_some());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (parameters, body) in [
            ("", CURL),
            ("boundary=", CURL),
            ("boundary=other", CURL),
            ("boundary=b", "--b\r\nContent-Disposition: attachment; name=x\r\n\r\n1\r\n--b--"),
            ("boundary=b", "--b\r\nContent-Disposition: form-data\r\n\r\n1\r\n--b--"),
            ("boundary=b", "--bx\r\nContent-Disposition: form-data; name=x\r\n\r\n1\r\n--b--"),
        ] {
            assert_eq!(parts(parameters, body.as_bytes()), None, "{parameters}: {body}");
        }
        assert_eq!(parts("boundary=b", b"--b\r\nContent-Disposition: form-data; name=x\r\n\r\n\xff\r\n--b--"), None);
    }
}
