//! Requests that nginx answers itself, by its servers and locations.

use super::*;
use crate::config::Sources;

/// A configuration of nginx whose `http` block holds `text`, under the observer's own configuration.
fn nginx_under(own: &str, text: &str) -> Attribution {
    let folder = tempfile::tempdir().unwrap();
    let [own_file, nginx] = ["o.yml", "nginx.conf"].map(|name| folder.path().join(name));
    std::fs::write(&own_file, own).unwrap();
    std::fs::write(&nginx, format!("events {{}}\nhttp {{\n{text}\n}}\n")).unwrap();
    let sources = Sources { own: Some(own_file), kong: None, nginx: Some(nginx) };
    Attribution::new(&sources.read().unwrap().config())
}

fn nginx(text: &str) -> Attribution {
    nginx_under("", text)
}

/// One server whose locations pass to a service called by their number: `location RULE { ... }` for each.
fn locations(rules: &[&str]) -> Attribution {
    let location = |(rule, number): (&&str, usize)| format!("location {rule} {{ proxy_pass http://s{number}; }}\n");
    let locations: String = rules.iter().zip(0..).map(location).collect();
    nginx(&format!("server {{ server_name x; {locations} }}"))
}

fn route(attribution: &mut Attribution, path: &str) -> String {
    match attribution.attribute(&get("x", path), None) {
        Attributed::Service { service, .. } => service.to_string(),
        Attributed::Unattributed => "-".to_owned(),
    }
}

fn at<'a>(local: &str, request: RequestFacts<'a>) -> RequestFacts<'a> {
    RequestFacts { local: Some(local.parse().unwrap()), ..request }
}

#[test]
fn nginx_documentations_example_holds() {
    // Configurations A to E of its page on `location`.
    let mut a = locations(&["= /", "/", "/documents/", "^~ /images/", r"~* \.(gif|jpg|jpeg)$"]);
    for (path, expected) in [
        ("/", "s0"),
        ("/index.html", "s1"),
        ("/documents/document.html", "s2"),
        ("/images/1.gif", "s3"),
        ("/documents/1.jpg", "s4"),
        ("/documents/1.JPG?x=/images/", "s4"),
    ] {
        assert_eq!(route(&mut a, path), expected, "{path}");
    }
}

#[test]
fn exact_then_final_prefix_then_expressions_in_order_then_the_longest_prefix() {
    let mut a = locations(&["~ ^/a/b", "~ ^/a", "/a/b/c", "= /a/b/c", "^~ /a/b/f", "/a/b/f/g", "/z"]);
    for (path, expected) in [
        ("/a/b/c", "s3"),
        ("/a/b/c/d", "s0"),
        ("/a/x", "s1"),
        ("/a/b/f", "s4"),
        ("/a/b/f/g", "s0"),
        ("/zz", "s6"),
        ("/y", "-"),
    ] {
        assert_eq!(route(&mut a, path), expected, "{path}");
    }
}

#[test]
fn paths_are_compared_as_nginx_normalises_them() {
    let mut a = locations(&["/a/b", "= '/c d'", "~ ^/e/f$"]);
    for (path, expected) in [
        ("/a%2Fb", "s0"),
        ("//a//b", "s0"),
        ("/x/../a/b?q", "s0"),
        ("http://x/a/b", "s0"),
        ("/c%20d", "s1"),
        ("/e/./f", "s2"),
        ("/A/b", "-"),
    ] {
        assert_eq!(route(&mut a, path), expected, "{path}");
    }
}

#[test]
fn a_prefix_with_a_slash_also_has_the_redirect_to_it() {
    let mut a = locations(&["/a/", "/b/", "/b", "= /c/"]);
    for (path, expected) in [("/a", "s0"), ("/aa", "-"), ("/b", "s2"), ("/b/", "s1"), ("/c", "s3")] {
        assert_eq!(route(&mut a, path), expected, "{path}");
    }
}

