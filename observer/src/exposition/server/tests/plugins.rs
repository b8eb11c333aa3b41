//! Who may change what is enabled.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use super::harness::{Answer, Served, Setup, exchange, served};
use crate::exposition::auth::{Role, add};
use crate::exposition::server::Limits;

struct Case {
    _dir: tempfile::TempDir,
    served: Served,
    socket: PathBuf,
    admin: String,
    reader: String,
}

/// A loopback listener and a private socket, with nothing enabled.
fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let (file, socket) = (dir.path().join("users"), dir.path().join("s"));
    let admin = add(&file, "ann", Role::Admin).unwrap().reveal().to_owned();
    let reader = add(&file, "prometheus", Role::Metrics).unwrap().reveal().to_owned();
    let listen = vec!["127.0.0.1:0".to_owned(), format!("unix:{}", socket.display())];
    let served = Setup { listen, auth_file: Some(&file), start_disabled: true, ..Setup::default() }.serve();
    Case { _dir: dir, served, socket, admin, reader }
}

const BODY: &str = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 15\r\n\r\nname=prometheus";

/// The page's POST, with further header lines.
fn post(host: &str, headers: &str) -> Vec<u8> {
    format!("POST /plugins HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}{BODY}").into_bytes()
}

impl Case {
    fn post(&self, headers: &str) -> Answer {
        exchange(self.served.connect(), &post("localhost", headers))
    }

    fn with_token(&self, headers: &str) -> Answer {
        self.post(&format!("Kong-Admin-Token: {}\r\n{headers}", self.admin))
    }

    fn count(&self) -> usize {
        self.served.plugins.all().len()
    }
}

#[test]
fn a_change_needs_an_admins_token() {
    let case = case();
    let refused = case.post("");
    assert_eq!(refused.status(), "HTTP/1.1 401 Unauthorized");
    assert_eq!(case.post("Kong-Admin-Token: wrong\r\n").code(), 401);
    let refused = case.post(&format!("Kong-Admin-Token: {}\r\n", case.reader));
    assert_eq!(refused.status(), "HTTP/1.1 403 Forbidden");
    assert!(refused.has("Content-Type: application/json; charset=utf-8"), "{}", refused.head);
    assert!(refused.body.contains("role admin"), "{}", refused.body);
    assert_eq!(case.count(), 0);
    let created = case.with_token("");
    assert_eq!(created.status(), "HTTP/1.1 201 Created");
    assert!(created.has("Content-Type: application/json; charset=utf-8"), "{}", created.head);
    assert!(!created.head.contains("Access-Control"), "{}", created.head);
    assert_eq!(case.with_token("").status(), "HTTP/1.1 409 Conflict");
}

#[test]
fn without_users_nobody_changes_anything_over_tcp() {
    let served = served(1);
    let refused = exchange(served.connect(), &post("localhost", ""));
    assert_eq!(refused.status(), "HTTP/1.1 403 Forbidden");
    assert!(refused.body.contains("--auth-file"), "{}", refused.body);
    let id = served.plugins.all()[0].id.clone();
    for method in ["PATCH", "DELETE"] {
        assert_eq!(served.ask_with(&format!("{method} /plugins/{id}"), "").code(), 403);
    }
    assert_eq!(served.plugins.all().len(), 1);
}

#[test]
fn a_private_socket_needs_no_token_but_for_those_who_forward() {
    let case = case();
    let ask = |request: &[u8]| exchange(UnixStream::connect(&case.socket).unwrap(), request);
    for header in ["X-Forwarded-For: 127.0.0.1\r\n", "Forwarded: for=x\r\n", "X-Real-IP: ::1\r\n", "Via: x\r\n"] {
        assert_eq!(ask(&post("localhost", header)).code(), 401, "{header}");
    }
    assert_eq!(ask(&post("evil.example", "")).code(), 403);
    assert_eq!(case.count(), 0);
    assert_eq!(ask(&post("localhost", "")).code(), 201);
    let metrics = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(ask(metrics).code(), 200);
}

#[test]
fn pages_of_other_origins_change_nothing_with_any_token() {
    let case = case();
    let port = case.served.addresses[0].port();
    for origin in ["null".to_owned(), "http://evil.example".to_owned(), format!("https://localhost:{port}")] {
        assert_eq!(case.with_token(&format!("Origin: {origin}\r\n")).code(), 403, "{origin}");
    }
    let token = format!("Kong-Admin-Token: {}\r\n", case.admin);
    for host in ["evil.example", "localhost.evil.example", "127.0.0.2"] {
        let refused = exchange(case.served.connect(), &post(host, &token));
        assert_eq!(refused.code(), 403, "{host}");
        assert!(refused.body.contains("Host"), "{}", refused.body);
    }
    assert_eq!(case.count(), 0);
    assert_eq!(case.with_token("Origin: http://localhost\r\n").code(), 201);
}

