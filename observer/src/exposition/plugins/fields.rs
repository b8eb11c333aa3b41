//! What a request's body says: a form as `curl -d` and `curl -F` send it, or JSON.

use serde_json::Value;

use super::{Refusal, multipart};

/// The fields of the plugin, as far as they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) name: Option<String>,
    pub(super) enabled: Option<bool>,
    pub(super) scope: Option<Scope>,
}

/// A service, by the field that names it; without a value all services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    pub(super) field: String,
    pub(super) value: Option<String>,
}

/// Why a body is no set of fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not JSON, or no object.
    #[error("Cannot parse JSON body")]
    Json,
    /// Not `multipart/form-data` as its boundary says.
    #[error("Cannot parse the multipart body; send it as `curl -F` does")]
    Multipart,
    /// Another content type.
    #[error("cannot read this Content-Type; send a form (`curl -d`, `curl -F`) or application/json")]
    Type,
}

/// Names and values as they came, nested names joined by dots.
pub(super) type Pairs = Vec<(String, Value)>;

/// Takes a body apart by its content type.
pub(super) fn pairs(content_type: Option<&str>, body: &[u8]) -> Result<Pairs, BodyError> {
    let kind = content_type.unwrap_or_default();
    let (essence, parameters) = kind.split_once(';').unwrap_or((kind, ""));
    let text = |value: String| Value::String(value);
    match essence.trim().to_ascii_lowercase().as_str() {
        "" if body.is_empty() => Ok(Pairs::new()),
        "application/x-www-form-urlencoded" => {
            let form = form_urlencoded::parse(body);
            Ok(form.map(|(name, value)| (name.into_owned(), text(value.into_owned()))).collect())
        }
        "multipart/form-data" => {
            let parts = multipart::parts(parameters, body).ok_or(BodyError::Multipart)?;
            Ok(parts.into_iter().map(|(name, value)| (name, text(value))).collect())
        }
        "application/json" => match serde_json::from_slice(body) {
            Ok(Value::Object(object)) => {
                let mut pairs = Pairs::new();
                object.into_iter().for_each(|(name, value)| flatten(name, value, &mut pairs));
                Ok(pairs)
            }
            Ok(_) | Err(_) => Err(BodyError::Json),
        },
        _ => Err(BodyError::Type),
    }
}

/// `{"service": {"id": 1}}` means what a form writes as `service.id=1`.
fn flatten(name: String, value: Value, pairs: &mut Pairs) {
    match value {
        Value::Object(object) => {
            for (inner, value) in object {
                pairs.push((format!("{name}.{inner}"), value));
            }
        }
        other => pairs.push((name, other)),
    }
}

impl Fields {
    pub(super) fn of(pairs: Pairs) -> Result<Fields, Refusal> {
        let mut fields = Fields::default();
        for (field, value) in pairs {
            match field.as_str() {
                "name" => fields.name = Some(string(&field, value)?),
                "enabled" => fields.enabled = Some(boolean(&field, &value)?),
                "service_id" | "service.id" | "service.name" => {
                    let value = if value.is_null() { None } else { Some(string(&field, value)?) };
                    fields.scope = Some(Scope { field, value });
                }
                "service" if value.is_null() => fields.scope = Some(Scope { field, value: None }),
                // The plugin of this page has nothing to configure.
                "config" if value.is_null() || value == "" || value == Value::Array(Vec::new()) => {}
                _ => {
                    let last = field.rsplit('.').next().unwrap_or_default();
                    return Err(Refusal::Field(field.clone(), format!("{last} is an unknown field")));
                }
            }
        }
        Ok(fields)
    }
}

fn string(field: &str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(Refusal::Field(field.to_owned(), format!("{field} is not a string"))),
    }
}

fn boolean(field: &str, value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(Refusal::Field(field.to_owned(), format!("{field} is not a boolean"))),
    }
}
