use std::fs;

use serde_json::{Value, json};
use warp::http::Method;

use super::*;
use crate::exposition::server::answer::Answer;

fn open(services: &[&str]) -> Plugins {
    Plugins::open(None, true, services.iter().map(|name| (*name).into()).collect()).unwrap()
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(answer.body()).unwrap()
}

const FORM: Option<&str> = Some("application/x-www-form-urlencoded");
const JSON: Option<&str> = Some("application/json");

fn post(plugins: &Plugins, kind: Option<&str>, body: &str) -> (u16, Value) {
    let answer = change(plugins, &Method::POST, None, kind, body.as_bytes());
    (answer.status().as_u16(), self::body(&answer))
}

fn patch(plugins: &Plugins, id: &str, body: &str) -> (u16, Value) {
    let answer = change(plugins, &Method::PATCH, Some(id), FORM, body.as_bytes());
    (answer.status().as_u16(), self::body(&answer))
}

/// What the pipeline would be told now.
fn told(plugins: &Plugins) -> Enabled {
    plugins.switch().changed(&mut 0).unwrap()
}

#[test]
fn a_post_enables_in_every_form() {
    let multipart = "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nprometheus\r\n--b--\r\n";
    for (kind, text) in [
        (FORM, "name=prometheus"),
        (Some("application/x-www-form-urlencoded; charset=utf-8"), "name=prometheus&enabled=true"),
        (Some("multipart/form-data; boundary=b"), multipart),
        (JSON, r#"{"name":"prometheus","config":{},"enabled":true,"service":null}"#),
    ] {
        let plugins = open(&[]);
        assert!(!told(&plugins).counts(Some("a")));
        let (status, entity) = post(&plugins, kind, text);
        assert_eq!(status, 201, "{text}: {entity}");
        let keys: Vec<&String> = entity.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["config", "created_at", "enabled", "id", "name"]);
        assert_eq!(
            (&entity["name"], &entity["enabled"], &entity["config"]),
            (&json!("prometheus"), &json!(true), &json!({}))
        );
        assert!(entity["created_at"].as_u64().unwrap() > 1_500_000_000_000);
        assert!(told(&plugins).counts(Some("a")) && told(&plugins).counts(None));
    }
}

#[test]
fn a_second_one_is_in_conflict() {
    let plugins = open(&[]);
    post(&plugins, FORM, "name=prometheus&enabled=false");
    let (status, answer) = post(&plugins, FORM, "name=prometheus");
    assert_eq!((status, answer), (409, json!({ "name": "already exists with value 'prometheus'" })));
    assert!(!told(&plugins).counts(None));
}

