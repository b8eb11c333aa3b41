//! Tables of requests over real-looking configurations.

mod names;
mod nginx;
mod router;

use std::net::SocketAddr;

use super::*;
use crate::config::Config;

/// A plain GET without headers.
fn get<'a>(host: &'a str, path: &'a str) -> RequestFacts<'a> {
    RequestFacts {
        method: "GET",
        local: None,
        scheme: Scheme::Http,
        host: Some(host),
        path,
        sni: None,
        headers: &|_| None,
    }
}

fn kong(text: &str) -> Attribution {
    let text = format!("_format_version: '3.0'\n{text}");
    Attribution::new(&Config::parse_kong("kong.yml", &text).unwrap())
}

fn own(text: &str) -> Attribution {
    Attribution::new(&Config::parse_own("observer.yml", text).unwrap())
}

fn ip(address: &str) -> Peer<'_> {
    Peer::Ip(address.parse::<SocketAddr>().unwrap())
}

fn to<'a>(peer: Peer<'a>, host: &'a str, path: &'a str) -> UpstreamFacts<'a> {
    UpstreamFacts {
        network: 1,
        time_ns: 0,
        peer,
        host: Some(host).filter(|host| !host.is_empty()),
        path: Some(path).filter(|path| !path.is_empty()),
    }
}

/// `service`, `service/route`, or `-`.
fn text(attributed: Attributed) -> String {
    match attributed {
        Attributed::Service { service, route: Some(route) } => format!("{service}/{route}"),
        Attributed::Service { service, route: None } => service.to_string(),
        Attributed::Unattributed => "-".to_owned(),
    }
}

const SHOP: &str = "
services:
- name: orders
  url: http://10.0.0.1:8080
  routes: [{name: orders, paths: [/orders]}]
- name: users
  host: users.internal
  port: 8081
  routes: [{name: u1, paths: [/users]}, {name: u2, paths: [/people]}]
- name: cart
  host: cart.balanced
  routes: [{paths: [/cart]}]
upstreams:
- name: cart.balanced
  targets: [{target: '10.0.0.3:9000', weight: 0}, {target: 'spare.internal:9000'}, {target: '[fd00::3]:9000'}]
";

