//! Several sources as one configuration.

use std::path::Path;

use super::*;

#[test]
fn the_own_files_services_and_upstreams_replace_kongs() {
    let kong = Config::parse_kong("kong.yml", super::KONG_2_1).unwrap();
    let own = "
services: [{name: reports, host: h}]
upstreams: [{name: cart-upstream, targets: ['a:1']}]
datastore: d:1
";
    let merged = Config::parse_own("o.yml", own).unwrap().merge(kong);
    let names: Vec<_> = merged.services.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["reports", "cart"]);
    assert_eq!(merged.services[0].endpoint, Endpoint::tcp("h", 80));
    assert_eq!(merged.upstreams.len(), 1);
    assert_eq!(merged.upstreams[0].targets, [Endpoint::tcp("a", 1)]);
    assert_eq!(merged.datastore, Some(Endpoint::tcp("d", 1)));
}

const NGINX: &str = "
http {
  upstream backend { server 10.0.0.7:8080; server 10.0.0.8:8080; }
  upstream other { server 10.0.0.9:80; }
  server { location /a { proxy_pass http://backend; location /a/b { proxy_pass http://other; } } }
}
";

fn sources(folder: &Path, files: [(&str, &str); 3]) -> Sources {
    let [own, kong, nginx] = files.map(|(name, text)| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    });
    Sources { own, kong, nginx }
}

#[test]
fn sources_win_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let own = "services: [{name: a, host: own}]";
    let kong = "_format_version: '3.0'\nservices: [{name: a, host: file}, {name: b, host: file}]";
    let admin = "_format_version: '3.0'\nservices: [{name: b, host: admin}, {name: c, host: admin}]";
    let nginx = "http { upstream c { server n:1; } upstream d { server n:1; } }";
    let admin = Config::parse_kong("admin", admin).unwrap();
    let sources = sources(folder.path(), [("o.yml", own), ("k.yml", kong), ("nginx.conf", nginx)]);
    let mut sourced = sources.read().unwrap();
    sourced.take_kong_admin(admin);
    let config = sourced.config();
    let services: Vec<_> = config.services.iter().map(|s| format!("{} {}", s.name, s.endpoint)).collect();
    assert_eq!(services, ["a own:80", "b file:80", "c admin:80", "d d:80"]);
}

#[test]
fn a_service_with_all_targets_of_one_of_nginx_gives_it_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let own = "
services: [{name: orders, host: pool}, {name: half, url: 'http://10.0.0.7:8080'}]
upstreams: [{name: pool, targets: ['10.0.0.8:8080', '10.0.0.7:8080']}]
";
    let kong = "_format_version: '3.0'";
    let sources = sources(folder.path(), [("o.yml", own), ("k.yml", kong), ("nginx.conf", NGINX)]);
    let config = sources.read().unwrap().config();
    let names: Vec<_> = config.services.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["orders", "half", "other"]);
    let outer = &config.servers[0].locations[0];
    assert_eq!(outer.service.as_deref(), Some("orders"));
    assert_eq!(outer.locations[0].service.as_deref(), Some("other"));
}

#[test]
fn several_services_with_the_targets_of_one_of_nginx_are_not_told_by_its_locations() {
    let folder = tempfile::tempdir().unwrap();
    let own = "services: [{name: one, url: 'http://10.0.0.9:80/1'}, {name: two, url: 'http://10.0.0.9:80/2'}]";
    let sources = sources(folder.path(), [("o.yml", own), ("k.yml", "_format_version: '3.0'"), ("nginx.conf", NGINX)]);
    let config = sources.read().unwrap().config();
    let names: Vec<_> = config.services.iter().map(|s| &*s.name).collect();
    assert_eq!(names, ["one", "two", "backend"]);
    let outer = &config.servers[0].locations[0];
    assert_eq!((outer.service.as_deref(), outer.locations[0].service.as_deref()), (Some("backend"), None));
}
