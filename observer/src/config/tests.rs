//! Real-looking files of every format, and the exact words of every error.

use proptest::prelude::*;

use super::*;

const KONG_1_1: &str = r#"
_format_version: "1.1"
_transform: true

services:
- name: users
  url: http://users.internal:8080/api/
  retries: 3
  routes:
  - name: users-get
    paths:
    - /users
    - /users/\d+/profile$
    methods: [GET, HEAD]
    strip_path: false
  plugins:
  - name: key-auth
    config: {key_names: [apikey]}
- host: orders.internal
  port: 8443
  protocol: https
  path: /v1
  enabled: false

routes:
- name: orders
  service: orders
  hosts: [Shop.Example.com, "*.shop.example.com:8080", example.*]
- name: nowhere
  paths: [/health]

consumers:
- username: alice
  keyauth_credentials:
  - key: secret
"#;

const KONG_2_1: &str = r#"
_format_version: "2.1"
_comment: exported by hand
services:
- id: 7e0e5f7e-6f6c-4f2c-9d8b-0a6b1c2d3e4f
  name: cart
  host: cart-upstream
  connect_timeout: 5000
- name: reports
  url: https://[2001:db8::1]/reports
routes:
- service: {id: 7e0e5f7e-6f6c-4f2c-9d8b-0a6b1c2d3e4f}
  paths: [/cart]
  headers:
    X-Version: [V1, v2]
- service: {name: reports}
  snis: [reports.example.com.]
  protocols: [https]
  regex_priority: 7
  created_at: 1600000000
- service: reports
  protocols: [tcp]
  sources: [{ip: 10.0.0.0/8}]
  destinations: [{ip: 10.1.1.1, port: 9000}]
upstreams:
- name: Cart-Upstream
  algorithm: round-robin
  host_header: Cart.example.com
  healthchecks: {active: {http_path: /}}
  targets:
  - target: 10.0.0.1:9000
    weight: 0
  - {target: "cart2.internal", tags: [spare]}
targets:
- upstream: Cart-Upstream
  target: "[fd00::1]:9001"
certificates: []
"#;

const KONG_3_0: &str = r#"{
	"_format_version": "3.0",
	"_info": {"select_tags": ["a"], "defaults": {}},
	"services": [
		{
			"name": "api",
			"url": "http:\/\/127.0.0.1:9001",
			"routes": [
				{"name": "v2", "paths": ["~/v2/(?<id>\\d+)$", "/plain"], "tags": null,
				 "headers": {"x-env": ["~*^(dev|test)$"]},
				 "path_handling": "v1", "preserve_host": true}
			]
		}
	],
	"upstreams": null
}"#;

fn strs(list: &[Arc<str>]) -> Vec<&str> {
    list.iter().map(|item| &**item).collect()
}

#[test]
fn format_1_1_has_regexes_without_a_mark_and_routes_by_service_name() {
    let text = KONG_1_1.replace("- host: orders", "- name: orders\n  host: orders");
    let config = Config::parse_kong("kong.yml", &text).unwrap();
    let [users, orders] = &config.services[..] else {
        panic!("two services")
    };
    assert_eq!(users.endpoint, Endpoint::tcp("users.internal", 8080));
    assert_eq!(users.path.as_deref(), Some("/api/"));
    assert!(users.enabled && !orders.enabled);
    let route = &users.routes[0];
    assert_eq!(route.paths[0], PathRule::parse("/users").unwrap());
    assert_eq!(
        route.paths[1],
        PathRule::parse(r"~/users/\d+/profile$").unwrap()
    );
    assert_eq!(strs(&route.methods), ["GET", "HEAD"]);
    assert_eq!(orders.endpoint, Endpoint::tcp("orders.internal", 8443));
    assert_eq!(
        strs(&orders.routes[0].hosts),
        ["shop.example.com", "*.shop.example.com:8080", "example.*"]
    );
    assert_eq!(config.routes[0].name.as_deref(), Some("nowhere"));
}

#[test]
fn a_service_without_a_name_is_called_by_its_host() {
    let text = KONG_1_1.replace("  service: orders\n", "");
    let config = Config::parse_kong("kong.yml", &text).unwrap();
    assert_eq!(&*config.services[1].name, "orders.internal");
}

