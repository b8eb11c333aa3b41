//! The client against a small stand-in that speaks as Kong 3's Admin API does.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;
use crate::config::{Endpoint, PathRule};

const SERVICE: &str = r#"{"id":"0b1d4f2c-5a3e-4a43-9d2b-3c7a1a3f0001","name":"orders","host":"orders-pool","port":80,
"protocol":"http","path":null,"retries":5,"connect_timeout":60000,"write_timeout":60000,"read_timeout":60000,
"tags":null,"client_certificate":null,"tls_verify":null,"tls_verify_depth":null,"ca_certificates":null,"enabled":true,
"created_at":1690000000,"updated_at":1690000000,"of_a_later_kong":{"x":1}}"#;

const NAMELESS: &str = r#"{"id":"0b1d4f2c-5a3e-4a43-9d2b-3c7a1a3f0002","name":null,"host":"users.internal","port":8443,
"protocol":"https","path":"/api","enabled":false,"tags":["a"]}"#;

const ROUTE: &str = r#"{"id":"5c2b8e57-0000-4000-8000-000000000001","name":"orders-v","protocols":["http","https"],
"methods":["GET"],"hosts":null,"paths":["~/v\\d+/orders$","/orders"],"headers":{"x-env":["~*^dev$"]},
"https_redirect_status_code":426,"regex_priority":3,"strip_path":true,"path_handling":"v0","preserve_host":false,
"request_buffering":true,"response_buffering":true,"snis":null,"sources":null,"destinations":null,"tags":null,
"service":{"id":"0b1d4f2c-5a3e-4a43-9d2b-3c7a1a3f0001"},"created_at":1690000001,"updated_at":1690000001}"#;

const UPSTREAM: &str = r#"{"id":"a3d6f7c1-0000-4000-8000-000000000001","name":"orders-pool","algorithm":"round-robin",
"hash_on":"none","hash_fallback":"none","hash_on_header":null,"hash_on_cookie_path":"/","slots":10000,
"healthchecks":{"active":{"type":"http"},"threshold":0},"host_header":null,"client_certificate":null,
"use_srv_name":false,"tags":null,"created_at":1690000002,"updated_at":1690000002}"#;

const TARGET: &str = r#"{"id":"d0000000-0000-4000-8000-000000000001","target":"10.0.0.1:8080","weight":100,
"upstream":{"id":"a3d6f7c1-0000-4000-8000-000000000001"},"tags":null,"created_at":1690000003.123,
"updated_at":1690000003.123}"#;

const ROUTES_AT: &str = "/routes?size=1000";
const SERVICES_AT: &str = "/services?size=1000";
const UPSTREAMS_AT: &str = "/upstreams?size=1000";
const TARGETS_AT: &str = "/upstreams/a3d6f7c1-0000-4000-8000-000000000001/targets?size=1000";

/// Answers by target; what is not there is 404. Heads of all requests are kept.
struct StandIn {
    address: SocketAddr,
    answers: Arc<Mutex<BTreeMap<String, String>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// `closes`: it ends the connection after each answer.
    fn start(closes: bool) -> Self {
        Self::start_with(closes, None)
    }

    fn start_with(closes: bool, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stand_in = Self { address: listener.local_addr().unwrap(), answers: Arc::default(), heads: Arc::default() };
        for at in [ROUTES_AT, SERVICES_AT, UPSTREAMS_AT] {
            stand_in.say(at, &page(&[], None));
        }
        let (answers, heads) = (stand_in.answers.clone(), stand_in.heads.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (answers, heads, tls) = (answers.clone(), heads.clone(), tls.clone());
                // The client ends connections as it likes.
                thread::spawn(move || match tls {
                    None => serve(stream?, &answers, &heads, closes),
                    Some(config) => {
                        let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
                        serve(StreamOwned::new(connection, stream?), &answers, &heads, closes)
                    }
                });
            }
        });
        stand_in
    }

    fn say(&self, at: &str, answer: &str) {
        self.answers.lock().unwrap().insert(at.to_owned(), answer.to_owned());
    }

    fn admin(&self) -> KongAdmin {
        KongAdmin { url: format!("http://{}", self.address).parse().unwrap(), token_file: None, ca_file: None }
    }
}

fn serve(
    stream: impl Read + Write,
    answers: &Mutex<BTreeMap<String, String>>,
    heads: &Mutex<Vec<String>>,
    closes: bool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        heads.lock().unwrap().push(head);
        let answer = answers.lock().unwrap().get(&target).cloned();
        let (status, body) = match &answer {
            Some(denied) if denied.starts_with("401") => ("401 Unauthorized", r#"{"message":"Unauthorized"}"#),
            Some(body) => ("200 OK", body.as_str()),
            None => ("404 Not Found", r#"{"message":"Not found"}"#),
        };
        let connection = if closes { "close" } else { "keep-alive" };
        let stream = reader.get_mut();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nConnection: {connection}\r\n\
             Content-Length: {}\r\nServer: kong/3.9.0\r\n\r\n{body}",
            body.len()
        )?;
        stream.flush()?;
        if closes {
            return Ok(());
        }
    }
}

