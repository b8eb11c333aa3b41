//! Real-looking files of every format.

mod errors;
mod merge;

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
    let [users, orders] = &config.services[..] else { panic!("two services") };
    assert_eq!(users.endpoint, Endpoint::tcp("users.internal", 8080));
    assert_eq!(users.path.as_deref(), Some("/api/"));
    assert!(users.enabled && !orders.enabled);
    let route = &users.routes[0];
    assert_eq!(route.paths[0], PathRule::parse("/users").unwrap());
    assert_eq!(route.paths[1], PathRule::parse(r"~/users/\d+/profile$").unwrap());
    assert_eq!(strs(&route.methods), ["GET", "HEAD"]);
    assert_eq!(orders.endpoint, Endpoint::tcp("orders.internal", 8443));
    assert_eq!(strs(&orders.routes[0].hosts), ["shop.example.com", "*.shop.example.com:8080", "example.*"]);
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
    let [cart, reports] = &config.services[..] else { panic!("two services") };
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
        [Endpoint::tcp("10.0.0.1", 9000), Endpoint::tcp("cart2.internal", 8000), Endpoint::tcp("fd00::1", 9001),]
    );
}

#[test]
fn format_3_0_is_read_from_json_too() {
    let config = Config::parse_kong("kong.json", KONG_3_0).unwrap();
    let route = &config.services[0].routes[0];
    assert_eq!(config.services[0].path, None);
    assert_eq!(route.paths, [PathRule::parse(r"~/v2/(?<id>\d+)$").unwrap(), PathRule::parse("/plain").unwrap(),]);
    assert_eq!(route.headers[0].patterns, [Pattern::header("^(dev|test)$").unwrap()]);
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
admin_ports: [8001, 8100]
";

#[test]
fn the_own_file_has_the_same_notions() {
    let config = Config::parse_own("observer.yml", OWN).unwrap();
    let [orders, users] = &config.services[..] else { panic!("two services") };
    assert_eq!(orders.endpoint, Endpoint::tcp("10.0.0.7", 8080));
    assert_eq!(orders.path.as_deref(), Some("/api"));
    assert_eq!(strs(&orders.routes[0].methods), ["GET"]);
    assert_eq!(users.endpoint, Endpoint::tcp("users-upstream", 443));
    assert_eq!(config.upstreams[0].targets[1], Endpoint::Unix("/run/users.sock".into()));
    assert_eq!(config.datastore, Some(Endpoint::tcp("127.0.0.1", 5432)));
    assert_eq!(config.admin_ports, [8001, 8100]);
}

#[test]
fn an_empty_own_file_configures_nothing() {
    for text in ["", "# nothing\n", "{}", "services:\n"] {
        assert_eq!(Config::parse_own("o.yml", text).unwrap(), Config::default(), "{text:?}");
    }
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