#[test]
fn format_2_1_has_flat_entities_that_refer_to_each_other() {
    let config = Config::parse_kong("kong.yml", KONG_2_1).unwrap();
    let [cart, reports] = &config.services[..] else {
        panic!("two services")
    };
    assert_eq!(cart.endpoint, Endpoint::tcp("cart-upstream", 80));
    assert_eq!(&*cart.routes[0].headers[0].name, "x-version");
    assert_eq!(strs(&cart.routes[0].headers[0].values), ["v1", "v2"]);
    assert_eq!(reports.endpoint, Endpoint::tcp("2001:db8::1", 443));
    assert_eq!(reports.routes.len(), 1, "the route for streams is left out");
    assert_eq!(strs(&reports.routes[0].snis), ["reports.example.com"]);
    assert_eq!(reports.routes[0].regex_priority, 7);
    assert_eq!(reports.routes[0].created_at, Some(1_600_000_000));
    let upstream = &config.upstreams[0];
    assert_eq!(&*upstream.name, "cart-upstream");
    assert_eq!(upstream.host_header.as_deref(), Some("cart.example.com"));
    assert_eq!(
        upstream.targets,
        [
            Endpoint::tcp("10.0.0.1", 9000),
            Endpoint::tcp("cart2.internal", 8000),
            Endpoint::tcp("fd00::1", 9001),
        ]
    );
}

#[test]
fn format_3_0_is_read_from_json_too() {
    let config = Config::parse_kong("kong.json", KONG_3_0).unwrap();
    let route = &config.services[0].routes[0];
    assert_eq!(config.services[0].path, None);
    assert_eq!(
        route.paths,
        [
            PathRule::parse(r"~/v2/(?<id>\d+)$").unwrap(),
            PathRule::parse("/plain").unwrap(),
        ]
    );
    assert_eq!(
        route.headers[0].patterns,
        [Pattern::header("^(dev|test)$").unwrap()]
    );
}

#[test]
fn the_parts_of_an_address_win_over_the_url_that_is_short_for_them() {
    let text = "_format_version: 3.0\nservices: [{name: a, url: 'https://x/y', host: z, path: /p}]";
    let config = Config::parse_kong("kong.yml", text).unwrap();
    assert_eq!(config.services[0].endpoint, Endpoint::tcp("z", 443));
    assert_eq!(config.services[0].path.as_deref(), Some("/p"));
}

#[test]
fn anchors_aliases_and_merge_keys_are_followed() {
    let text = "
_format_version: '3.0'
services:
- &base {name: a, host: x, port: 81, routes: [{paths: &p [/a]}]}
- <<: *base
  name: b
  routes: [{paths: *p}]
";
    let config = Config::parse_kong("kong.yml", text).unwrap();
    assert_eq!(config.services[1].endpoint, Endpoint::tcp("x", 81));
    assert_eq!(config.services[1].routes[0], config.services[0].routes[0]);
}

const OWN: &str = "
services:
  - name: orders
    url: http://10.0.0.7:8080/api
    routes:
      - name: orders-v1
        hosts: [shop.example.com, '*.shop.example.com']
        paths: [/orders, '~/v\\d+/orders']
        methods: [get]
  - name: users
    protocol: https
    host: users-upstream
    path: /api
upstreams:
  - name: users-upstream
    targets: ['10.0.0.8:8080', 'unix:/run/users.sock']
datastore: 127.0.0.1:5432
";

#[test]
fn the_own_file_has_the_same_notions() {
    let config = Config::parse_own("observer.yml", OWN).unwrap();
    let [orders, users] = &config.services[..] else {
        panic!("two services")
    };
    assert_eq!(orders.endpoint, Endpoint::tcp("10.0.0.7", 8080));
    assert_eq!(orders.path.as_deref(), Some("/api"));
    assert_eq!(strs(&orders.routes[0].methods), ["GET"]);
    assert_eq!(users.endpoint, Endpoint::tcp("users-upstream", 443));
    assert_eq!(
        config.upstreams[0].targets[1],
        Endpoint::Unix("/run/users.sock".into())
    );
    assert_eq!(config.datastore, Some(Endpoint::tcp("127.0.0.1", 5432)));
}

#[test]
fn an_empty_own_file_configures_nothing() {
    for text in ["", "# nothing\n", "{}", "services:\n"] {
        assert_eq!(
            Config::parse_own("o.yml", text).unwrap(),
            Config::default(),
            "{text:?}"
        );
    }
}

#[test]
fn the_own_files_services_and_upstreams_replace_kongs() {
    let kong = Config::parse_kong("kong.yml", KONG_2_1).unwrap();
    let own = "
services: [{name: reports, host: h}]
upstreams: [{name: cart-upstream, targets: ['a:1']}]
datastore: d:1
";
    let merged = Config::merge(Config::parse_own("o.yml", own).unwrap(), kong);
    let names: Vec<_> = merged.services.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["reports", "cart"]);
    assert_eq!(merged.services[0].endpoint, Endpoint::tcp("h", 80));
    assert_eq!(merged.upstreams.len(), 1);
    assert_eq!(merged.upstreams[0].targets, [Endpoint::tcp("a", 1)]);
    assert_eq!(merged.datastore, Some(Endpoint::tcp("d", 1)));
}

