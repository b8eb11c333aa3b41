//! How long it takes to tell an exchange's service, with 1,000 services and 2,000 routes: one line a way of telling, with
//! its name and the nanoseconds an exchange.

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use observer::attribution::{Attributed, Attribution, Peer, RequestFacts, Scheme, UpstreamFacts};
use observer::config::Config;
use observer::dns::{Address, Answer, Question};

const SERVICES: usize = 1000;

/// For each way; the fastest pass over all services counts, so that what else the host does is left out.
const ROUND: Duration = Duration::from_millis(400);

/// One exchange, as the pipeline asks for its service.
struct Asked {
    host: String,
    path: String,
    upstream: Option<Upstream>,
    expected: String,
}

struct Upstream {
    address: SocketAddr,
    host: Option<String>,
}

fn main() {
    let own_addresses = configuration(|n| format!("host: 10.0.{}.{}, port: 8080", n / 250, n % 250));
    let names = configuration(|n| format!("host: s{n}.test, port: 8080"));
    let mut by_address = Attribution::new(&own_addresses);
    let mut by_name = Attribution::new(&names);
    let mut at_ingress = Attribution::new(&names);
    for n in 0..SERVICES {
        by_name.answered(1, &answer(n, [10, 0, (n / 250) as u8, (n % 250) as u8]), 0);
        at_ingress.answered(1, &answer(n, [10, 9, 9, 9]), 0);
    }
    let upstream = |n: usize, host: Option<String>| {
        let address = SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8], 8080));
        Some(Upstream { address, host })
    };
    let ingress = |host| Some(Upstream { address: ([10, 9, 9, 9], 8080).into(), host: Some(host) });
    let mut without = Attribution::new(&Config::default());
    tell("address", &mut by_address, |n| upstream(n, Some(format!("s{n}.test"))), |n| format!("s{n}"));
    tell("name", &mut by_name, |n| upstream(n, Some("x".into())), |n| format!("s{n}"));
    tell("ingress-host", &mut at_ingress, |n| ingress(format!("s{n}.test:8080")), |n| format!("s{n}"));
    tell("ingress-route", &mut at_ingress, |n| ingress(format!("api{n}.example.com")), |n| format!("s{n}"));
    tell("route", &mut by_address, |_| None, |n| format!("s{n}"));
    tell("host-alone", &mut without, |n| upstream(n, Some(format!("h{n}.test"))), |n| format!("h{n}.test"));
    tell("refused", &mut without, |n| upstream(n, None), |n| format!("h{n}.test"));
}

/// Two routes a service: by host and path, and by an expression.
fn configuration(address: impl Fn(usize) -> String) -> Config {
    let mut text = "_format_version: '3.0'\nservices:\n".to_owned();
    for n in 0..SERVICES {
        let _ = writeln!(
            text,
            "- {{name: s{n}, {}, routes: [{{name: r{n}, hosts: [api{n}.example.com], paths: [/v1, /v2]}}, \
             {{name: q{n}, hosts: ['*.shop{n}.example.com'], paths: ['~/orders/\\d+$'], methods: [GET]}}]}}",
            address(n)
        );
    }
    Config::parse_kong("bench", &text).expect("a good configuration")
}

fn answer(n: usize, ip: [u8; 4]) -> Answer {
    let addresses = vec![Address { ip: ip.into(), port: None, ttl_s: 1 << 20 }];
    Answer { name: format!("s{n}.test"), question: Question::A, addresses, targets: Vec::new() }
}

fn tell(
    way: &str,
    attribution: &mut Attribution,
    upstream: impl Fn(usize) -> Option<Upstream>,
    expected: impl Fn(usize) -> String,
) {
    let asked: Vec<Asked> = (0..SERVICES)
        .map(|n| Asked {
            host: format!("api{n}.example.com"),
            path: format!("/v1/orders/{n}?page=2"),
            upstream: upstream(n),
            expected: expected(n),
        })
        .collect();
    for asked in &asked {
        let attributed = attribute(attribution, asked);
        let Attributed::Service { service, .. } = attributed else { panic!("{way}: {} has no service", asked.host) };
        assert_eq!(*service, *asked.expected, "{way}");
    }
    println!("{way} {:.0}", fastest_pass(attribution, &asked));
}

/// Nanoseconds an exchange.
fn fastest_pass(attribution: &mut Attribution, asked: &[Asked]) -> f64 {
    let (start, mut fastest) = (Instant::now(), Duration::MAX);
    while start.elapsed() < ROUND {
        let pass = Instant::now();
        for asked in asked {
            black_box(attribute(attribution, black_box(asked)));
        }
        fastest = fastest.min(pass.elapsed());
    }
    fastest.as_nanos() as f64 / asked.len() as f64
}

fn attribute(attribution: &mut Attribution, asked: &Asked) -> Attributed {
    let request = RequestFacts {
        method: "GET",
        local: Some(([10, 0, 0, 1], 8000).into()),
        scheme: Scheme::Http,
        host: Some(&asked.host),
        path: &asked.path,
        sni: None,
        headers: &|_| None,
    };
    let upstream = asked.upstream.as_ref().map(|upstream| UpstreamFacts {
        network: 1,
        time_ns: 1,
        peer: Peer::Ip(upstream.address),
        host: upstream.host.as_deref(),
        path: upstream.host.as_ref().map(|_| &*asked.path),
    });
    attribution.attribute(&request, upstream.as_ref())
}