#[test]
fn what_is_wrong_with_a_post_is_told_by_field() {
    let plugins = open(&["a"]);
    for (kind, text, expected) in [
        (FORM, "", json!({ "name": "name is required" })),
        (None, "", json!({ "name": "name is required" })),
        (JSON, "{}", json!({ "name": "name is required" })),
        (FORM, "name=zipkin", json!({ "config": "Plugin \"zipkin\" not found" })),
        (FORM, "name=prometheus&colour=red", json!({ "colour": "colour is an unknown field" })),
        (FORM, "name=prometheus&config.x=1", json!({ "config.x": "x is an unknown field" })),
        (JSON, r#"{"name":"prometheus","config":{"x":1}}"#, json!({ "config.x": "x is an unknown field" })),
        (FORM, "name=prometheus&enabled=maybe", json!({ "enabled": "enabled is not a boolean" })),
        (JSON, r#"{"name":1}"#, json!({ "name": "name is not a string" })),
        (FORM, "name=prometheus&service_id=b", json!({ "service_id": "does not exist with value 'b'" })),
        (JSON, "[1]", json!({ "message": "Cannot parse JSON body" })),
        (JSON, "{", json!({ "message": "Cannot parse JSON body" })),
    ] {
        assert_eq!(post(&plugins, kind, text), (400, expected), "{text}");
    }
    for (kind, text) in
        [(Some("text/plain"), "name=prometheus"), (None, "name=prometheus"), (Some("multipart/form-data"), "x")]
    {
        let (status, answer) = post(&plugins, kind, text);
        assert_eq!(status, 400, "{kind:?}");
        assert!(answer["message"].as_str().unwrap().contains("curl -F"), "{answer}");
    }
    assert_eq!(plugins.all(), []);
}

#[test]
fn one_service_alone_is_enabled_by_each_of_its_fields() {
    for (kind, text) in [
        (FORM, "name=prometheus&service_id=a"),
        (FORM, "name=prometheus&service.id=a"),
        (FORM, "name=prometheus&service.name=a"),
        (JSON, r#"{"name":"prometheus","service":{"id":"a"}}"#),
        (JSON, r#"{"name":"prometheus","service":{"name":"a"}}"#),
    ] {
        let plugins = open(&["a", "b"]);
        let (status, entity) = post(&plugins, kind, text);
        assert_eq!((status, &entity["service_id"]), (201, &json!("a")), "{text}");
        let told = told(&plugins);
        assert!(told.counts(Some("a")) && !told.counts(Some("b")) && !told.counts(None));
        assert_eq!(post(&plugins, FORM, "name=prometheus&service_id=a").0, 409);
        assert_eq!(post(&plugins, FORM, "name=prometheus&service_id=b").0, 201);
        assert_eq!(post(&plugins, FORM, "name=prometheus").0, 201);
        assert_eq!(body(&list(&plugins))["total"], 3);
    }
    // Without a configuration services are named by their hosts.
    assert_eq!(post(&open(&[]), FORM, "name=prometheus&service_id=example.com").0, 201);
}

#[test]
fn a_service_is_named_by_kongs_id_as_well_and_told_by_it() {
    let id = "0b1d4f2c-5a3e-4a43-9d2b-3c7a1a3f0001";
    let key = |name: &str, id: Option<&str>| ServiceKey { name: name.into(), id: id.map(Arc::from) };
    let plugins = Plugins::open(None, true, vec![key("a", Some(id)), key("b", None)]).unwrap();
    let (status, entity) = post(&plugins, FORM, &format!("name=prometheus&service_id={id}"));
    assert_eq!((status, &entity["service_id"]), (201, &json!(id)));
    assert!(told(&plugins).counts(Some("a")) && !told(&plugins).counts(Some("b")));
    assert_eq!(post(&plugins, FORM, "name=prometheus&service.name=a").0, 409);
    assert_eq!(post(&plugins, FORM, "name=prometheus&service_id=c").0, 400);
    // A configuration that is read later names others; what was enabled stays.
    plugins.know(vec![key("c", None)]);
    assert_eq!(post(&plugins, FORM, "name=prometheus&service_id=c").0, 201);
    assert_eq!(post(&plugins, FORM, "name=prometheus&service_id=b").0, 400);
    assert!(told(&plugins).counts(Some("a")) && told(&plugins).counts(Some("c")));
}

#[test]
fn an_entity_is_read_changed_and_deleted_by_its_id() {
    let plugins = open(&["a"]);
    let (_, entity) = post(&plugins, FORM, "name=prometheus");
    let id = entity["id"].as_str().unwrap();
    let hyphens: Vec<usize> = id.match_indices('-').map(|(at, _)| at).collect();
    assert_eq!((id.len(), hyphens, &id[14..15]), (36, vec![8, 13, 18, 23], "4"));
    assert_eq!(body(&one(&plugins, id)), entity);
    assert_eq!(body(&list(&plugins)), json!({ "total": 1, "data": [entity], "next": null }));

    let (status, changed) = patch(&plugins, id, "enabled=false");
    assert_eq!((status, &changed["enabled"], &changed["id"]), (200, &json!(false), &entity["id"]));
    assert!(!told(&plugins).counts(None));
    let (status, changed) = patch(&plugins, id, "enabled=true&service_id=a");
    assert_eq!((status, &changed["service_id"]), (200, &json!("a")));
    assert!(told(&plugins).counts(Some("a")) && !told(&plugins).counts(None));
    assert_eq!(patch(&plugins, id, "").0, 400);
    assert_eq!(patch(&plugins, id, "name=other").0, 400);

    let deleted = change(&plugins, &Method::DELETE, Some(id), None, b"");
    assert_eq!((deleted.status().as_u16(), deleted.body().len()), (204, 0));
    assert_eq!(told(&plugins), Enabled { everywhere: false, services: Default::default() });
    for answer in [
        one(&plugins, id),
        change(&plugins, &Method::PATCH, Some(id), FORM, b"enabled=true"),
        change(&plugins, &Method::PATCH, Some(id), FORM, b""),
        change(&plugins, &Method::DELETE, Some(id), None, b""),
    ] {
        assert_eq!((answer.status().as_u16(), body(&answer)), (404, json!({ "message": "Not found" })));
    }
}

#[test]
fn a_change_of_scope_stays_without_conflict() {
    let plugins = open(&["a", "b"]);
    post(&plugins, FORM, "name=prometheus&service_id=a");
    let (_, b) = post(&plugins, FORM, "name=prometheus&service_id=b");
    let id = b["id"].as_str().unwrap();
    assert_eq!(patch(&plugins, id, "service_id=a").0, 409);
    assert_eq!(patch(&plugins, id, "service_id=b").0, 200);
    let answer = change(&plugins, &Method::PATCH, Some(id), JSON, br#"{"service_id":null}"#);
    assert_eq!(body(&answer).get("service_id"), None);
    assert!(told(&plugins).counts(None));
}

#[test]
fn the_state_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("lib/observer");
    let open = |start_disabled| Plugins::open(Some(&state), start_disabled, vec!["a".into()]).unwrap();
    let first = open(false);
    assert!(told(&first).counts(None));
    let [only] = &first.all()[..] else { panic!("{:?}", first.all()) };
    patch(&first, &only.id, "enabled=false");
    post(&first, FORM, "name=prometheus&service_id=a");
    let second = open(false);
    assert_eq!(second.all(), first.all());
    assert!(told(&second).counts(Some("a")) && !told(&second).counts(None));
    for plugin in second.all() {
        change(&second, &Method::DELETE, Some(&plugin.id), None, b"");
    }
    // Deleted is deleted, however it starts.
    assert_eq!(open(false).all(), []);
    post(&second, FORM, "name=prometheus");
    assert!(told(&open(true)).counts(None));
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_kept_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let plugins = Plugins::open(Some(&state), true, Vec::new()).unwrap();
    fs::remove_dir_all(&state).unwrap();
    assert_eq!(post(&plugins, FORM, "name=prometheus").0, 500);
    assert_eq!(plugins.all(), []);
    assert!(!told(&plugins).counts(None));
}

#[test]
fn a_state_of_another_kind_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    for text in ["", "{}", "[]", r#"{"plugins":[],"more":1}"#] {
        fs::write(dir.path().join("plugins.json"), text).unwrap();
        let error = Plugins::open(Some(dir.path()), false, Vec::new()).err().unwrap();
        assert!(matches!(error, StateError::Content { .. }));
        assert!(error.to_string().contains("remove it"), "{error}");
    }
    let file = dir.path().join("plugins.json");
    assert!(matches!(Plugins::open(Some(&file), false, Vec::new()), Err(StateError::Io { .. })));
}

#[test]
fn the_switch_tells_each_change_once() {
    let plugins = open(&[]);
    let mut seen = 0;
    assert_eq!(plugins.switch().changed(&mut seen).map(|enabled| enabled.everywhere), Some(false));
    assert_eq!(plugins.switch().changed(&mut seen), None);
    post(&plugins, FORM, "name=prometheus");
    assert_eq!(plugins.switch().changed(&mut seen).map(|enabled| enabled.everywhere), Some(true));
    assert_eq!(plugins.switch().changed(&mut seen), None);
}