/// The error of Kong's file `_format_version: "3.0"` with `text` from line 2 on.
fn kong_error(text: &str) -> String {
    let text = format!("_format_version: \"3.0\"\n{text}");
    Config::parse_kong("kong.yml", &text)
        .unwrap_err()
        .to_string()
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
        (
            "services: x",
            "2: services: is the text \"x\"; write a list",
        ),
        ("services:\n  a: 1", "2: services: is a map; write a list"),
        (
            "services:\n- a",
            "3: services[0]: is the text \"a\"; write a map of keys and values",
        ),
        (
            "services: [{host: 10}]",
            "2: services[0].host: is the number 10; write text (in quotes)",
        ),
        (
            "services: [{host: a, port: '80'}]",
            "2: services[0].port: is the text \"80\"; write a whole number",
        ),
        (
            "services: [{host: a, enabled: 1}]",
            "2: services[0].enabled: is the number 1; write true or false",
        ),
        (
            "services: [{host: a, path: ''}]",
            "2: services[0].path: is the text \"\"; write some text",
        ),
        (
            "services: [{host: a, routes: [{paths: /a}]}]",
            "2: services[0].routes[0].paths: is the text \"/a\"; write a list",
        ),
        (
            "services: [{host: a, routes: [{headers: [a]}]}]",
            "2: services[0].routes[0].headers: is a list; write a map of keys and values",
        ),
        (
            "services: [{host: [a]}]",
            "2: services[0].host: is a list; write text",
        ),
    ] {
        assert_eq!(kong_error(text), format!("kong.yml:{expected}"));
    }
    assert_eq!(
        own_error("- a"),
        "o.yml:1: the document: is a list; write a map of keys and values"
    );
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
            "3: services[0].protocol: \"htp\" is not a protocol; give one of http, https, grpc, grpcs, tcp, tls, \
             tls_passthrough, udp",
        ),
        (
            "services:\n- {host: a, path: b}",
            "3: services[0].path: \"b\" is not a path; start it with /",
        ),
        (
            "services:\n- name: a",
            "3: services[0]: has no address; add url: or host:",
        ),
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
        (
            "routes:\n- path_handling: v2",
            "3: routes[0].path_handling: \"v2\" is not a path handling; give v0 or v1",
        ),
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
        (
            "datastore: db",
            "1: datastore: \"db\" is not an address; write HOST:PORT, [IPV6]:PORT or unix:/PATH",
        ),
        (
            "services:\n- host: a",
            "2: services[0]: has no name; add name: and the label it has in the metrics",
        ),
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
        (
            "targets:\n- target: a:1",
            "3: targets[0]: has no upstream; add upstream: and the name of one",
        ),
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
        (
            "a: b: c",
            "1: mapping values are not allowed in this context",
        ),
        ("a: *nothing", "1: alias references unknown anchor"),
        (
            "a: 1\n---\nb: 1",
            "3: a second document begins, one is read",
        ),
    ] {
        let expected = format!("o.yml:{expected}; mend the YAML or JSON at this line");
        assert_eq!(own_error(text), expected);
    }
}

#[test]
fn files_that_cannot_be_read_say_so() {
    let error = Config::load(Some(Path::new("/nonexistent/o.yml")), None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nonexistent/o.yml: cannot be read: No such file or directory (os error 2); give the path of a text file \
         this user may read"
    );
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kong.yml");
    std::fs::write(&path, b"\xff\xfe").unwrap();
    let error = Config::load(None, Some(&path)).unwrap_err().to_string();
    assert!(error.contains("invalid utf-8 sequence"), "{error}");
    std::fs::write(&path, KONG_2_1).unwrap();
    assert_eq!(Config::load(None, Some(&path)).unwrap().services.len(), 2);
}

proptest! {
    #[test]
    fn mutated_files_are_read_or_refused_but_never_panic(
        which in 0_usize..4,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0_usize..12), 1..8),
    ) {
        let mut bytes = [KONG_1_1, KONG_2_1, KONG_3_0, OWN][which].as_bytes().to_vec();
        for (at, byte, cut) in edits {
            let at = at.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, [byte]);
            if bytes.is_empty() {
                break;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        for result in [Config::parse_kong("k", &text), Config::parse_own("o", &text)] {
            if let Err(error) = result {
                prop_assert_eq!(error.to_string().lines().count(), 1);
            }
        }
    }
}
