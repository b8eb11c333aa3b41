//! Requests that nginx refuses or gives up on by itself.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use observer_tests::conformance::{Bench, Case, Family, TLS};
use observer_tests::nginx::config::Config;
use observer_tests::request::content;
use observer_tests::{Client, Request};

#[test]
fn conformance() -> Result<()> {
    run(Family::new("requests that the gateway refuses")?)
}

#[test]
fn conformance_over_tls() -> Result<()> {
    run(Family::over("requests that the gateway refuses, over TLS 1.3 on both sides", TLS)?)
}

fn run(mut family: Family) -> Result<()> {
    let mut bench = family.bench(|config: Config| {
        config
            .server("client_header_timeout 1s; client_body_timeout 1s; large_client_header_buffers 4 8k;")
            .server("lingering_timeout 300ms;")
            .location("/own/", "return 200 done;")
            .location("/own/444/", "return 444;")
            .location("/own/408/", "return 408;")
            .location("/own/413/", "return 413;")
            .location("/own/499/", "return 499;")
            .location("/own/small/", "client_max_body_size 10; return 200 done;")
            .location("/alpha/small/", "client_max_body_size 10; proxy_pass http://alpha;")
            .location("/alpha/middle/", "client_max_body_size 2000; proxy_pass http://alpha;")
            .location("/own/get/", "limit_except GET { deny all; }")
    })?;
    malformed_heads(&mut bench);
    refused_by_their_size(&mut bench);
    refused_by_their_fields(&mut bench);
    refused_chunks(&mut bench);
    closed_without_an_answer(&mut bench);
    too_slow(&mut bench);
    drop(bench);
    family.finish()
}

/// Sends bytes, closes the sending side, and reads what comes up to the end.
fn send_and_drain(bench: &Bench<'_>, bytes: &[u8]) -> Result<()> {
    let mut client = Client::connect(bench.nginx.address())?;
    // nginx may have closed before it read all.
    let _ = client.send(bytes);
    client.rest();
    Ok(())
}

/// No line of these is a request line or a header line, so nginx looks for no route.
fn malformed_heads(bench: &mut Bench<'_>) {
    let heads: [(&str, &[u8]); 10] = [
        ("a method in lower case", b"get /own/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("bytes that are no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n"),
        ("a target without a slash", b"GET own HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a version that is none", b"GET /own/ HTTX/1.1\r\nHost: a\r\n\r\n"),
        ("a space before a colon", b"GET /own/ HTTP/1.1\r\nHost: a\r\nX-Name : b\r\n\r\n"),
        ("a space before a name", b"GET /own/ HTTP/1.1\r\n Host: a\r\n\r\n"),
        ("a control character in a name", b"GET /own/ HTTP/1.1\r\nHost: a\r\nX\x01: b\r\n\r\n"),
        ("a zero byte in a value", b"GET /own/ HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n"),
        ("an escape that is none", b"GET /own/%zz HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a path above the root", b"GET /own/../../x HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (name, head) in heads {
        bench.case(Case::visible(name).statuses(&[400]).refused(), |bench| send_and_drain(bench, head));
    }
    bench.case(Case::visible("a request behind a malformed head").statuses(&[400]).refused(), |bench| {
        let head = b"GET /own/ HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n";
        send_and_drain(bench, &[&head[..], &Request::get("/own/").bytes()].concat())
    });
    bench.case(Case::visible("a malformed head behind a request").lines(2).refused_behind(), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&[Request::get("/alpha/bytes/3").bytes(), b"?\r\n\r\n".to_vec()].concat())?;
        client.rest();
        Ok(())
    });
    bench.case(Case::visible("a malformed head that comes byte by byte").statuses(&[400]).refused(), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let head = b"GET /own/ HTTP/1.1\r\nHost: a\r\nX : ";
        let ends: Vec<usize> = (1..head.len() - 3).step_by(7).collect();
        let _ = client.send_split(head, &ends);
        client.rest();
        Ok(())
    });
}

