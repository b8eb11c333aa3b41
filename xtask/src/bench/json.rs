//! Writes JSON (RFC 8259).

use std::fmt;

/// A value. Objects keep the order they were made in.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    /// Nothing is known.
    Null,
    /// A number; one that is not finite is written as `null`, which JSON has instead.
    Number(f64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// Names and values.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// An object of these members.
    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Self {
        Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A list of numbers.
    pub fn numbers(values: &[f64]) -> Self {
        Json::List(values.iter().copied().map(Json::Number).collect())
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Json::Text(text.to_owned())
    }
}

impl From<f64> for Json {
    fn from(number: f64) -> Self {
        Json::Number(number)
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Number(number) if number.is_finite() => write!(f, "{number}"),
            Json::Null | Json::Number(_) => f.write_str("null"),
            Json::Text(text) => quoted(f, text),
            Json::List(items) => {
                f.write_str("[")?;
                // A line each, so that versions of a file compare line by line.
                separated(f, ",\n", items, |f, item| write!(f, "{item}"))?;
                f.write_str("]")
            }
            Json::Object(members) => {
                f.write_str("{")?;
                separated(f, ", ", members, |f, (name, value)| {
                    quoted(f, name)?;
                    write!(f, ": {value}")
                })?;
                f.write_str("}")
            }
        }
    }
}

fn separated<T>(
    f: &mut fmt::Formatter<'_>,
    separator: &str,
    items: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            f.write_str(separator)?;
        }
        write(f, item)?;
    }
    Ok(())
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_text_its_quotes() {
        let value = Json::object([("b", "say \"hi\\\"\n".into()), ("a", Json::numbers(&[1.0, 0.25]))]);
        assert_eq!(value.to_string(), "{\"b\": \"say \\\"hi\\\\\\\"\\u000a\", \"a\": [1,\n0.25]}");
    }

    #[test]
    fn what_is_no_number_is_null() {
        assert_eq!(Json::numbers(&[f64::NAN, f64::INFINITY]).to_string(), "[null,\nnull]");
        assert_eq!(Json::Null.to_string(), "null");
    }
}
