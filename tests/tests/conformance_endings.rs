//! Ends of connections: clients that go before, during and after the response, and what ends a kept connection.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use observer_tests::conformance::{Bench, Case, Family, TLS};
use observer_tests::nginx::config::Config;
use observer_tests::request::content;
use observer_tests::{Body, Client, Request};

/// How a client goes.
#[derive(Clone, Copy, Debug)]
enum Going {
    Close,
    Reset,
    HalfClose,
}

#[test]
fn conformance() -> Result<()> {
    run(Family::new("ends of connections")?)
}

#[test]
fn conformance_over_tls() -> Result<()> {
    run(Family::over("ends of connections, over TLS 1.3 on both sides", TLS)?)
}

fn run(mut family: Family) -> Result<()> {
    let mut bench = family.bench(|config: Config| {
        config
            .server("keepalive_timeout 300ms; keepalive_requests 3; lingering_timeout 300ms;")
            .location("/own/", "return 200 done;")
            .location("/alpha/ignoring/", "proxy_ignore_client_abort on; proxy_pass http://alpha;")
            .location("/alpha/unbuffered/", "proxy_request_buffering off; proxy_pass http://alpha;")
    })?;
    fs::write(bench.nginx.files().join("static/large"), content(20_000_000))?;
    before_the_answer(&mut bench);
    during_the_answer(&mut bench);
    behind_the_answer(&mut bench);
    kept_connections(&mut bench);
    drop(bench);
    family.finish()
}

fn go(mut client: Client, going: Going) -> Result<()> {
    match going {
        Going::Close => drop(client),
        Going::Reset => client.reset()?,
        Going::HalfClose => {
            client.finish_sending()?;
            client.rest();
        }
    }
    Ok(())
}

fn before_the_answer(bench: &mut Bench<'_>) {
    for going in [Going::Close, Going::Reset, Going::HalfClose] {
        bench.case(Case::visible(format!("{going:?} without a byte")).lines(0), |bench| {
            go(Client::connect(bench.nginx.address())?, going)
        });
        let case = Case::inferred(format!("{going:?} in the request line"), "client_closed_in_head");
        bench.case(case.statuses(&[400]).refused(), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(b"GET /al")?;
            client.until_read()?;
            go(client, going)
        });
        let case = Case::inferred(format!("{going:?} in the header lines"), "client_closed_in_head");
        bench.case(case.statuses(&[400]).refused(), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(b"GET /alpha/bytes/3 HTTP/1.1\r\nHost: a\r\n")?;
            client.until_read()?;
            go(client, going)
        });
        for sent in [0, 300, 40_000] {
            let case = Case::inferred(format!("{going:?} behind {sent} bytes of a body"), "client_closed_in_body");
            bench.case(case.statuses(&[400]), |bench| {
                let bytes = Request::post("/alpha/echo", 90_000).bytes();
                let mut client = Client::connect(bench.nginx.address())?;
                client.send(&bytes[..bytes.len() - 90_000 + sent])?;
                client.until_read()?;
                go(client, going)
            });
        }
        let case = Case::inferred(format!("{going:?} while the upstream is asked"), "client_closed_waiting");
        bench.case(case.statuses(&[499]), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&Request::get("/alpha/hold/bytes/3").bytes())?;
            bench.upstream.until_held(1)?;
            let gone = go(client, going);
            thread::sleep(Duration::from_millis(30));
            bench.upstream.release();
            gone
        });
        let case =
            Case::inferred(format!("{going:?} while the upstream is asked, with a body"), "client_closed_waiting");
        bench.case(case.statuses(&[499]), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&Request::post("/alpha/hold/echo", 5_000).bytes())?;
            bench.upstream.until_held(1)?;
            let gone = go(client, going);
            thread::sleep(Duration::from_millis(30));
            bench.upstream.release();
            gone
        });
        let case = Case::inferred(format!("{going:?} while the first of three is asked for"), "client_closed_waiting");
        bench.case(case.statuses(&[499]), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&Request::get("/alpha/hold/bytes/3").bytes().repeat(3))?;
            bench.upstream.until_held(1)?;
            let gone = go(client, going);
            thread::sleep(Duration::from_millis(30));
            bench.upstream.release();
            gone
        });
    }
    bench.case(Case::visible("a half-close while the gateway ignores it").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/alpha/ignoring/delay/60/bytes/3").bytes())?;
        client.finish_sending()?;
        client.response(false)?;
        client.until_closed()
    });
}

