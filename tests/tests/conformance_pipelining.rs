//! Pipelined requests: any number of them in one segment, or cut anywhere.

use anyhow::Result;
use observer_tests::conformance::{Bench, Case, Family, TLS};
use observer_tests::nginx::config::Config;
use observer_tests::{Body, Client, Request};

#[test]
fn conformance() -> Result<()> {
    run(Family::new("pipelined requests")?)
}

#[test]
fn conformance_over_tls() -> Result<()> {
    run(Family::over("pipelined requests, over TLS 1.3 on both sides", TLS)?)
}

fn run(mut family: Family) -> Result<()> {
    let mut bench = family.bench(|config: Config| {
        config.location("/own/", "return 200 done;").location("/own/missing/", "root files;")
    })?;
    many_in_one_segment(&mut bench);
    cut_at_every_byte(&mut bench);
    with_bodies(&mut bench);
    with_large_responses(&mut bench);
    answered_by_the_gateway(&mut bench);
    behind_the_last_one(&mut bench);
    drop(bench);
    family.finish()
}

/// Sends requests in one write and reads all the answers.
fn in_one_segment(bench: &Bench<'_>, requests: &[Request]) -> Result<()> {
    let mut client = Client::connect(bench.nginx.address())?;
    let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
    client.send(&bytes)?;
    requests.iter().try_for_each(|request| client.response(request.is_head()).map(drop))
}

fn many_in_one_segment(bench: &mut Bench<'_>) {
    for count in [2, 7, 50] {
        bench.case(Case::visible(format!("{count} in one segment")).lines(count), |bench| {
            let requests: Vec<_> = (0..count).map(|index| Request::get(format!("/alpha/bytes/{index}"))).collect();
            in_one_segment(bench, &requests)
        });
    }
    bench.case(Case::visible("of every kind in one segment").lines(7), |bench| {
        let to = |path: &str| format!("/alpha/{path}");
        in_one_segment(
            bench,
            &[
                Request::new("HEAD", to("bytes/500")),
                Request::get(to("no-content")),
                Request::get(to("chunked/3x9")),
                Request::get(to("not-modified")),
                Request::new("HEAD", to("chunked/2x2")),
                Request::get(to("status/404")),
                Request::get(to("close-delimited/77")),
            ],
        )
    });
    bench.case(Case::visible("three with blank lines between").lines(3), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let request = Request::get("/alpha/bytes/5").bytes();
        client.send(&[b"\r\n", &request[..], b"\r\n\r\n", &request, b"\n\r\n", &request].concat())?;
        (0..3).try_for_each(|_| client.response(false).map(drop))
    });
}

fn cut_at_every_byte(bench: &mut Bench<'_>) {
    let requests =
        [Request::post("/alpha/echo", 3), Request::get("/alpha/bytes/9"), Request::get("/alpha/chunked/2x4")];
    let bytes: Vec<u8> = requests.iter().flat_map(Request::bytes).collect();
    bench.case(Case::visible("three, byte by byte").lines(3), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let ends: Vec<usize> = (1..bytes.len()).collect();
        client.send_split(&bytes, &ends)?;
        (0..3).try_for_each(|_| client.response(false).map(drop))
    });
    let cuts = bytes.len() - 1;
    bench.case(Case::visible("three, cut once, at every place").lines(3 * cuts), |bench| {
        for cut in 1..=cuts {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send_split(&bytes, &[cut])?;
            (0..3).try_for_each(|_| client.response(false).map(drop))?;
        }
        Ok(())
    });
}

fn with_bodies(bench: &mut Bench<'_>) {
    let chunked = |chunks, chunk_bytes| Body::Chunked { chunks, chunk_bytes };
    bench.case(Case::visible("ten with bodies in one segment").lines(10), |bench| {
        let requests: Vec<_> = (0..10)
            .map(|index| match index % 3 {
                0 => Request::post("/alpha/echo", index * 37),
                1 => Request::get("/alpha/bytes/1"),
                _ => Request::new("PUT", "/alpha/echo").body(chunked(index, 11)),
            })
            .collect();
        in_one_segment(bench, &requests)
    });
    let get = || Request::get("/alpha/bytes/2");
    for body_bytes in [20_000, 70_000, 300_000] {
        bench.case(Case::visible(format!("behind a body of {body_bytes} bytes")).lines(2), |bench| {
            in_one_segment(bench, &[Request::post("/alpha/status/201", body_bytes), get()])
        });
    }
    let in_chunks = |count| Request::post("/alpha/status/201", 0).body(chunked(count, 1_000));
    // Of a turn of requests 64 KiB are sampled, and a call behind them that ends like a request.
    for count in [20, 70, 300] {
        bench.case(Case::visible(format!("behind {count} chunks of 1,000 bytes")).lines(2), |bench| {
            in_one_segment(bench, &[in_chunks(count), get()])
        });
    }
}

/// A response is sampled up to 8 KiB behind its first call, and that up to 32 KiB.
fn with_large_responses(bench: &mut Bench<'_>) {
    for body_bytes in [8_000, 8_192, 9_000, 32_768, 40_000, 500_000] {
        bench.case(Case::visible(format!("four answered with {body_bytes} bytes")).lines(4), |bench| {
            let sized = Request::get(format!("/alpha/bytes/{body_bytes}"));
            let chunked = Request::get(format!("/alpha/chunked/{}x1000", body_bytes / 1000));
            in_one_segment(bench, &[sized.clone(), chunked.clone(), sized, chunked])
        });
    }
}

fn answered_by_the_gateway(bench: &mut Bench<'_>) {
    bench.case(Case::visible("answered by the gateway in turn with the upstream").lines(6), |bench| {
        let (own, alpha) = (Request::get("/own/"), Request::get("/alpha/bytes/3"));
        let missing = Request::get("/own/missing/file");
        in_one_segment(bench, &[own.clone(), alpha.clone(), missing, alpha.clone(), alpha, own])
    });
}

/// nginx never looks at what comes behind a request after which it closes.
fn behind_the_last_one(bench: &mut Bench<'_>) {
    bench.case(Case::visible("two behind one that asks for the close"), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let get = Request::get("/alpha/bytes/3");
        client.send(&[get.clone().close().bytes(), get.bytes(), get.bytes()].concat())?;
        client.response(false)?;
        client.finish_sending()?;
        client.until_closed()
    });
    bench.case(Case::visible("one behind an HTTP/1.0 request"), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let get = Request::get("/alpha/bytes/3");
        client.send(&[get.clone().http10().bytes(), get.bytes()].concat())?;
        client.response(false)?;
        client.finish_sending()?;
        client.until_closed()
    });
}