#[test]
fn entities_are_read_patched_and_deleted_over_http() {
    let case = case();
    let token = format!("Authorization: Bearer {}\r\n", case.admin);
    let created: serde_json::Value = serde_json::from_str(&case.with_token("").body).unwrap();
    let path = format!("/plugins/{}", created["id"].as_str().unwrap());
    let reader = format!("Kong-Admin-Token: {}\r\n", case.reader);
    let list = case.served.ask_with("GET /plugins", &reader);
    assert_eq!((list.code(), list.body.contains("\"total\":1")), (200, true), "{}", list.body);
    assert_eq!(case.served.ask("GET /plugins").code(), 401);

    let body = "Content-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"enabled\":false}";
    let patch = format!("PATCH {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}{body}");
    let patched = exchange(case.served.connect(), patch.as_bytes());
    assert_eq!(patched.status(), "HTTP/1.1 200 OK");
    assert!(patched.body.contains("\"enabled\":false"), "{}", patched.body);
    assert_eq!(case.served.ask_with(&format!("GET {path}"), &reader).body, patched.body);
    let deleted = case.served.ask_with(&format!("DELETE {path}"), &token);
    assert_eq!((deleted.status(), deleted.body.as_str()), ("HTTP/1.1 204 No Content", ""));
    let gone = case.served.ask_with(&format!("GET {path}"), &reader);
    assert_eq!((gone.code(), gone.body.as_str()), (404, r#"{"message":"Not found"}"#));
}

#[test]
fn methods_that_a_page_lacks_are_refused_with_those_it_has() {
    let served = served(1);
    for (line, allow) in [
        ("DELETE /plugins", "Allow: GET, HEAD, POST"),
        ("POST /plugins/x", "Allow: GET, HEAD, PATCH, DELETE"),
        ("OPTIONS /plugins", "Allow: GET, HEAD, POST"),
    ] {
        let answer = served.ask(line);
        assert_eq!(answer.status(), "HTTP/1.1 405 Method Not Allowed", "{line}");
        assert!(answer.has(allow), "{}", answer.head);
    }
    for line in ["GET /plugins/", "GET /plugins/x/y", "GET /plugins/../plugins"] {
        assert_eq!(served.ask(line).code(), 404, "{line}");
    }
}

#[test]
fn a_body_over_the_limit_is_refused_and_one_up_to_it_is_read() {
    let case = case();
    let send = |length: usize, framing: &str, body: Vec<u8>| {
        let head = format!(
            "POST /plugins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nKong-Admin-Token: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n{framing}\r\n",
            case.admin
        );
        let mut stream = case.served.connect();
        stream.write_all(head.as_bytes()).unwrap();
        // The server may be done before it has all.
        let _ = stream.write_all(&body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        (length, answer.split(' ').nth(1).unwrap_or_default().to_owned())
    };
    let form = |length: usize| [b"name=prometheus&enabled=", vec![b'x'; length - 24].as_slice()].concat();
    let limit = Limits::default().body_bytes;
    let sized = |length: usize| send(length, &format!("Content-Length: {length}\r\n"), form(length));
    assert_eq!(sized(limit), (limit, "400".to_owned()));
    assert_eq!(sized(limit + 1), (limit + 1, "413".to_owned()));
    let chunked = [format!("{:x}\r\n", limit + 1).into_bytes(), form(limit + 1), b"\r\n0\r\n\r\n".to_vec()].concat();
    assert_eq!(send(limit + 1, "Transfer-Encoding: chunked\r\n", chunked).1, "413");
    assert_eq!(case.count(), 0);
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for_long() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let limits = Limits { body_time: Duration::from_millis(100), ..Limits::default() };
    let listen = vec![format!("unix:{}", socket.display())];
    let _served = Setup { limits, listen, ..Setup::default() }.serve();
    let request = post("localhost", "");
    let answer = exchange(UnixStream::connect(&socket).unwrap(), &request[..request.len() - 1]);
    assert_eq!(answer.status(), "HTTP/1.1 408 Request Timeout");
}
