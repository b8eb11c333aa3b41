//! Paths as Kong compares them (its `kong/tools/uri.lua`; RFC 3986, 5.2.4 and 6.2.2).

use std::borrow::Cow;

/// Decodes percent-encoded bytes that are not reserved, removes dot segments and empty segments. Borrows what is
/// normal already.
pub fn normalize(path: &[u8]) -> Cow<'_, [u8]> {
    if is_normal(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(without_dots(&decoded(path, is_reserved)))
}

/// The path as nginx compares it with its locations (`$uri`): every percent-encoded byte decoded, dot segments and empty
/// segments removed.
pub fn normalize_for_nginx(path: &[u8]) -> Cow<'_, [u8]> {
    if is_normal(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(without_dots(&decoded(path, |_| false)))
}

/// Decodes percent-encoded bytes of a path's regular expression; those that a regular expression would
/// read as an operator come out escaped.
pub fn normalize_regex(regex: &str) -> String {
    let bytes = regex.as_bytes();
    let mut out = String::with_capacity(regex.len());
    let mut at = 0;
    while let Some(rest) = regex.get(at..).filter(|rest| !rest.is_empty()) {
        match escape_at(bytes, at) {
            Some(byte) => {
                push_literal(&mut out, byte);
                at += 3;
            }
            None => {
                let first = rest.chars().next().unwrap_or_default();
                out.push(first);
                at += first.len_utf8();
            }
        }
    }
    out
}

fn push_literal(out: &mut String, byte: u8) {
    if is_reserved(byte) {
        out.push_str(&format!("%{byte:02X}"));
    } else if !byte.is_ascii() {
        out.push_str(&format!(r"\x{byte:02X}"));
    } else {
        if br".^-{}\|".contains(&byte) {
            out.push('\\');
        }
        out.push(char::from(byte));
    }
}

fn is_normal(path: &[u8]) -> bool {
    // Without branches: so the bytes are looked at many at once.
    let is_odd = |(&byte, &next): (&u8, &u8)| (next == b'%') | (byte == b'/') & ((next == b'/') | (next == b'.'));
    let pairs = path.iter().zip(path.get(1..).unwrap_or_default());
    path.first() != Some(&b'%') && !pairs.fold(false, |is_any, pair| is_any | is_odd(pair))
}

/// Value of the percent-encoded byte that starts at `at`.
fn escape_at(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = *bytes.get(at..at + 3)? else {
        return None;
    };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn is_reserved(byte: u8) -> bool {
    b"!*'();:@&=+$,/?%#[]".contains(&byte)
}

fn decoded(path: &[u8], stays: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        match escape_at(path, at) {
            Some(byte) if stays(byte) => out.extend(path[at..at + 3].to_ascii_uppercase()),
            Some(byte) => out.push(byte),
            None => {
                out.push(path[at]);
                at += 1;
                continue;
            }
        }
        at += 3;
    }
    out
}

fn without_dots(path: &[u8]) -> Vec<u8> {
    let Some(rest) = path.strip_prefix(b"/") else {
        return path.to_vec();
    };
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut ends_with_slash = false;
    for segment in rest.split(|&b| b == b'/') {
        ends_with_slash = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in &kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if ends_with_slash {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nginx_decodes_reserved_bytes_too() {
        for (path, normal) in [("/a/b", "/a/b"), ("/a%2Fb%3f", "/a/b?"), ("/a//b/%2e%2E/c/", "/a/c/"), ("/%zz", "/%zz")]
        {
            assert_eq!(normalize_for_nginx(path.as_bytes()), normal.as_bytes(), "{path}");
        }
    }

    #[test]
    fn paths_are_normalised_as_kong_does() {
        for (path, normal) in [
            ("/", "/"),
            ("", ""),
            ("/a/b", "/a/b"),
            ("/a//b", "/a/b"),
            ("//", "/"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/../a", "/a"),
            ("/a/b/", "/a/b/"),
            ("/.a/..b/c.", "/.a/..b/c."),
            ("/%61", "/a"),
            ("/a%2fb", "/a%2Fb"),
            ("/%2e%2E/a", "/a"),
            ("/a%20b", "/a b"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
            ("*", "*"),
        ] {
            assert_eq!(String::from_utf8_lossy(&normalize(path.as_bytes())), normal, "{path}");
        }
    }

    #[test]
    fn decoded_bytes_need_not_be_text() {
        assert_eq!(&*normalize(b"/%ff"), b"/\xff");
    }

    #[test]
    fn a_regex_keeps_reserved_bytes_and_escapes_operators() {
        for (regex, normal) in [
            (r"/\d+", r"/\d+"),
            ("/%61+", "/a+"),
            ("/a%2eb", r"/a\.b"),
            ("/a%2fb%2A", "/a%2Fb%2A"),
            ("/ü%7c", "/ü\\|"),
            ("/%c3%bc", r"/\xC3\xBC"),
            ("/%", "/%"),
        ] {
            assert_eq!(normalize_regex(regex), normal, "{regex}");
        }
    }
}