fn refused_by_their_size(bench: &mut Bench<'_>) {
    let long = |length: usize| "l".repeat(length);
    bench.case(Case::visible("a target that is too long").statuses(&[414]).refused(), |bench| {
        send_and_drain(bench, &Request::get(format!("/own/{}", long(9_000))).bytes())
    });
    bench.case(Case::visible("a target that is too long, without an end").statuses(&[414]).refused(), |bench| {
        send_and_drain(bench, format!("GET /own/{}", long(40_000)).as_bytes())
    });
    bench.case(Case::visible("a header line that is too long").statuses(&[400]).refused(), |bench| {
        send_and_drain(bench, &Request::get("/own/").header("X-Long", &long(9_000)).bytes())
    });
    bench.case(Case::visible("headers that are too large together").statuses(&[400]).refused(), |bench| {
        let request = (0..9)
            .fold(Request::get("/own/"), |request, index| request.header(&format!("X-Long-{index}"), &long(5_000)));
        send_and_drain(bench, &request.bytes())
    });
    bench.case(Case::visible("more header lines than there is room for").statuses(&[400]).refused(), |bench| {
        let request =
            (0..4_000).fold(Request::get("/own/"), |request, index| request.header(&format!("X-{index}"), "v"));
        send_and_drain(bench, &request.bytes())
    });
    bench.case(Case::visible("900 header lines, all taken"), |bench| {
        let request = (0..900).fold(Request::get("/own/"), |request, index| request.header(&format!("X-{index}"), "v"));
        Client::connect(bench.nginx.address())?.exchange(&request)?;
        Ok(())
    });
    for path in ["/own/small/", "/alpha/small/"] {
        for body_bytes in [11, 100_000] {
            let name = format!("a body of {body_bytes} bytes that is too large, {path}");
            bench.case(Case::visible(name).statuses(&[413]), |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                client.exchange(&Request::post(path, body_bytes))?;
                client.finish_sending()
            });
        }
        bench.case(
            Case::visible(format!("a body that is announced too large and never sent, {path}")).statuses(&[413]),
            |bench| {
                let mut client = Client::connect(bench.nginx.address())?;
                let bytes = Request::post(path, 5_000).bytes();
                client.send(&bytes[..bytes.len() - 5_000])?;
                client.response(false)?;
                client.until_closed()
            },
        );
    }
}

