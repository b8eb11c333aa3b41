//! Which route wins: cases from the rules of Kong's router, and a comparison with a plain look at every route.

use proptest::prelude::*;

use super::*;
use crate::attribution::host::HostRule;
use crate::config::{Endpoint, PathRule, Route, Service};

/// One service a route: the service's name is the route's.
fn routes(text: &str) -> Attribution {
    kong(&format!(
        "services: [{{name: s, host: s}}]\nroutes:\n{text}"
    ))
}

#[track_caller]
fn assert_routes(attribution: &mut Attribution, cases: &[(RequestFacts<'_>, &str)]) {
    for (request, expected) in cases {
        let attributed = text(attribution.attribute(request, None));
        let expected = match *expected {
            "-" => "-".to_owned(),
            route => format!("s/{route}"),
        };
        let (host, path) = (request.host, request.path);
        assert_eq!(attributed, expected, "{host:?} {path}");
    }
}

#[test]
fn more_kinds_of_conditions_win_then_the_weightier_kind() {
    let mut router = routes(
        "
- {service: s, name: path, paths: [/a/b/c]}
- {service: s, name: method, methods: [GET]}
- {service: s, name: path-method, paths: [/a/b], methods: [GET]}
- {service: s, name: host-method, hosts: [h], methods: [GET]}
- {service: s, name: host, hosts: [h2]}
- {service: s, name: all, hosts: [h], paths: [/a], methods: [GET]}
",
    );
    let post = RequestFacts {
        method: "POST",
        ..get("h2", "/a/b/c")
    };
    assert_routes(
        &mut router,
        &[
            (get("h", "/a"), "all"),
            (get("h", "/x"), "host-method"),
            (get("x", "/a/b/c"), "path-method"),
            (get("x", "/"), "method"),
            (get("h2", "/"), "host"),
            (post, "host"),
            (RequestFacts { host: None, ..post }, "path"),
            (
                RequestFacts {
                    host: None,
                    path: "/a",
                    ..post
                },
                "-",
            ),
        ],
    );
}

#[test]
fn plain_hosts_win_over_wildcards_and_a_wildcard_with_port_over_both() {
    let mut router = routes(
        "
- {service: s, name: left, hosts: ['*.example.com']}
- {service: s, name: right, hosts: [api.*]}
- {service: s, name: plain, hosts: [api.example.com, '[::1]']}
- {service: s, name: port, hosts: ['*.example.com:8080']}
- {service: s, name: plain-port, hosts: ['api.test:443']}
",
    );
    assert_routes(
        &mut router,
        &[
            (get("api.example.com", "/"), "plain"),
            (get("API.EXAMPLE.COM:81", "/"), "plain"),
            (get("api.example.com:8080", "/"), "port"),
            (get("www.example.com", "/"), "left"),
            (get("a.b.example.com:9", "/"), "left"),
            (get("example.com", "/"), "-"),
            (get(".example.com", "/"), "-"),
            (get("badexample.com", "/"), "-"),
            (get("api.org", "/"), "right"),
            (get("my.api.org", "/"), "-"),
            (get("[::1]:8000", "/"), "plain"),
            (
                RequestFacts {
                    scheme: Scheme::Https,
                    ..get("api.test", "/")
                },
                "plain-port",
            ),
            (get("api.test", "/"), "right"),
        ],
    );
}

#[test]
fn regexes_win_over_prefixes_and_longer_prefixes_over_shorter() {
    let mut router = routes(
        "
- {service: s, name: short, paths: [/v]}
- {service: s, name: long, paths: [/v1/users/all]}
- {service: s, name: regex, paths: ['~/v\\d+/users/\\d+$']}
- {service: s, name: first, paths: ['~/v\\d+/items'], regex_priority: 5}
- {service: s, name: second, paths: ['~/v1/items'], regex_priority: 6}
- {service: s, name: old, paths: [/same], created_at: 10}
- {service: s, name: older, paths: [/same, '~/other'], created_at: 9}
- {service: s, name: in-order, paths: [/same]}
",
    );
    assert_routes(
        &mut router,
        &[
            (get("x", "/v1/users/17"), "regex"),
            (get("x", "/v1/users/17/x"), "short"),
            (get("x", "/v1/users/all/x"), "long"),
            (get("x", "/v1/items"), "second"),
            (get("x", "/v2/items/more"), "first"),
            (get("x", "/videos"), "short"),
            (get("x", "/x/v1/items"), "-"),
            (get("x", "/same"), "older"),
            (get("x", "/other"), "older"),
        ],
    );
}

#[test]
fn paths_are_normalised_and_lose_their_query_before_they_are_compared() {
    let mut router = routes(
        "
- {service: s, name: a, paths: [/a/b]}
- {service: s, name: e, paths: [/caf%C3%A9]}
- {service: s, name: r, paths: ['~/r\\w$']}
",
    );
    for path in ["/a/b", "/%61/b?x=1", "/a//b", "/x/../a/./b", "http://h/a/b"] {
        assert_routes(&mut router, &[(get("x", path), "a")]);
    }
    for (path, expected) in [
        ("/a%2Fb", "-"),
        ("/?/a/b", "-"),
        ("/caf%c3%a9/x", "e"),
        ("/rx?y", "r"),
    ] {
        assert_routes(&mut router, &[(get("x", path), expected)]);
    }
}

#[test]
fn all_headers_must_agree_and_more_of_them_win() {
    let mut router = routes(
        "
- {service: s, name: one, headers: {X-Version: [v1, V2]}}
- {service: s, name: two, headers: {x-version: [v2], x-env: ['~*^dev\\d?$']}}
",
    );
    assert_eq!(
        router.header_names().collect::<Vec<_>>(),
        ["x-env", "x-version"]
    );
    for (version, env, expected) in [
        (Some("v1"), None, "one"),
        (Some("v2"), None, "one"),
        (Some("V2"), Some("DEV7"), "two"),
        (Some("v2"), Some("develop"), "one"),
        (Some("v3"), Some("dev"), "-"),
        (None, Some("dev"), "-"),
    ] {
        let headers = |name: &str| match name {
            "x-version" => version,
            "x-env" => env,
            _ => None,
        };
        let request = RequestFacts {
            headers: &headers,
            ..get("x", "/")
        };
        assert_routes(&mut router, &[(request, expected)]);
    }
}

#[test]
fn server_names_are_asked_of_tls_only() {
    let mut router = routes(
        "
- {service: s, name: sni, protocols: [https], snis: [a.test., '*.b.test'], paths: [/p]}
- {service: s, name: https, protocols: [https], paths: [/p]}
",
    );
    let tls = |sni| RequestFacts {
        scheme: Scheme::Https,
        sni,
        ..get("x", "/p")
    };
    assert_routes(
        &mut router,
        &[
            (tls(Some("a.test")), "sni"),
            (tls(Some("A.test.")), "sni"),
            (tls(Some("x.b.test")), "sni"),
            (tls(Some("b.test")), "https"),
            (tls(None), "https"),
            (get("x", "/p"), "sni"),
        ],
    );
}

#[test]
fn a_route_that_asks_for_nothing_matches_nothing() {
    let mut router = routes("- {service: s, name: empty, expression: 'http.path == \"/\"'}");
    assert_routes(&mut router, &[(get("x", "/"), "-")]);
}

const HOSTS: [&str; 6] = ["a.b", "a.b:81", "*.b", "*.b:81", "a.*", "c"];
const REGEXES: [&str; 3] = ["~/x+$", "~/(x|y)", "~/.*/y"];

fn route() -> impl Strategy<Value = Route> {
    let hosts = prop::collection::vec(prop::sample::select(&HOSTS[..]), 0..3);
    let path = prop_oneof![
        4 => "/[xy/]{0,4}".prop_map(|path| path),
        1 => prop::sample::select(&REGEXES[..]).prop_map(str::to_owned),
    ];
    let paths = prop::collection::vec(path, 0..4);
    let methods = prop::collection::vec(prop::sample::select(&["GET", "PUT"][..]), 0..2);
    (hosts, paths, methods, 0..3_i64).prop_map(|(hosts, paths, methods, regex_priority)| Route {
        hosts: hosts.into_iter().map(Arc::from).collect(),
        paths: paths.iter().map(|p| PathRule::parse(p).unwrap()).collect(),
        methods: methods.into_iter().map(Arc::from).collect(),
        regex_priority,
        ..Route::default()
    })
}

/// The first of the best among all pairs of route and path, each looked at.
fn naive<'a>(routes: &'a [Route], request: &RequestFacts<'_>) -> Option<&'a str> {
    let path = normalize(request.path.as_bytes());
    let mut best: Option<(Vec<i64>, &str)> = None;
    for route in routes {
        let (host, port) = crate::config::split_port(request.host?);
        let host_fits = |rule: &Arc<str>| {
            let rule = HostRule::new(rule);
            rule.name.matches(host) && rule.port.is_none_or(|own| own == port.unwrap_or(80))
        };
        let hosts = route.hosts.is_empty() || route.hosts.iter().any(host_fits);
        let methods =
            route.methods.is_empty() || route.methods.iter().any(|m| **m == *request.method);
        let paths: Vec<Option<&PathRule>> = match route.paths.len() {
            0 => vec![None],
            _ => route.paths.iter().map(Some).collect(),
        };
        let is_empty = route.hosts.is_empty() && route.methods.is_empty() && route.paths.is_empty();
        for rule in paths {
            let path_fits = match rule {
                None => true,
                Some(PathRule::Prefix(prefix)) => path.starts_with(prefix),
                Some(PathRule::Regex(regex)) => regex.is_match(&path),
            };
            if is_empty || !(hosts && methods && path_fits) {
                continue;
            }
            let rank = rank(route, rule);
            if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                best = route.name.as_deref().map(|name| (rank, name));
            }
        }
    }
    best.map(|(_, name)| name)
}

fn rank(route: &Route, rule: Option<&PathRule>) -> Vec<i64> {
    let has = |list_is_empty: bool| i64::from(!list_is_empty);
    let (host, path, method) = (
        has(route.hosts.is_empty()),
        has(route.paths.is_empty()),
        has(route.methods.is_empty()),
    );
    let star = |host: &&Arc<str>| host.contains('*');
    let star_port = route.hosts.iter().filter(star).any(|h| h.contains(':'));
    let no_star = !route.hosts.iter().any(|h| star(&h));
    let (regex, length) = match rule {
        Some(PathRule::Regex(_)) => (1, 0),
        Some(PathRule::Prefix(prefix)) => (0, prefix.len() as i64),
        None => (0, 0),
    };
    vec![
        host + path + method,
        host,
        path,
        method,
        i64::from(star_port),
        i64::from(no_star),
        regex,
        regex * route.regex_priority,
        length,
    ]
}

proptest! {
    #[test]
    fn the_router_agrees_with_a_look_at_every_route(
        routes in prop::collection::vec(route(), 0..20),
        asked in prop::collection::vec(
            (prop::sample::select(&["a.b", "a.b:81", "z.b", "z.b:81", "a.z", "c:81"][..]), "/[xy/]{0,5}", any::<bool>()),
            1..20,
        ),
    ) {
        let mut service = Service::new("s", Endpoint::tcp("s", 80));
        service.routes = routes;
        for (route, index) in service.routes.iter_mut().zip(0..) {
            route.name = Some(format!("r{index}").into());
        }
        let config = Config { services: vec![service], ..Config::default() };
        let mut attribution = Attribution::new(&config);
        for (host, path, is_get) in &asked {
            let method = if *is_get { "GET" } else { "PUT" };
            let request = RequestFacts { method, ..get(host, path) };
            let found = text(attribution.attribute(&request, None));
            let expected = naive(&config.services[0].routes, &request);
            prop_assert_eq!(found, expected.map_or("-".to_owned(), |name| format!("s/{name}")));
        }
    }
}