fn page(entities: &[&str], next: Option<&str>) -> String {
    let next = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    format!("{{\"data\":[{}],\"next\":{next}}}", entities.join(","))
}

fn a_kong(closes: bool) -> StandIn {
    let kong = StandIn::start(closes);
    let next = "/services?offset=WyJhIl0%3d&size=1000";
    kong.say(SERVICES_AT, &page(&[SERVICE], Some(next)));
    kong.say(next, &page(&[NAMELESS], None));
    kong.say(ROUTES_AT, &page(&[ROUTE], None));
    kong.say(UPSTREAMS_AT, &page(&[UPSTREAM], None));
    kong.say(TARGETS_AT, &page(&[TARGET], None));
    kong
}

#[test]
fn all_pages_of_all_lists_become_a_configuration() {
    for closes in [false, true] {
        let config = a_kong(closes).admin().read().unwrap();
        let [orders, nameless] = &config.services[..] else { panic!("two services: {config:?}") };
        assert_eq!((&*orders.name, &*nameless.name), ("orders", "users.internal"));
        assert_eq!((orders.enabled, nameless.enabled), (true, false));
        assert_eq!(nameless.path.as_deref(), Some("/api"));
        let route = &orders.routes[0];
        assert_eq!(route.name.as_deref(), Some("orders-v"));
        assert_eq!(route.paths[0], PathRule::parse(r"~/v\d+/orders$").unwrap());
        assert_eq!((route.regex_priority, route.created_at), (3, Some(1_690_000_001)));
        assert_eq!(config.upstreams[0].targets, [Endpoint::tcp("10.0.0.1", 8080)]);
    }
}

#[test]
fn listeners_that_are_not_the_proxys_are_told_by_the_node() {
    let kong = a_kong(false);
    kong.say(
        "/",
        r#"{"version":"3.9.0","configuration":{"admin_listen":["0.0.0.0:8001"],"status_listeners":{},
        "admin_listeners":[{"listener":"0.0.0.0:8001","ip":"0.0.0.0","port":8001,"ssl":false},{"port":8444,"ssl":true}],
        "admin_gui_listeners":[{"port":8002}],"proxy_listeners":[{"port":8000}]},"timers":{"running":0}}"#,
    );
    assert_eq!(kong.admin().read().unwrap().admin_ports, [8001, 8444, 8002]);
    kong.say("/", r#"{"version":"0.14.1"}"#);
    assert_eq!(kong.admin().read().unwrap().admin_ports, [0_u16; 0]);
    kong.say("/", "401");
    assert_eq!(kong.admin().read().unwrap().admin_ports, [0_u16; 0], "a token may be for the lists alone");
}

#[test]
fn over_https_the_certificate_is_checked() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let serving = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let kong = StandIn::start_with(false, Some(Arc::new(config)));
        kong.say(SERVICES_AT, &page(&[SERVICE], None));
        kong
    };
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let read = |kong: &StandIn, ca_file| {
        let url = format!("https://{}", kong.address).parse().unwrap();
        KongAdmin { url, token_file: None, ca_file }.read()
    };

    let kong = serving("127.0.0.1");
    assert_eq!(&*read(&kong, Some(ca.clone())).unwrap().services[0].name, "orders");
    let of_another_name = read(&serving("kong.test"), Some(ca.clone())).unwrap_err().to_string();
    assert!(of_another_name.contains("not valid for name"), "{of_another_name}");
    std::fs::write(&ca, "").unwrap();
    let error = read(&kong, Some(ca.clone())).unwrap_err().to_string();
    assert!(error.contains("ca.pem: it holds no certificate; give the file"), "{error}");
    let plain = a_kong(false);
    std::fs::write(&ca, authority.pem()).unwrap();
    assert!(matches!(read(&plain, Some(ca)), Err(AdminError::Tls { .. })));
}

