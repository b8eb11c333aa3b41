//! The exact words of every error.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Sources};

/// The error of Kong's file `_format_version: "3.0"` with `text` from line 2 on.
fn kong_error(text: &str) -> String {
    let text = format!("_format_version: \"3.0\"\n{text}");
    Config::parse_kong("kong.yml", &text).unwrap_err().to_string()
}

fn own_error(text: &str) -> String {
    Config::parse_own("o.yml", text).unwrap_err().to_string()
}

#[test]
fn unknown_keys_are_named_with_what_was_expected() {
    assert_eq!(
        kong_error("services:\n- host: a\n- host: b\n  prot: 80\n"),
        "kong.yml:5: services[1].prot: unknown key \"prot\"; expected one of name, url, protocol, host, port, path, \
         enabled, routes, …"
    );
    assert_eq!(
        kong_error("servces: []"),
        "kong.yml:2: servces: unknown key \"servces\"; expected one of _format_version, services, routes, upstreams, \
         targets, …"
    );
    assert_eq!(
        kong_error("services: [{host: a, routes: [{path: /a}]}]"),
        "kong.yml:2: services[0].routes[0].path: unknown key \"path\"; expected one of name, hosts, paths, methods, \
         headers, snis, protocols, sources, destinations, regex_priority, strip_path, preserve_host, path_handling, \
         service, …"
    );
    assert_eq!(
        own_error("upstreams:\n  - name: a\n    target: [b:1]"),
        "o.yml:3: upstreams[0].target: unknown key \"target\"; expected one of name, targets"
    );
}

#[test]
fn wrong_types_say_what_to_write_instead() {
    for (text, expected) in [
        ("services: x", "2: services: is the text \"x\"; write a list"),
        ("services:\n  a: 1", "2: services: is a map; write a list"),
        ("services:\n- a", "3: services[0]: is the text \"a\"; write a map of keys and values"),
        ("services: [{host: 10}]", "2: services[0].host: is the number 10; write text (in quotes)"),
        ("services: [{host: a, port: '80'}]", "2: services[0].port: is the text \"80\"; write a whole number"),
        ("services: [{host: a, enabled: 1}]", "2: services[0].enabled: is the number 1; write true or false"),
        ("services: [{host: a, path: ''}]", "2: services[0].path: is the text \"\"; write some text"),
        (
            "services: [{host: a, routes: [{paths: /a}]}]",
            "2: services[0].routes[0].paths: is the text \"/a\"; write a list",
        ),
        (
            "services: [{host: a, routes: [{headers: [a]}]}]",
            "2: services[0].routes[0].headers: is a list; write a map of keys and values",
        ),
        ("services: [{host: [a]}]", "2: services[0].host: is a list; write text"),
    ] {
        assert_eq!(kong_error(text), format!("kong.yml:{expected}"));
    }
    assert_eq!(own_error("- a"), "o.yml:1: the document: is a list; write a map of keys and values");
}

#[test]
fn bad_values_say_what_is_wanted() {
    for (text, expected) in [
        (
            "services:\n- host: a\n  port: 70000",
            "4: services[0].port: \"70000\" is not a port; give a number from 1 to 65535",
        ),
        (
            "services:\n- host: a:80",
            "3: services[0].host: \"a:80\" is not a host; give a host name or an IP address, without port",
        ),
        (
            "services:\n- url: example.com/a",
            "3: services[0].url: \"example.com/a\" is not a service's URL; write http://HOST:PORT/PATH",
        ),
        (
            "services:\n- {host: a, protocol: htp}",
            "3: services[0].protocol: \"htp\" is not a protocol; give one of http, https, grpc, grpcs, ws, wss, tcp, tls, \
             tls_passthrough, udp",
        ),
        ("services:\n- {host: a, path: b}", "3: services[0].path: \"b\" is not a path; start it with /"),
        ("services:\n- name: a", "3: services[0]: has no address; add url: or host:"),
        (
            "routes:\n- paths:\n  - /a\n  - b",
            "5: routes[0].paths[1]: \"b\" is not a path; start it with / (a prefix) or ~/ (a regular expression)",
        ),
        (
            "routes:\n- paths: ['~/a(']",
            "3: routes[0].paths[0]: \"~/a(\" is not a regular expression the observer can use: unclosed group; \
             rewrite it",
        ),
        (
            "routes:\n- headers: {X-A: ['~*[']}",
            "3: routes[0].headers.X-A[0]: \"~*[\" is not a regular expression the observer can use: unclosed \
             character class; rewrite it",
        ),
        (
            "routes:\n- hosts: ['a.*.b']",
            "3: routes[0].hosts[0]: \"a.*.b\" is not a host; give a host name; a wildcard is its whole first or last \
             label, like *.example.com",
        ),
        (
            "routes:\n- methods: [get]",
            "3: routes[0].methods[0]: \"get\" is not a method; write it in upper-case letters, like GET",
        ),
        (
            "routes:\n- sources: [{ip: 10.0.0.0/40}]",
            "3: routes[0].sources[0].ip: \"10.0.0.0/40\" is not an IP address or range; write an address like \
             10.0.0.1 or a range like 10.0.0.0/8",
        ),
        ("routes:\n- path_handling: v2", "3: routes[0].path_handling: \"v2\" is not a path handling; give v0 or v1"),
        (
            "upstreams:\n- name: a\n  targets: [{target: 'a:b'}]",
            "4: upstreams[0].targets[0].target: \"a:b\" is not a target; write HOST:PORT or [IPV6]:PORT",
        ),
        (
            "upstreams:\n- targets: []",
            "3: upstreams[0]: has no name; add name: and what services call it as their host",
        ),
    ] {
        assert_eq!(kong_error(text), format!("kong.yml:{expected}"));
    }
    for (text, expected) in [
        ("admin_ports: [8001, 0]", "1: admin_ports[1]: \"0\" is not a port; give a number from 1 to 65535"),
        ("datastore: db", "1: datastore: \"db\" is not an address; write HOST:PORT, [IPV6]:PORT or unix:/PATH"),
        ("services:\n- host: a", "2: services[0]: has no name; add name: and the label it has in the metrics"),
        (
            "services:\n- {name: a, host: a, routes: [{name: r}]}",
            "2: services[0].routes[0]: has no condition; add hosts:, paths: or methods:",
        ),
    ] {
        assert_eq!(own_error(text), format!("o.yml:{expected}"));
    }
}

