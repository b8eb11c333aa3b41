//! The service of an exchange, with 200 services behind one address. More ways of telling, with more services, are
//! measured by the benchmark `attribution`.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::Criterion;
use observer::attribution::{Attributed, Attribution, Peer, RequestFacts, Scheme, UpstreamFacts};
use observer::config::Config;

pub fn bench(criterion: &mut Criterion) {
    let mut text = "services:\n".to_owned();
    for n in 0..200 {
        let _ = writeln!(text, "- {{name: s{n}, url: 'http://10.0.0.7:8080/s{n}', routes: [{{paths: [/s{n}]}}]}}");
    }
    let config = Config::parse_own("bench", &text).expect("a good configuration");
    let mut attribution = Attribution::new(&config);
    let request = RequestFacts {
        method: "GET",
        local: Some(([10, 0, 0, 1], 8000).into()),
        scheme: Scheme::Http,
        host: Some("shop.example.com"),
        path: "/s17/orders/17",
        sni: None,
        headers: &|_| None,
    };
    let upstream = UpstreamFacts {
        network: 1,
        time_ns: 1,
        peer: Peer::Ip(([10, 0, 0, 7], 8080).into()),
        host: Some("orders"),
        path: Some("/s17/orders/17"),
    };
    let mut group = criterion.benchmark_group("attribution");
    for (name, upstream) in [("upstream", Some(&upstream)), ("route", None)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let attributed = attribution.attribute(black_box(&request), black_box(upstream));
                assert!(matches!(&attributed, Attributed::Service { service, .. } if **service == *"s17"));
            });
        });
    }
}