fn refused_by_their_fields(bench: &mut Bench<'_>) {
    let heads: [(&str, &str, u16); 9] = [
        ("no Host", "GET /own/ HTTP/1.1\r\n\r\n", 400),
        ("two Hosts", "GET /own/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("a Host that is none", "GET /own/ HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("a length that is none", "POST /own/ HTTP/1.1\r\nHost: a\r\nContent-Length: five\r\n\r\n", 400),
        ("two lengths", "POST /own/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400),
        (
            "a length and chunks",
            "POST /own/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        ("an unknown coding", "POST /own/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: zip\r\n\r\n", 501),
        ("HTTP/2.0 in the request line", "GET /own/ HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("TRACE", "TRACE /own/ HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ];
    for (name, head, status) in heads {
        bench.case(Case::visible(name).statuses(&[status]).refused(), |bench| send_and_drain(bench, head.as_bytes()));
    }
    bench.case(Case::visible("CONNECT").statuses(&[400]).refused(), |bench| {
        send_and_drain(bench, b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
    });
    bench.case(Case::visible("an unknown method").statuses(&[403]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.exchange(&Request::new("FROBNICATE", "/own/get/"))?;
        Ok(())
    });
}

/// A handler has the chunks read and refuses them. What came with the head nginx counts only if all of it was good.
fn refused_chunks(bench: &mut Bench<'_>) {
    let head = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let thrown_away = |name: &str| Case::inferred(name, "body_thrown_away");
    let undecidable = |name: &str| Case::undecidable(name, "discarded_body");
    bench.case(thrown_away("chunks that are none").statuses(&[400]), |bench| {
        send_and_drain(bench, [&head("/alpha/echo"), "xyz\r\n"].concat().as_bytes())
    });
    bench.case(thrown_away("chunks that become too large").statuses(&[413]), |bench| {
        send_and_drain(bench, [&head("/alpha/small/"), "5\r\nhello\r\n9\r\nx"].concat().as_bytes())
    });
    bench.case(undecidable("chunks that are none, in a later call").statuses(&[400]), |bench| {
        let mut body = observer_tests::request::chunk(2_000);
        body.extend(b"xyz\r\n");
        send_and_drain(bench, &[head("/alpha/echo").as_bytes(), &body].concat())
    });
    bench.case(
        Case::inferred("chunks that become too large, in a later call", "body_read_by_handler").statuses(&[413]),
        |bench| {
            let body = observer_tests::request::chunk(1_200).repeat(3);
            send_and_drain(bench, &[head("/alpha/middle/").as_bytes(), &body].concat())
        },
    );
    bench.case(
        Case::inferred("chunks that become too large, with a request behind", "body_read_by_handler").statuses(&[413]),
        |bench| {
            let body = observer_tests::request::chunk(1_200).repeat(6);
            let next = Request::get("/alpha/bytes/4").bytes();
            send_and_drain(bench, &[head("/alpha/middle/").as_bytes(), &body, b"0\r\n\r\n", &next].concat())
        },
    );
    bench.case(thrown_away("chunks that become too large, thrown away").statuses(&[413]), |bench| {
        let body = observer_tests::request::chunk(1_200).repeat(3);
        send_and_drain(bench, &[head("/own/413/").as_bytes(), &body].concat())
    });
    bench.case(undecidable("chunks that are too large, all with the head").statuses(&[413]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        let body = observer_tests::Body::Chunked { chunks: 3, chunk_bytes: 9 };
        client.exchange(&Request::new("POST", "/alpha/small/").body(body))?;
        client.finish_sending()
    });
}

fn closed_without_an_answer(bench: &mut Bench<'_>) {
    bench.case(Case::inferred("return 444", "closed_unanswered").statuses(&[444]), |bench| {
        send_and_drain(bench, &Request::get("/own/444/").bytes())
    });
    bench.case(Case::inferred("return 444 behind an answered request", "closed_unanswered").lines(2), |bench| {
        send_and_drain(bench, &[Request::get("/own/").bytes(), Request::get("/own/444/").bytes()].concat())
    });
    bench.case(Case::inferred("return 444 before a request", "closed_unanswered").statuses(&[444]), |bench| {
        send_and_drain(bench, &[Request::get("/own/444/").bytes(), Request::get("/own/").bytes()].concat())
    });
    bench.case(Case::inferred("return 444 to a whole body", "closed_unanswered").statuses(&[444]), |bench| {
        send_and_drain(bench, &Request::post("/own/444/", 500).bytes())
    });
}

fn too_slow(bench: &mut Bench<'_>) {
    let until_given_up = |bench: &Bench<'_>, bytes: &[u8]| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(bytes)?;
        client.rest();
        Ok(())
    };
    for (name, bytes) in
        [("one byte", "G"), ("half a line", "GET /own/"), ("half a head", "GET /own/ HTTP/1.1\r\nHost: a\r\nX")]
    {
        bench.case(
            Case::inferred(format!("a head that stops at {name}"), "head_timeout").statuses(&[408]).refused(),
            |bench| until_given_up(bench, bytes.as_bytes()),
        );
    }
    bench.case(Case::visible("no byte at all").lines(0), |bench| until_given_up(bench, b""));
    bench.case(Case::inferred("a blank line and no request", "head_timeout").statuses(&[408]).refused(), |bench| {
        until_given_up(bench, b"\r\n")
    });
    bench.case(
        Case::inferred("a head that stops behind an answered request", "head_timeout").lines(2).refused_behind(),
        |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            client.exchange(&Request::get("/alpha/bytes/3"))?;
            client.send(b"GET /al")?;
            client.rest();
            Ok(())
        },
    );
    for sent in [0, 10, 3_000] {
        bench.case(
            Case::inferred(format!("a body that stops at {sent} bytes"), "body_timeout").statuses(&[408]),
            |bench| {
                let bytes = Request::post("/alpha/echo", 5_000).bytes();
                until_given_up(bench, &bytes[..bytes.len() - 5_000 + sent])
            },
        );
    }
    bench.case(Case::inferred("chunks that stop", "body_timeout").statuses(&[408]), |bench| {
        until_given_up(bench, b"POST /alpha/echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel")
    });
    bench.case(Case::visible("a slow head and body, not too slow"), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        for piece in Request::post("/alpha/echo", 60).bytes().chunks(30) {
            client.send(piece)?;
            thread::sleep(Duration::from_millis(40));
        }
        client.response(false)?;
        Ok(())
    });
    bench.case(Case::visible("an unwanted body that never ends").statuses(&[413]), |bench| {
        let bytes = Request::post("/own/small/", 100_000).bytes();
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&bytes[..bytes.len() - 50_000])?;
        client.rest();
        let _ = client.send(&content(10));
        Ok(())
    });
}