fn during_the_answer(bench: &mut Bench<'_>) {
    let paths = ["/static/large", "/alpha/bytes/20000000", "/alpha/chunked/2000x10000", "/alpha/drip/40x5"];
    for going in [Going::Close, Going::Reset] {
        for path in paths {
            bench.case(Case::visible(format!("{going:?} within {path}")).statuses(&[200]), |bench| {
                let mut client = Client::connect_slow(bench.nginx.address(), 64 * 1024)?;
                client.send(&Request::get(path).bytes())?;
                client.bytes(140)?;
                go(client, going)
            });
        }
    }
    bench.case(Case::visible("two sent ahead, gone within the first's answer").statuses(&[200]), |bench| {
        let mut client = Client::connect_slow(bench.nginx.address(), 64 * 1024)?;
        client.send(&Request::get("/static/large").bytes().repeat(2))?;
        client.bytes(140)?;
        go(client, Going::Reset)
    });
}

fn behind_the_answer(bench: &mut Bench<'_>) {
    for going in [Going::Close, Going::Reset, Going::HalfClose] {
        for path in ["/own/", "/alpha/bytes/700"] {
            bench.case(Case::visible(format!("{going:?} behind {path}")).statuses(&[200]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.exchange(&Request::get(path))?;
                go(client, going)
            });
            bench.case(Case::visible(format!("{going:?} behind {path}, unread")).statuses(&[200]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.send(&Request::get(path).bytes())?;
                client.bytes(1)?;
                go(client, going)
            });
        }
        bench.case(Case::inferred(format!("{going:?} within an unwanted body"), "body_thrown_away"), |bench| {
            let bytes = Request::post("/own/", 90_000).bytes();
            let mut client = Client::connect(bench.nginx.address())?;
            client.send(&bytes[..bytes.len() - 50_000])?;
            client.response(false)?;
            client.until_read()?;
            go(client, going)
        });
    }
    bench.case(Case::visible("a half-close with the request").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/own/").bytes())?;
        client.finish_sending()?;
        client.response(false)?;
        client.until_closed()
    });
}

fn kept_connections(bench: &mut Bench<'_>) {
    bench.case(Case::visible("three, then the gateway closes").statuses(&[200, 200, 200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        for index in 0..3 {
            let response = client.exchange(&Request::get("/alpha/bytes/5"))?;
            ensure!(response.is_last == (index == 2), "response {index} is not what keepalive_requests asks for");
        }
        client.until_closed()
    });
    bench.case(Case::visible("five in one segment, of which three are answered").statuses(&[200, 200, 200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&Request::get("/alpha/bytes/5").bytes().repeat(5))?;
        client.rest();
        Ok(())
    });
    bench.case(Case::visible("idle until the gateway closes").statuses(&[200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.exchange(&Request::get("/alpha/bytes/5"))?;
        client.until_closed()
    });
    bench.case(Case::visible("pauses between requests").statuses(&[200, 200]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.exchange(&Request::get("/alpha/bytes/5"))?;
        thread::sleep(Duration::from_millis(120));
        client.exchange(&Request::post("/alpha/echo", 0).body(Body::Chunked { chunks: 2, chunk_bytes: 9 })).map(drop)
    });
    bench.case(Case::visible("a blank line, a pause, a request").statuses(&[200, 200]), |bench| {
        // To nginx the second request begins with the blank line.
        let mut client = Client::connect(bench.nginx.address())?;
        client.exchange(&Request::get("/alpha/bytes/5"))?;
        client.send(b"\r\n")?;
        thread::sleep(Duration::from_millis(120));
        client.exchange(&Request::get("/alpha/bytes/5")).map(drop)
    });
}
