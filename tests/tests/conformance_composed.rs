//! Pages that nginx puts together of several, and other ways round: included pieces, other servers, named locations, limits.

use std::fs;

use anyhow::Result;
use observer_tests::conformance::{Bench, Case, Family};
use observer_tests::wait::free_port;
use observer_tests::{Client, Request, Upstream};

fn case(bench: &mut Bench<'_>, name: &str, statuses: &[u16], requests: &[Request]) {
    bench.case(Case::visible(name).statuses(statuses), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        requests.iter().try_for_each(|request| client.exchange(request).map(drop))
    });
}

/// All of them in one segment.
fn pipelined(bench: &mut Bench<'_>, name: &str, request: &Request) {
    bench.case(Case::visible(name).statuses(&[200; 3]), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        client.send(&request.bytes().repeat(3))?;
        (0..3).try_for_each(|_| client.response(request.is_head()).map(drop))
    });
}

/// nginx has no piece of a page in the request's variables; what comes of many pieces goes out in one call.
#[test]
fn pages_of_pieces() -> Result<()> {
    let mut family = Family::new("server side includes, pages before and behind")?;
    let other = Upstream::ipv4()?;
    let pass = |path: &str| format!("proxy_pass http://{}/{path};", other.address());
    let mut bench = family.bench(|config| {
        config
            .http("default_type text/html;")
            .location("= /quick", &pass("bytes/20"))
            .location("= /slow", &pass("delay/40/bytes/30"))
            .location("= /chunks", &pass("chunked/9x50"))
            .location("/own/", "ssi on;")
            .location(
                "/alpha/around/",
                "add_before_body /quick; add_after_body /slow; addition_types *; proxy_pass http://alpha;",
            )
            .location("/static/", "add_after_body /slow;")
    })?;
    let bench = &mut bench;
    let include = |path: &str| format!("<!--#include virtual=\"{path}\" -->");
    let pages = [
        ("one.html", format!("a{}b", include("/quick"))),
        (
            "many.html",
            ["/quick", "/slow", "/chunks", "/own/part.html", "/quick"].map(|path| include(path) + "x").concat(),
        ),
        ("part.html", "of its own".to_owned()),
    ];
    for (name, text) in pages {
        fs::write(bench.nginx.files().join("own").join(name), text)?;
    }
    fs::write(bench.nginx.files().join("static/page.html"), "a page")?;
    for path in ["/own/one.html", "/own/many.html", "/static/page.html"] {
        case(bench, path, &[200, 200], &[Request::get(path), Request::get(path)]);
        case(bench, &format!("{path}, HEAD"), &[200], &[Request::new("HEAD", path)]);
        pipelined(bench, &format!("{path}, three in one segment"), &Request::get(path));
    }
    let around = Case::inferred("around what an upstream answers", "asked_aside").statuses(&[200]);
    bench.case(around, |bench| {
        Client::connect(bench.nginx.address())?.exchange(&Request::get("/alpha/around/delay/10/bytes/500")).map(drop)
    });
    family.finish()
}

#[test]
fn other_ways_round() -> Result<()> {
    let mut family = Family::new("named locations, two servers for one upstream, limits")?;
    let (port, other) = (free_port()?, Upstream::ipv4()?);
    let caught = "proxy_intercept_errors on; error_page 404 500 = @other; proxy_pass http://alpha;";
    let mut bench = family.bench(|config| {
        config
            .http(&format!("server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://alpha; }} }}"))
            .location("/alpha/tried/", "try_files /none @other;")
            .location("/alpha/caught/", caught)
            .location("@other", &format!("rewrite ^ /delay/30/bytes/7 break; proxy_pass http://{};", other.address()))
            .location("/alpha/lasting/", "keepalive_disable none; proxy_pass http://alpha;")
            .location("/alpha/slowed/", "limit_rate 400k; proxy_pass http://alpha;")
            .location("/static/", "sendfile on; sendfile_max_chunk 10k;")
    })?;
    fs::write(bench.nginx.files().join("static/large"), vec![b'f'; 500_000])?;
    let bench = &mut bench;
    let get = |path: &str| Request::get(format!("/alpha/{path}"));
    case(bench, "a named location behind files", &[200, 200], &[get("tried/a"), get("tried/b")]);
    case(
        bench,
        "errors answered by a named location",
        &[200, 200],
        &[get("caught/status/404"), get("caught/status/500")],
    );
    case(bench, "none to answer so", &[200], &[get("caught/bytes/9")]);
    let old = get("lasting/bytes/9").header("User-Agent", "Mozilla/4.0 (compatible; MSIE 5.0)");
    case(bench, "keepalive with an old browser", &[200, 200], &[old.clone(), old]);
    case(bench, "slowed down", &[200], &[get("slowed/bytes/100000")]);
    case(bench, "a file in short calls", &[200, 200], &[Request::get("/static/large"), Request::get("/static/large")]);
    bench.case(Case::visible("two servers for one upstream").lines(8), |bench| {
        let mut clients = [Client::connect(bench.nginx.address())?, Client::connect(([127, 0, 0, 1], port).into())?];
        for path in ["delay/20/bytes/5", "bytes/6", "chunked/3x9", "status/404"] {
            clients.iter_mut().try_for_each(|client| client.send(&get(path).bytes()))?;
            clients.iter_mut().try_for_each(|client| client.response(false).map(drop))?;
        }
        Ok(())
    });
    family.finish()
}
