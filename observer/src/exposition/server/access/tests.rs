use warp::http::HeaderName;

use super::*;

fn peer(listen: &str, remote: &str, allow: &[&str], trusted: &[&str]) -> Peer {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
    let listen: Listen = listen.parse().unwrap();
    let local = match listen.address {
        crate::exposition::listen::Address::Tcp(address) => Some(address),
        crate::exposition::listen::Address::Unix { .. } => None,
    };
    let remote = (!remote.is_empty()).then(|| remote.parse().unwrap());
    let rules = Arc::new(Rules::new(&listen, &nets(allow), &nets(trusted)));
    Peer { ends: Ends { remote, local }, rules }
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

const LOOPBACK: &str = "127.0.0.1:9542";

#[test]
fn the_allow_list_knows_both_families_and_ipv4_within_ipv6() {
    for (remote, is_allowed) in [
        ("10.0.0.9:1", true),
        ("[::ffff:10.0.0.9]:1", true),
        ("10.0.1.9:1", false),
        ("[fd00::1]:1", true),
        ("[fd01::1]:1", false),
        ("127.0.0.1:1", false),
    ] {
        let peer = peer("[::]:9542", remote, &["10.0.0.0/24", "fd00::/16"], &[]);
        assert_eq!(peer.is_allowed(&headers(&[])), is_allowed, "{remote}");
    }
}

#[test]
fn a_listeners_own_list_takes_the_place_of_the_common_one() {
    let own = "0.0.0.0:9542,allow=10.0.0.0/24";
    assert!(peer(own, "10.0.0.1:1", &["192.168.0.0/16"], &[]).is_allowed(&headers(&[])));
    assert!(!peer(own, "192.168.0.1:1", &["192.168.0.0/16"], &[]).is_allowed(&headers(&[])));
}

#[test]
fn forwarding_headers_are_believed_from_trusted_proxies_only() {
    let forged = headers(&[("X-Forwarded-For", "10.0.0.5")]);
    let stranger = peer("0.0.0.0:9542", "203.0.113.5:1", &["10.0.0.0/24"], &["127.0.0.0/8"]);
    assert!(!stranger.is_allowed(&forged));
    let proxy = |lines: &[(&str, &str)]| {
        peer(LOOPBACK, "127.0.0.1:1", &["10.0.0.0/24"], &["127.0.0.0/8", "10.9.0.0/16"]).is_allowed(&headers(lines))
    };
    assert!(proxy(&[("X-Forwarded-For", "10.0.0.5")]));
    assert!(proxy(&[("X-Forwarded-For", "10.0.0.5:4711")]));
    // The client writes on the left, each proxy adds on the right.
    assert!(!proxy(&[("X-Forwarded-For", "10.0.0.5, 203.0.113.5")]));
    assert!(!proxy(&[("X-Forwarded-For", "10.0.0.5"), ("X-Forwarded-For", "203.0.113.5")]));
    assert!(proxy(&[("X-Forwarded-For", "203.0.113.5, 10.0.0.5, 10.9.1.1")]));
    for unreadable in ["", "unknown", "10.0.0.5, rubbish"] {
        assert!(!proxy(&[("X-Forwarded-For", unreadable)]), "{unreadable}");
    }
    // Without the header the proxy itself asks.
    assert!(!proxy(&[]));
}

#[test]
fn a_loopback_peer_that_forwards_is_not_local() {
    let near = peer(LOOPBACK, "127.0.0.1:1", &[], &[]);
    assert!(near.is_local(&headers(&[("Host", "localhost")])));
    for header in ["X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "Via"] {
        assert!(!near.is_local(&headers(&[(header, "127.0.0.1")])), "{header}");
    }
    assert!(!peer("0.0.0.0:9542", "10.0.0.1:1", &[], &[]).is_local(&headers(&[])));
}

#[test]
fn a_private_socket_is_so_only_for_its_direct_clients() {
    let private = peer("unix:/s", "", &[], &[]);
    assert!(private.is_private(&headers(&[])));
    assert!(!private.is_private(&headers(&[("Via", "1.1 proxy")])));
    assert!(!peer("unix:/s,mode=0660", "", &[], &[]).is_private(&headers(&[])));
    assert!(!peer(LOOPBACK, "127.0.0.1:1", &[], &[]).is_private(&headers(&[])));
}

#[test]
fn host_must_be_a_name_of_the_listener() {
    let near = peer("127.0.0.1:9542,name=obs.example", "127.0.0.1:1", &[], &[]);
    for own in ["localhost", "LOCALHOST:9542", "127.0.0.1:9542", "127.0.0.1", "obs.example:80"] {
        assert_eq!(near.check_origin(&headers(&[("Host", own)])), Ok(()), "{own}");
    }
    for foreign in
        ["", "evil.example", "127.0.0.2", "localhost.evil.example", "localhost:", "localhost:x", "a@localhost"]
    {
        assert_eq!(near.check_origin(&headers(&[("Host", foreign)])), Err(Foreign::Host), "{foreign}");
    }
    assert_eq!(near.check_origin(&headers(&[])), Err(Foreign::Host));
    let twice = headers(&[("Host", "localhost"), ("Host", "localhost")]);
    assert_eq!(near.check_origin(&twice), Err(Foreign::Host));
    // Elsewhere `localhost` is somebody else.
    let far = peer("192.0.2.1:9542", "192.0.2.2:1", &[], &[]);
    assert_eq!(far.check_origin(&headers(&[("Host", "localhost")])), Err(Foreign::Host));
    assert_eq!(far.check_origin(&headers(&[("Host", "192.0.2.1:9542")])), Ok(()));
    let six = peer("[::1]:9542", "[::1]:1", &[], &[]);
    assert_eq!(six.check_origin(&headers(&[("Host", "[::1]:9542")])), Ok(()));
    assert_eq!(six.check_origin(&headers(&[("Host", "[::2]:9542")])), Err(Foreign::Host));
}

#[test]
fn an_origin_must_be_the_one_that_was_asked() {
    let near = peer(LOOPBACK, "127.0.0.1:1", &[], &[]);
    let with = |origin: &str| near.check_origin(&headers(&[("Host", "localhost:9542"), ("Origin", origin)]));
    assert_eq!(with("http://localhost:9542"), Ok(()));
    for foreign in
        ["null", "http://localhost", "https://localhost:9542", "http://localhost:9543", "http://evil.example"]
    {
        assert_eq!(with(foreign), Err(Foreign::Origin), "{foreign}");
    }
}

#[test]
fn paths_are_exact_or_below_a_listed_one() {
    let listed = peer("0.0.0.0:1,paths=/metrics,paths=/plugins", "10.0.0.1:1", &[], &[]).rules;
    for path in ["/metrics", "/plugins", "/plugins/x"] {
        assert!(listed.serves(path), "{path}");
    }
    for path in ["/", "/ready", "/metricsx", "/plugin", "/nginx_status"] {
        assert!(!listed.serves(path), "{path}");
    }
    let root = peer("0.0.0.0:1,paths=/", "10.0.0.1:1", &[], &[]).rules;
    assert!(root.serves("/") && !root.serves("/metrics"));
}

#[test]
fn the_status_page_is_on_loopback_unless_asked_for() {
    let serves = |listen| peer(listen, "", &[], &[]).rules.serves("/nginx_status");
    assert!(serves(LOOPBACK) && serves("unix:/s") && serves("[::1]:1"));
    assert!(!serves("0.0.0.0:1"));
    assert!(serves("0.0.0.0:1,paths=/nginx_status"));
}
