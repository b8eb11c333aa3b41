//! Kong's answers.

use serde_json::{Value, json};
use warp::http::{Method, StatusCode};

use super::fields::{Fields, pairs};
use super::{NAME, Plugin, Plugins, Refusal};
use crate::exposition::server::answer::{Answer, empty, json as json_answer, message};

/// `GET /plugins`. Kong 0.14 tells the total, later ones the next page; there is one page.
pub(crate) fn list(plugins: &Plugins) -> Answer {
    let data: Vec<Value> = plugins.all().iter().map(|plugin| entity(plugins, plugin)).collect();
    json_answer(StatusCode::OK, &json!({ "total": data.len(), "data": data, "next": null }))
}

/// `GET /plugins/{id}`.
pub(crate) fn one(plugins: &Plugins, id: &str) -> Answer {
    match plugins.get(id) {
        Some(plugin) => json_answer(StatusCode::OK, &entity(plugins, &plugin)),
        None => refused(&Refusal::NotFound),
    }
}

/// `POST /plugins`, `PATCH /plugins/{id}`, `DELETE /plugins/{id}`. Without an id it is a POST.
pub(crate) fn change(
    plugins: &Plugins,
    method: &Method,
    id: Option<&str>,
    content_type: Option<&str>,
    body: &[u8],
) -> Answer {
    let changed = match (id, method) {
        (Some(id), &Method::DELETE) => plugins.delete(id).map(|()| empty(StatusCode::NO_CONTENT)),
        (id, _) => match pairs(content_type, body) {
            Err(error) => return message(StatusCode::BAD_REQUEST, &error.to_string()),
            Ok(pairs) => Fields::of(pairs).and_then(|fields| apply(plugins, id, &fields)),
        },
    };
    changed.unwrap_or_else(|refusal| refused(&refusal))
}

fn apply(plugins: &Plugins, id: Option<&str>, fields: &Fields) -> Result<Answer, Refusal> {
    match id {
        None => plugins.create(fields).map(|plugin| json_answer(StatusCode::CREATED, &entity(plugins, &plugin))),
        Some(id) if *fields == Fields::default() && plugins.get(id).is_some() => {
            Ok(message(StatusCode::BAD_REQUEST, "empty body; give a field to change, as in enabled=false"))
        }
        Some(id) => plugins.update(id, fields).map(|plugin| json_answer(StatusCode::OK, &entity(plugins, &plugin))),
    }
}

fn entity(plugins: &Plugins, plugin: &Plugin) -> Value {
    let mut entity = json!({
        "created_at": plugin.created_at,
        "config": {},
        "id": plugin.id,
        "name": NAME,
        "enabled": plugin.enabled,
    });
    if let Some(service) = &plugin.service {
        entity["service_id"] = json!(&*plugins.service_id(service));
    }
    entity
}

fn refused(refusal: &Refusal) -> Answer {
    match refusal {
        Refusal::Field(field, problem) => json_answer(StatusCode::BAD_REQUEST, &json!({ field.as_str(): problem })),
        Refusal::Exists => {
            json_answer(StatusCode::CONFLICT, &json!({ "name": format!("already exists with value '{NAME}'") }))
        }
        Refusal::NotFound => message(StatusCode::NOT_FOUND, "Not found"),
        Refusal::State(_) | Refusal::Random(_) => {
            log::error!("a change of the plugin was refused: {refusal}");
            message(StatusCode::INTERNAL_SERVER_ERROR, "An unexpected error occurred; the observer's log tells which")
        }
    }
}