#[test]
fn lua_may_send_empty_lists_as_maps() {
    let kong = StandIn::start(false);
    kong.say(SERVICES_AT, r#"{"data":{},"next":null}"#);
    assert_eq!(kong.admin().read().unwrap(), Config::default());
}

#[test]
fn the_token_is_read_each_time_and_sent_with_every_request() {
    let kong = a_kong(false);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let admin = KongAdmin { token_file: Some(file.clone()), ..kong.admin() };
    let missing = admin.read().unwrap_err().to_string();
    assert!(missing.contains("token cannot be used: No such file"), "{missing}");
    for token in ["one", "two"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        admin.read().unwrap();
        let heads = std::mem::take(&mut *kong.heads.lock().unwrap());
        assert_eq!(heads.len(), 6);
        for head in heads {
            assert!(head.to_ascii_lowercase().contains(&format!("\r\nkong-admin-token: {token}\r\n")), "{head}");
        }
    }
}

#[test]
fn errors_say_what_to_do_and_never_the_token() {
    let kong = a_kong(false);
    let error = |kong: &StandIn| {
        let error = kong.admin().read().unwrap_err().to_string();
        error.replace(&kong.address.to_string(), "KONG")
    };
    kong.say(SERVICES_AT, "401");
    assert_eq!(
        error(&kong),
        "Kong's Admin API at http://KONG answers 401 Unauthorized to /services?size=1000; give a token that may read, \
         by --kong-admin-token-file"
    );
    kong.say(SERVICES_AT, &page(&[r#"{"id":"1","name":"a","host":"a","port":"x"}"#], None));
    assert_eq!(error(&kong), "http://KONG/services?size=1000:1: data[0].port: is the text \"x\"; write a whole number");
    kong.say(SERVICES_AT, "<html>");
    assert!(error(&kong).starts_with("http://KONG/services?size=1000:1: the document: is the text"));
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let admin = KongAdmin { url: format!("http://{nobody}").parse().unwrap(), token_file: None, ca_file: None };
    let error = admin.read().unwrap_err().to_string();
    assert!(error.contains("is not to be reached: Connection refused"), "{error}");
}

#[test]
fn changes_come_in_the_background_until_nobody_takes_them() {
    let kong = a_kong(false);
    let (sender, messages) = channel();
    kong.admin().watch(sender);
    kong.say(SERVICES_AT, &page(&[SERVICE], None));
    let Ok(Message::KongAdmin(Ok(config))) = messages.recv_timeout(4 * PERIOD) else { panic!("no configuration") };
    assert_eq!(config.services.len(), 1);
    kong.say(SERVICES_AT, "401");
    let Ok(Message::KongAdmin(Err(error))) = messages.recv_timeout(4 * PERIOD) else { panic!("no error") };
    assert!(error.contains("401"), "{error}");
}

#[test]
fn kong_tells_its_version_and_its_targets_health() {
    let metrics = crate::metrics::Metrics::new(crate::metrics::Options {
        today: Some(crate::metrics::Switches::ALL),
        ..Default::default()
    });
    let node = metrics.kong_node().unwrap();
    let tell = |kong: &StandIn| runtime().unwrap().block_on(kong.admin().tell_once(&node));
    let page = || {
        let dialect = crate::metrics::Dialect::Today;
        let options = crate::exposition::text::Options { dialect, ..Default::default() };
        crate::exposition::text::encode(metrics.registry().gather(), options)
    };
    let kong = a_kong(false);
    kong.say("/", r#"{"version":"3.9.1","node_id":"n","tagline":"Welcome to kong"}"#);
    let health = "/upstreams/a3d6f7c1-0000-4000-8000-000000000001/health";
    kong.say(
        health,
        r#"{"data":[{"id":"1","target":"10.0.0.1:8080","weight":100,"health":"HEALTHY","data":{"host":"10.0.0.1",
        "addresses":[{"ip":"10.0.0.1","port":8080,"health":"HEALTHY","weight":100}]}},
        {"id":"2","target":"gone.example:80","health":"DNS_ERROR"},
        {"id":"3","target":"none.example:80","data":{"addresses":{}}}],"next":"/upstreams/x/health?offset=1"}"#,
    );
    kong.say("/upstreams/x/health?offset=1", r#"{"data":{},"next":null,"node_id":"n"}"#);
    tell(&kong).unwrap();
    let text = page();
    for line in [
        r#"kong_node_info{node_id="",version="3.9.1"} 1"#,
        r#"kong_upstream_target_health{upstream="orders-pool",target="10.0.0.1:8080",address="10.0.0.1:8080",state="healthy",subsystem="http"} 1"#,
        r#"kong_upstream_target_health{upstream="orders-pool",target="gone.example:80",address="",state="dns_error",subsystem="http"} 1"#,
        r#"kong_upstream_target_health{upstream="orders-pool",target="none.example:80",address="",state="dns_error",subsystem="http"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
    }
    kong.say(health, "401");
    assert!(matches!(tell(&kong), Err(AdminError::Refused { .. })));
    kong.say(health, "[]");
    assert!(tell(&kong).unwrap_err().to_string().contains("not as expected"));
}

#[test]
fn an_address_is_one_of_http_or_https() {
    for (text, expected) in [
        ("http://127.0.0.1:8001", "http://127.0.0.1:8001"),
        ("http://Kong:8001/admin/", "http://kong:8001/admin"),
        ("http://[::1]:8001", "http://[::1]:8001"),
        ("http://kong", "http://kong:80"),
        ("https://kong", "https://kong:443"),
        ("https://kong:8444/x", "https://kong:8444/x"),
    ] {
        assert_eq!(text.parse::<AdminUrl>().unwrap().to_string(), expected);
    }
    for text in ["grpc://kong:8444", "kong:8001", "http://unix:/run/kong.sock", ""] {
        assert_eq!(text.parse::<AdminUrl>(), Err(NotAnAdminUrl), "{text}");
    }
}