#[test]
fn the_address_of_the_upstream_names_the_service() {
    let mut shop = kong(SHOP);
    assert_eq!(shop.names().collect::<Vec<_>>(), ["spare.internal", "users.internal"]);
    shop.resolved(0, "Users.internal", &["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()]);
    for (peer, expected) in [
        ("10.0.0.1:8080", "orders/orders"),
        ("[::ffff:10.0.0.1]:8080", "orders/orders"),
        ("10.0.0.2:8081", "users"),
        ("[fd00::2]:8081", "users"),
        ("10.0.0.3:9000", "cart"),
        ("[fd00::3]:9000", "cart"),
        ("10.0.0.1:8081", "10.0.0.1:8081"),
        ("10.0.0.4:9000", "10.0.0.4:9000"),
    ] {
        let upstream = to(ip(peer), "", "");
        let attributed = shop.attribute(&get("x", "/other"), Some(&upstream));
        assert_eq!(text(attributed), expected, "{peer}");
    }
}

#[test]
fn a_services_route_is_told_by_the_request_where_it_has_several() {
    let mut shop = kong(SHOP);
    shop.resolved(0, "users.internal", &["10.0.0.2".parse().unwrap()]);
    let upstream = to(ip("10.0.0.2:8081"), "", "");
    for (path, expected) in [("/people/7", "users/u2"), ("/users?x=/people", "users/u1"), ("/orders", "users")] {
        let attributed = shop.attribute(&get("x", path), Some(&upstream));
        assert_eq!(text(attributed), expected, "{path}");
    }
}

#[test]
fn new_addresses_of_a_name_take_the_place_of_the_old_ones() {
    let mut attribution = own("
services: [{name: a, host: one.internal}, {name: b, host: b-up}]
upstreams: [{name: b-up, targets: ['one.internal:81', 'two.internal:81', 'one.internal:81']}]
");
    let at =
        |attribution: &mut Attribution, peer| text(attribution.attribute(&get("x", "/"), Some(&to(ip(peer), "", ""))));
    let [ip1, ip2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
    attribution.resolved(0, "one.internal", &[ip1, ip2, ip1]);
    attribution.resolved(0, "two.internal", &[ip2]);
    attribution.resolved(0, "unasked.internal", &[ip2]);
    assert_eq!(at(&mut attribution, "10.0.0.1:80"), "a");
    assert_eq!(at(&mut attribution, "10.0.0.1:81"), "b");
    assert_eq!(at(&mut attribution, "10.0.0.2:81"), "b");
    attribution.resolved(0, "one.internal", &[]);
    assert_eq!(at(&mut attribution, "10.0.0.1:80"), "10.0.0.1:80");
    assert_eq!(at(&mut attribution, "10.0.0.1:81"), "10.0.0.1:81");
    assert_eq!(at(&mut attribution, "10.0.0.2:81"), "b", "still an address of the other name");
}

#[test]
fn unix_sockets_are_targets() {
    let mut attribution = own("
services: [{name: app, url: 'http://unix:/run/app.sock'}, {name: pool, host: pool-up}]
upstreams: [{name: pool-up, targets: ['unix:@pool']}]
");
    for (path, expected) in
        [(&b"/run/app.sock"[..], "app"), (b"@pool", "pool"), (b"/run/\xffOther\n.sock", "unix:/run/other.sock")]
    {
        let upstream = to(Peer::Unix(path), "", "");
        let attributed = attribution.attribute(&get("x", "/"), Some(&upstream));
        assert_eq!(text(attributed), expected);
    }
}

const ONE_INGRESS: &str = "
services:
- {name: a, url: 'http://a.example.com:80', routes: [{name: ra, hosts: [a.test]}]}
- {name: b, url: 'http://b.example.com:80', routes: [{name: rb, hosts: [b.test]}]}
- {name: b-api, url: 'http://b.example.com:80/api/', routes: [{name: rapi, hosts: [api.test]}]}
- {name: b-off, url: 'http://b.example.com:80/api/v1', enabled: false, routes: [{name: roff, hosts: [api.test]}]}
";

#[test]
fn services_behind_one_address_are_told_apart_by_host_path_and_route() {
    let mut ingress = kong(ONE_INGRESS);
    for name in ["a.example.com", "b.example.com"] {
        ingress.resolved(0, name, &["10.0.0.1".parse().unwrap()]);
    }
    for (client_host, host, path, expected) in [
        ("x", "A.example.com", "/", "a/ra"),
        ("x", "a.example.com:80", "/", "a/ra"),
        ("x", "b.example.com", "/other", "b/rb"),
        // Both have that host and a path that fits: the route decides, then the longer path.
        ("b.test", "b.example.com", "/api/x", "b/rb"),
        ("api.test", "b.example.com", "/api/x", "b-api/rapi"),
        ("x", "b.example.com", "/api/v1/x?q", "b-api"),
        ("x", "b.example.com", "http://b.example.com/api", "b-api"),
        // The client's host was passed on.
        ("a.test", "a.test", "/", "a/ra"),
        ("b.test", "", "", "b/rb"),
        // Nothing decides: the first.
        ("x", "", "", "b-api"),
        ("x", "unknown", "/", "a"),
    ] {
        let upstream = to(ip("10.0.0.1:80"), host, path);
        let attributed = ingress.attribute(&get(client_host, "/"), Some(&upstream));
        assert_eq!(text(attributed), expected, "{client_host} {host} {path}");
    }
}

#[test]
fn an_unknown_address_is_looked_up_by_host_then_by_route() {
    let mut shop = kong(SHOP);
    for (host, client_path, expected) in [
        ("", "/nothing", "192.0.2.1:80"),
        ("Users.internal:8081", "/orders", "users"),
        ("users.internal", "/people", "users/u2"),
        ("cart.balanced", "/", "cart"),
        ("spare.internal:9000", "/", "cart"),
        ("10.0.0.1", "/users", "orders/orders"),
        ("users.internal:1", "/orders/1", "orders/orders"),
        ("elsewhere", "/cart", "cart"),
        ("Elsewhere:81", "/nothing", "elsewhere:81"),
        // A connect that failed is named as requests to that address were.
        ("", "/nothing", "elsewhere:81"),
    ] {
        let upstream = to(ip("192.0.2.1:80"), host, "");
        let attributed = shop.attribute(&get("x", client_path), Some(&upstream));
        assert_eq!(text(attributed), expected, "{host} {client_path}");
    }
}

#[test]
fn a_gateways_own_answer_belongs_to_its_route() {
    let mut shop = kong(&format!("{SHOP}\nroutes: [{{name: lost, paths: [/orders/lost]}}]"));
    for (path, expected) in
        [("/orders/7", "orders/orders"), ("/cart", "cart"), ("/orders/lost", "-"), ("/", "-"), ("", "-"), ("*", "-")]
    {
        let attributed = shop.attribute(&get("x", path), None);
        assert_eq!(text(attributed), expected, "{path}");
    }
}

#[test]
fn routes_of_disabled_services_match_nothing() {
    let mut attribution = kong(
        "
services:
- {host: a, enabled: false, routes: [{paths: [/a/b]}]}
- {host: b, routes: [{paths: [/a]}]}
",
    );
    assert_eq!(text(attribution.attribute(&get("x", "/a/b"), None)), "b");
}

#[test]
fn without_a_configuration_the_host_names_the_service() {
    let mut attribution = Attribution::new(&Config::default());
    let long = "a".repeat(300);
    for (host, expected) in [
        ("api.example.com", "api.example.com"),
        ("API.example.com:8080", "api.example.com:8080"),
        ("a b\u{e9}\n\x7fc", "abc"),
        ("\u{e9}", "[fd00::1]:80"),
        ("", "[fd00::1]:80"),
        (&long, &long[..255]),
    ] {
        let upstream = to(ip("[fd00::1]:80"), host, "/");
        let attributed = attribution.attribute(&get("x", "/"), Some(&upstream));
        assert_eq!(text(attributed), expected, "{host:?}");
    }
    assert_eq!(text(attribution.attribute(&get("x", "/"), None)), "-");
}

#[test]
fn a_failed_connect_is_named_as_requests_to_its_address_were() {
    let mut attribution = Attribution::new(&Config::default());
    let mut name = |network, peer, client_host, host| {
        let upstream = UpstreamFacts { network, ..to(ip(peer), host, if host.is_empty() { "" } else { "/" }) };
        text(attribution.attribute(&get(client_host, "/"), Some(&upstream)))
    };
    assert_eq!(name(1, "10.0.0.1:80", "a.test", ""), "10.0.0.1:80", "the client's word alone names nothing");
    for host in ["a.test", "b.test"] {
        assert_eq!(name(1, "10.0.0.1:80", "x", host), host);
    }
    assert_eq!(name(1, "10.0.0.1:80", "x", ""), "b.test", "the last one");
    assert_eq!(name(1, "10.0.0.1:80", "A.test", ""), "a.test", "the client's is one of them");
    assert_eq!(name(1, "10.0.0.1:81", "a.test", ""), "10.0.0.1:81");
    assert_eq!(name(2, "10.0.0.1:80", "a.test", ""), "10.0.0.1:80", "another namespace is another host");
}

#[test]
fn names_by_host_are_limited_and_those_given_stay() {
    let mut attribution = Attribution::new(&Config::default());
    let mut name = |host: &str| {
        let upstream = to(ip("10.0.0.1:80"), host, "");
        text(attribution.attribute(&get("x", "/"), Some(&upstream)))
    };
    for i in 0..FALLBACK_SERVICES_MAX {
        assert_eq!(name(&format!("host-{i}")), format!("host-{i}"));
    }
    assert_eq!(name("one-more"), OTHER_SERVICE);
    assert_eq!(name("HOST-0"), "host-0");
}