#[test]
fn locations_within_come_before_expressions_further_out() {
    let mut a = nginx(
        r"server {
            location /a/ {
                proxy_pass http://outer;
                location /a/b/ { proxy_pass http://inner; }
                location ~ \.png$ { proxy_pass http://inner-png; }
                location = /a/x.html { proxy_pass http://inner-exact; }
            }
            location ^~ /f/ { proxy_pass http://final; location ~ \.png$ { return 204; } }
            location ~ \.(png|html)$ { proxy_pass http://outer-png; location ~ ^/q { proxy_pass http://q; } }
        }",
    );
    for (path, expected) in [
        ("/a/1", "outer"),
        ("/a/b/1", "inner"),
        ("/a/b/1.png", "inner-png"),
        ("/a/b/1.html", "outer-png"),
        ("/a/x.html", "inner-exact"),
        ("/f/1.html", "final"),
        ("/f/1.png", "-"),
        ("/1.png", "outer-png"),
        ("/q.png", "q"),
    ] {
        assert_eq!(route(&mut a, path), expected, "{path}");
    }
}

#[test]
fn an_expression_that_cannot_be_told_gives_no_service_instead_of_a_wrong_one() {
    let mut a = locations(&["/", r"~ /\.(?!well-known)", "^~ /safe/"]);
    for (path, expected) in [("/a", "s0"), ("/.git", "-"), ("/.well-known/x", "-"), ("/safe/.x", "s2")] {
        assert_eq!(route(&mut a, path), expected, "{path}");
    }
}

const SERVERS: &str = "
    server { listen 80; server_name exact.test; location / { proxy_pass http://exact; } }
    server { listen 80; server_name *.wild.test; location / { proxy_pass http://wild; } }
    server { listen 80; server_name *.long.wild.test; location / { proxy_pass http://long; } }
    server { listen 80; server_name wild.*; location / { proxy_pass http://after; } }
    server { listen 80; server_name .dot.test; location / { proxy_pass http://dot; } }
    server { listen 80; server_name ~^r\\d+\\.test$; location / { proxy_pass http://regex; } }
    server { listen 80 default_server; server_name _; location / { proxy_pass http://default; } }
    server { listen 10.0.0.1:80; server_name other.test; location / { proxy_pass http://address; } }
    server { listen 81; server_name one.test; location / { proxy_pass http://one; } }
    server { listen 81; server_name exact.test; location / { proxy_pass http://two; } }
";

#[test]
fn the_server_is_told_by_address_then_name() {
    let mut a = nginx(SERVERS);
    for (local, host, expected) in [
        ("10.0.0.9:80", "exact.test", "exact"),
        ("10.0.0.9:80", "EXACT.test.:80", "exact"),
        ("10.0.0.9:80", "a.wild.test", "wild"),
        ("10.0.0.9:80", "a.long.wild.test", "long"),
        ("10.0.0.9:80", "wild.org", "after"),
        ("10.0.0.9:80", "dot.test", "dot"),
        ("10.0.0.9:80", "a.dot.test", "dot"),
        ("10.0.0.9:80", "r12.test", "regex"),
        ("10.0.0.9:80", "rx.test", "default"),
        ("[::ffff:10.0.0.1]:80", "exact.test", "address"),
        ("10.0.0.9:81", "exact.test", "two"),
        ("10.0.0.9:81", "none.test", "one"),
        ("10.0.0.9:82", "exact.test", "-"),
    ] {
        let request = at(local, get(host, "/"));
        let expected = if expected == "-" { "-".to_owned() } else { format!("{expected}/") };
        let found = text(a.attribute(&request, None));
        assert!(found == expected || found.starts_with(&expected) && expected != "-", "{local} {host}: {found}");
    }
}

#[test]
fn a_unix_sockets_server_is_among_those_that_listen_on_one() {
    let mut a = nginx(
        "server { listen 80; location / { proxy_pass http://tcp; } }
         server { listen unix:/run/x.sock; location / { proxy_pass http://unix; } }",
    );
    assert_eq!(text(a.attribute(&get("x", "/"), None)), "unix//");
}

#[test]
fn several_services_at_one_address_are_told_apart_by_the_location() {
    let mut a = nginx(
        "upstream a { server 10.0.0.1:80; } upstream b { server 10.0.0.1:80; }
         server { server_name s; location /a { proxy_pass http://a; } location /b { proxy_pass http://b; } }",
    );
    let upstream = to(ip("10.0.0.1:80"), "client-host", "/");
    assert_eq!(text(a.attribute(&get("s", "/b/1"), Some(&upstream))), "b/s /b");
    assert_eq!(text(a.attribute(&get("s", "/a/1"), Some(&upstream))), "a/s /a");
}

#[test]
fn a_target_that_a_variable_names_is_told_by_where_the_request_went() {
    let mut a = nginx(
        "upstream blue { server 10.0.0.1:80; }
         server { location / { proxy_pass http://$color; } location /ext { proxy_pass $url; } }",
    );
    let request = get("s", "/");
    assert_eq!(text(a.attribute(&request, Some(&to(ip("10.0.0.1:80"), "blue", "/")))), "blue");
    assert_eq!(text(a.attribute(&request, Some(&to(ip("10.0.0.2:80"), "green.test", "/")))), "green.test");
    assert_eq!(text(a.attribute(&request, None)), "-");
}

#[test]
fn the_own_files_routes_and_names_win() {
    let own = "
services:
- {name: orders, url: 'http://10.0.0.1:8080'}
- {name: special, host: h, routes: [{paths: [/shop/special]}]}
";
    let mut a = nginx_under(
        own,
        "upstream backend { server 10.0.0.1:8080; }
         server { location /shop { proxy_pass http://backend; } }",
    );
    assert_eq!(text(a.attribute(&get("s", "/shop/1"), None)), "orders//shop");
    assert_eq!(text(a.attribute(&get("s", "/shop/special/1"), None)), "special");
    let upstream = to(ip("10.0.0.1:8080"), "backend", "/shop/1");
    assert_eq!(text(a.attribute(&get("s", "/shop/1"), Some(&upstream))), "orders//shop");
}

#[test]
fn a_new_configuration_takes_over_what_names_resolved_to() {
    let mut before = own("services: [{name: a, host: one.test}, {name: b, host: two.test}]");
    before.resolved(0, "one.test", &["10.0.0.1".parse().unwrap()]);
    let mut after = own("services: [{name: renamed, host: one.test}, {name: new, host: three.test}]");
    after.take_over(&mut before);
    let upstream = to(ip("10.0.0.1:80"), "", "/");
    assert_eq!(text(after.attribute(&get("x", "/"), Some(&upstream))), "renamed");
}
