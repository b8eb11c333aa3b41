//! Real-looking configurations, in files.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::{Listen, Location, LocationRule, ServerName};

const MAIN: &str = r#"
user www-data;
load_module modules/ngx_stream_module.so;
events { worker_connections 768; }
stream {
    upstream postgres { server 10.0.0.5:5432; }
    server { listen 5432; proxy_pass postgres; }
}
http {
    include mime.types;
    log_format main '$remote_addr - "$request" $status {x}';
    map $http_upgrade $connection_upgrade { default upgrade; "" close; "~^a{2}$" b; }
    upstream Orders {
        zone orders 64k;
        least_conn;
        server 10.0.0.1:8080 weight=5 max_fails=3;
        server orders2.internal backup;
        server unix:/run/orders.sock;
        server [fd00::1]:8081 down;
        server srv.internal service=http resolve;
        keepalive 32;
    }
    upstream php { server unix:/run/php-fpm.sock; }
    upstream both { server 10.0.0.2:9000; }
    include conf.d/*.conf;
    include sites-enabled/*;
}
"#;

const SHOP: &str = r#"
server {
    listen 80 default_server;
    listen [::]:80 default_server;
    server_name shop.example.com *.shop.example.com .example.net www.example.* "~^(?<sub>.+)\.Shop\.io$";
    root /var/www;
    location / { try_files $uri $uri/ @app; }
    location @app { proxy_pass http://app.internal:3000; }
    location = /health { access_log off; return 200 "ok\n"; }
    location /orders/ {
        proxy_set_header Host $host;
        proxy_pass http://orders/v1/;
        location ~ \.(png|jpe?g)$ { proxy_pass https://CDN.example.com; }
    }
    location ^~ /static/ { alias /srv/static/; }
    location ~* \.php$ { fastcgi_pass php; include fastcgi_params; }
    location ~ /\.(?!well-known).* { deny all; }
    location =/sock { proxy_pass http://unix:/run/app.sock:/x/; }
}
"#;

const API: &str = r#"
# An API that speaks gRPC as well
server {
    listen 127.0.0.1:8443 ssl http2;
    listen unix:/run/api.sock;
    listen 9000-9002;
    server_name api.example.com;
    set $target http://10.1.1.1:80;
    location /v1 { proxy_pass $target; }
    location /v2 { proxy_pass http://$arg_x.internal:8080/; }
    location /v3 { proxy_pass http://v3.internal:8080$request_uri; }
    location /pkg.Greeter { grpc_pass grpcs://greeter.internal; }
    location /pkg.Plain { grpc_pass [::1]:50051; }
    location /both { proxy_pass http://both; if ($http_x) { proxy_pass http://canary.internal:81; } }
    location /if { limit_except GET { proxy_pass http://writes.internal; } }
    location /lua { content_by_lua_block { ngx.say("}") -- it's } 
        local t = { proxy_pass = "x" }
    } }
    location /fast { uwsgi_pass both; }
}
"#;

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn gateway() -> Config {
    let folder = tempfile::tempdir().unwrap();
    write(
        folder.path(),
        &[
            ("nginx.conf", MAIN),
            ("mime.types", "types { text/html html htm; application/json json; }"),
            ("fastcgi_params", "fastcgi_param QUERY_STRING $query_string;"),
            ("conf.d/10-shop.conf", SHOP),
            ("conf.d/.hidden.conf", "nonsense"),
            ("conf.d/20-shop.conf.bak", "nonsense"),
            ("sites-enabled/api", API),
        ],
    );
    load(&folder.path().join("nginx.conf"), &mut Files::default()).unwrap()
}

fn error(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    let error = load(&folder.path().join("nginx.conf"), &mut Files::default()).unwrap_err().to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn upstreams_and_targets_become_services() {
    let config = gateway();
    let services: Vec<_> = config.services.iter().map(|s| format!("{} at {}", s.name, s.endpoint)).collect();
    assert_eq!(
        services,
        [
            "Orders at orders:80",
            "both at both:80",
            "app.internal:3000 at app.internal:3000",
            "cdn.example.com at cdn.example.com:443",
            "unix:/run/app.sock at unix:/run/app.sock",
            "v3.internal:8080 at v3.internal:8080",
            "greeter.internal at greeter.internal:443",
            "[::1]:50051 at [::1]:50051",
            "canary.internal:81 at canary.internal:81",
            "writes.internal at writes.internal:80",
        ]
    );
    let targets: Vec<_> = config.upstreams[0].targets.iter().map(Endpoint::to_string).collect();
    assert_eq!(targets, ["10.0.0.1:8080", "orders2.internal:80", "unix:/run/orders.sock", "[fd00::1]:8081"]);
    assert_eq!(config.upstreams.len(), 2, "php-fpm speaks no HTTP, postgres is a stream's");
}

/// `name -> service` of all locations, those within others after them.
fn routes(locations: &[Location]) -> Vec<String> {
    let one = |location: &Location| format!("{} -> {}", location.name, location.service.as_deref().unwrap_or("-"));
    locations.iter().flat_map(|l| [vec![one(l)], routes(&l.locations)].concat()).collect()
}

#[test]
fn locations_become_routes() {
    let config = gateway();
    assert_eq!(
        routes(&config.servers[0].locations),
        [
            "shop.example.com / -> -",
            "shop.example.com = /health -> -",
            "shop.example.com /orders/ -> Orders",
            r"shop.example.com ~ \.(png|jpe?g)$ -> cdn.example.com",
            "shop.example.com ^~ /static/ -> -",
            r"shop.example.com ~* \.php$ -> -",
            r"shop.example.com ~ /\.(?!well-known).* -> -",
            "shop.example.com =/sock -> unix:/run/app.sock",
        ]
    );
    assert_eq!(
        routes(&config.servers[1].locations),
        [
            "api.example.com /v1 -> -",
            "api.example.com /v2 -> -",
            "api.example.com /v3 -> v3.internal:8080",
            "api.example.com /pkg.Greeter -> greeter.internal",
            "api.example.com /pkg.Plain -> [::1]:50051",
            "api.example.com /both -> both",
            "api.example.com /if -> -",
            "api.example.com /lua -> -",
            "api.example.com /fast -> -",
        ]
    );
    let shop = &config.servers[0].locations;
    assert!(shop[2].redirects && !shop[0].redirects && !shop[3].redirects, "only what is passed on");
    assert_eq!(shop[1].rule, LocationRule::Exact((*b"/health").into()));
    assert_eq!(shop[3].rule, LocationRule::Prefix { path: (*b"/static/").into(), is_final: true });
    assert!(matches!(&shop[5].rule, LocationRule::Regex(pattern) if !pattern.is_exact()));
    assert_eq!(shop[6].rule, LocationRule::Exact((*b"/sock").into()));
}

#[test]
fn servers_have_their_addresses_and_names() {
    let config = gateway();
    let tcp = |address: Option<&str>, ports, is_default| {
        let address = address.map(|address| address.parse().unwrap());
        Listen::Tcp { address, ports, is_default }
    };
    assert_eq!(config.servers[0].listens, [tcp(None, 80..=80, true), tcp(None, 80..=80, true)]);
    let loopback = tcp(Some("127.0.0.1"), 8443..=8443, false);
    assert_eq!(config.servers[1].listens, [loopback, Listen::Unix, tcp(None, 9000..=9002, false)]);
    let names = &config.servers[0].names;
    assert_eq!(
        names[..5],
        [
            ServerName::Exact("shop.example.com".into()),
            ServerName::Suffix(".shop.example.com".into()),
            ServerName::Exact("example.net".into()),
            ServerName::Suffix(".example.net".into()),
            ServerName::Prefix("www.example.".into()),
        ]
    );
    let ServerName::Regex(pattern) = &names[5] else { panic!("no expression in {names:?}") };
    assert_eq!(pattern.is_match(b"a.shop.io"), Some(true));
}

#[test]
fn addresses_to_listen_on_are_read_as_nginx_does() {
    for (text, address, port) in [
        ("8080", None, 8080),
        ("*:8080", None, 8080),
        ("0.0.0.0:81", None, 81),
        ("10.0.0.1", Some("10.0.0.1"), 80),
        ("10.0.0.1:82", Some("10.0.0.1"), 82),
        ("[::]:83", None, 83),
        ("[::1]", Some("::1"), 80),
        ("[::1]:84", Some("::1"), 84),
        ("localhost:85", None, 85),
        ("localhost", None, 80),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let main = format!("http {{ server {{ listen {text}; }} }}");
        write(folder.path(), &[("nginx.conf", &main)]);
        let config = load(&folder.path().join("nginx.conf"), &mut Files::default()).unwrap();
        let address = address.map(|address| address.parse().unwrap());
        let expected = Listen::Tcp { address, ports: port..=port, is_default: false };
        assert_eq!(config.servers[0].listens, [expected], "{text}");
    }
}

#[test]
fn errors_name_file_line_and_directive() {
    for (text, expected) in [
        ("a;\nhttp {\n server {", "nginx.conf:3: a block is not closed by \"}\""),
        ("a;\n}", "nginx.conf:2: an unexpected \"}\""),
        ("a;\n\n;", "nginx.conf:3: an unexpected \";\" or \"{\""),
        ("http {\n a b\n}", "nginx.conf:2: a directive is not ended by \";\""),
        ("a;\nb 'c;\n", "nginx.conf:2: a quote is not closed"),
    ] {
        assert_eq!(error(&[("nginx.conf", text)]), format!("{expected}; mend it at this line, `nginx -t` says more"));
    }
    for (text, expected) in [
        (
            "http { server {\nlocation / { proxy_pass backend; } } }",
            "2: proxy_pass: \"backend\" is not an address to pass to; write http://HOST:PORT/PATH, http://UPSTREAM or \
             http://unix:/SOCKET:/PATH",
        ),
        (
            "http { server {\n\nlocation { } } }",
            "3: location: \"\" is not a location; write a path, or =, ^~, ~ or ~* \
          and what it asks for",
        ),
        (
            "http { upstream a {\n server b:x; } }",
            "2: server: \"b:x\" is not an address; write HOST:PORT, [IPV6]:PORT or unix:/PATH",
        ),
        (
            "http { server { listen\n a:b; } }",
            "1: listen: \"a:b\" is not an address to listen on; write ADDRESS:PORT, ADDRESS, PORT or unix:/PATH",
        ),
        (
            "\ninclude absent.conf;",
            "2: include: \"absent.conf\" cannot be read: No such file or directory (os error 2); give this user the right \
             to read it, or correct the name",
        ),
        ("upstream;\nhttp { upstream { } }", "2: upstream: has no argument; add its argument"),
    ] {
        assert_eq!(error(&[("nginx.conf", text)]), format!("nginx.conf:{expected}"));
    }
    let included = [("nginx.conf", "http { include a/*.conf; }"), ("a/b.conf", "server {\n listen x:y;\n}")];
    assert!(error(&included).starts_with("a/b.conf:2: listen: "));
    assert!(error(&[("nginx.conf", "include nginx.conf;")]).contains("nested too deep"));
}

#[test]
fn all_files_that_were_read_are_watched_also_where_one_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &[("nginx.conf", "include a.conf;"), ("a.conf", "}")]);
    let mut files = Files::default();
    load(&folder.path().join("nginx.conf"), &mut files).unwrap_err();
    assert!(!files.have_changed());
    write(folder.path(), &[("a.conf", "http { }")]);
    assert!(files.have_changed());
}

proptest! {
    #[test]
    fn mutated_files_are_read_or_refused_but_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), "[ -~\n]", 0_usize..12), 1..8),
    ) {
        let shop = SHOP.replace("include fastcgi_params;", "");
        let mut bytes = format!("http {{ {shop} {API} upstream orders {{ server a; }} }}").into_bytes();
        for (at, text, cut) in edits {
            let at = at.index(bytes.len());
            let end = (at + cut).min(bytes.len());
            bytes.splice(at..end, text.into_bytes());
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nginx.conf");
        fs::write(&path, bytes).unwrap();
        if let Err(error) = load(&path, &mut Files::default()) {
            prop_assert_eq!(error.to_string().lines().count(), 1);
        }
    }
}

#[test]
fn listeners_with_nothing_but_the_status_are_not_the_proxys() {
    let folder = tempfile::tempdir().unwrap();
    let text = "http {
        server { listen 127.0.0.1:8100; location / { stub_status; } }
        server { listen 8101; location = /status { stub_status on; allow 127.0.0.1; } location / { return 404; } }
        server { listen 8102; location / { stub_status; } }
        server { listen 8102; server_name b; location / { proxy_pass http://b; } }
        server { listen 8103; return 204; }
    }";
    write(folder.path(), &[("nginx.conf", text)]);
    let config = load(&folder.path().join("nginx.conf"), &mut Files::default()).unwrap();
    assert_eq!(config.admin_ports, [8100]);
}