#[test]
fn names_given_twice_and_names_of_nothing_are_errors() {
    for (text, expected) in [
        (
            "services:\n- {name: a, host: a}\n- {name: a, host: b}",
            "4: services[1].name: the service \"a\" is already on line 3; give each its own name",
        ),
        (
            "routes:\n- name: r\n- name: r",
            "4: routes[1].name: the route \"r\" is already on line 3; give each its own name",
        ),
        (
            "upstreams:\n- name: u\n- name: u",
            "4: upstreams[1].name: the upstream \"u\" is already on line 3; give each its own name",
        ),
        (
            "routes:\n- paths: [/a]\n  service: x",
            "4: routes[0].service: no service in this file is called \"x\"; add it or correct the name",
        ),
        (
            "routes:\n- service: {name: x}",
            "3: routes[0].service.name: no service in this file is called \"x\"; add it or correct the name",
        ),
        (
            "targets:\n- {target: 'a:1', upstream: x}",
            "3: targets[0].upstream: no upstream in this file is called \"x\"; add it or correct the name",
        ),
        ("targets:\n- target: a:1", "3: targets[0]: has no upstream; add upstream: and the name of one"),
    ] {
        assert_eq!(kong_error(text), format!("kong.yml:{expected}"));
    }
}

#[test]
fn the_format_version_is_asked_for() {
    let error = |text| Config::parse_kong("k", text).unwrap_err().to_string();
    assert_eq!(
        error("services: []"),
        "k:1: the document: has no _format_version; add _format_version: \"3.0\" (or \"1.1\" or \"2.1\")"
    );
    assert_eq!(
        error("_format_version: '4.0'"),
        "k:1: _format_version: \"4.0\" is not a format version; give \"1.1\", \"2.1\" or \"3.0\""
    );
}

#[test]
fn broken_yaml_names_its_line() {
    for (text, expected) in [
        ("a: 1\nb: [", "2: unclosed bracket '['"),
        ("a: 1\na: 2", "2: the key a is given twice"),
        ("a: {b: 1\nc", "1: unclosed bracket '{'"),
        ("a: b: c", "1: mapping values are not allowed in this context"),
        ("a: *nothing", "1: alias references unknown anchor"),
        ("a: 1\n---\nb: 1", "3: a second document begins, one is read"),
    ] {
        let expected = format!("o.yml:{expected}; mend the YAML or JSON at this line");
        assert_eq!(own_error(text), expected);
    }
}

fn load(own: Option<PathBuf>, kong: Option<PathBuf>) -> Result<Config, ConfigError> {
    Ok(Sources { own, kong, nginx: None }.read()?.config())
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let error = load(Some("/nonexistent/o.yml".into()), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nonexistent/o.yml: cannot be read: No such file or directory (os error 2); give the path of a text file \
         this user may read"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kong.yml");
    std::fs::write(&path, b"\xff\xfe").unwrap();
    let error = load(None, Some(path.clone())).unwrap_err().to_string();
    assert!(error.contains("invalid utf-8 sequence"), "{error}");
    std::fs::write(&path, super::KONG_2_1).unwrap();
    assert_eq!(load(None, Some(path.clone())).unwrap().services.len(), 2);
}
