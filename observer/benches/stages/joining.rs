//! Whose an upstream request is: the thread's own client's, or one of many that wait for the same.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use observer::exchange::{Exchange, ExchangeId};
use observer::http::head::{Head, Side};
use observer::pairing::{Asked, Candidate, Lead, Pairing};

const WORKER: u32 = 7;

pub fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("joining");
    for (name, waiting, is_led) in [("thread_order", 16, true), ("content", 16, false), ("content", 256, false)] {
        let clients: Vec<Exchange> = (0..waiting).map(client).collect();
        let mut pairing = Pairing::default();
        for client in &clients {
            let head = client.request.head.as_deref().expect("a head");
            pairing.client_waits(WORKER, head, client.id);
        }
        let head = head("GET /orders/17 HTTP/1.1\r\nHost: orders\r\n\r\n");
        let lead = Lead { client: Some(clients[0].id), is_direct: true, after: None };
        let asked = Asked { head: &head, process: WORKER, lead: is_led.then_some(lead), connected_for: None };
        group.bench_function(BenchmarkId::new(name, waiting), |bencher| {
            bencher.iter(|| {
                let find = |id: ExchangeId| {
                    let exchange = clients.get(id.number as usize)?;
                    Some(Candidate { exchange, client: "10.0.0.9" })
                };
                black_box(pairing.choose(black_box(asked), find)).expect("some client asked for it")
            });
        });
    }
}

/// All of them ask for the same.
fn client(number: u64) -> Exchange {
    let mut exchange = Exchange::new(ExchangeId { socket: 1, number }, 0);
    exchange.request.head = Some(Arc::new(head("GET /shop/orders/17 HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")));
    exchange.request.is_complete = true;
    exchange
}

fn head(text: &str) -> Head {
    Head::parse(Side::Request, text.as_bytes()).expect("a head")
}
