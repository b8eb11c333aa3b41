//! Requests that nginx answers out of its cache, asks leave for, copies, sends round to another location, or answers by
//! a directive.

use std::fs;

use anyhow::{Context, Result};
use observer_tests::conformance::{Bench, Case, Family};
use observer_tests::nginx::lua::Lua;
use observer_tests::wait::free_port;
use observer_tests::{Client, Request, Upstream};

fn case(bench: &mut Bench<'_>, name: &str, status: u16, request: Request) {
    bench.case(Case::visible(name).statuses(&[status]), |bench| {
        Client::connect(bench.nginx.address())?.exchange(&request)?;
        Ok(())
    });
}

#[test]
fn caches() -> Result<()> {
    let mut family = Family::new("proxy_cache")?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("cache");
    fs::create_dir(&path)?;
    let zone = format!("proxy_cache_path {} keys_zone=z:1m;", path.display());
    let mut bench = family.bench(|config| {
        config.http(&zone).http(
            "proxy_cache z; proxy_cache_key $request_uri; proxy_force_ranges on; proxy_cache_valid 200 1h; proxy_cache_valid 404 1s;
            proxy_cache_use_stale error timeout http_503 updating;",
        )
    })?;
    let bench = &mut bench;
    let get = |path: &str| Request::get(format!("/alpha/{path}"));
    for (what, path) in [("small", "bytes/100"), ("large", "bytes/200000"), ("chunked", "chunked/20x700")] {
        case(bench, &format!("{what}, miss"), 200, get(path));
        case(bench, &format!("{what}, hit"), 200, get(path));
        // A range of a body without a length is not made.
        let status = if what == "chunked" { 200 } else { 206 };
        case(bench, &format!("{what}, hit by a range"), status, get(path).header("Range", "bytes=10-59"));
        case(bench, &format!("{what}, hit by HEAD"), 200, Request::new("HEAD", format!("/alpha/{path}")));
    }
    case(bench, "not cacheable", 201, get("status/201/bytes/20"));
    case(bench, "404, miss", 404, get("status/404/bytes/20"));
    case(bench, "404, hit", 404, get("status/404/bytes/20"));
    family.finish()
}

/// The first answer is cached for a second, the next comes from an upstream that fails.
#[test]
fn stale_answers() -> Result<()> {
    let mut family = Family::new("proxy_cache, stale")?;
    let folder = tempfile::tempdir()?;
    let zone = format!("proxy_cache_path {} keys_zone=z:1m;", folder.path().display());
    let mut bench = family.bench(|config| {
        config
            .http(&zone)
            .http("proxy_cache z; proxy_cache_key $uri; proxy_cache_valid 200 1s; proxy_read_timeout 100ms;")
            .http("proxy_cache_use_stale error timeout http_503;")
            .http("map $arg_as $alpha_path { default /alpha/bytes/100; ~. /alpha/$arg_as; }")
            .location("= /alpha/stale", "proxy_pass http://alpha$alpha_path;")
    })?;
    let bench = &mut bench;
    case(bench, "fills the cache", 200, Request::get("/alpha/stale"));
    case(bench, "hit", 200, Request::get("/alpha/stale"));
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    for (name, answer) in [
        ("stale after 503", "status/503"),
        ("stale after a close", "early-close"),
        ("stale after a reset", "reset"),
        ("stale after a timeout", "delay/300/bytes/2"),
    ] {
        case(bench, name, 200, Request::get(format!("/alpha/stale?as={answer}")));
    }
    case(bench, "expired, and fetched again", 200, Request::get("/alpha/stale"));
    family.finish()
}

#[test]
fn auth_requests() -> Result<()> {
    let mut family = Family::new("auth_request")?;
    let auth = Upstream::ipv4()?;
    let ask = |answer: &str| {
        format!(
            "internal; proxy_pass http://{}/{answer}; proxy_pass_request_body off; \
        proxy_set_header Content-Length \"\";",
            auth.address()
        )
    };
    let guarded = |auth: &str| format!("auth_request {auth}; proxy_pass http://alpha;");
    let mut bench = family.bench(|config| {
        config
            .location("= /yes", &ask("delay/40/status/204"))
            .location("= /no", &ask("delay/20/status/403"))
            .location("= /who", &ask("status/401"))
            .location("= /broken", &ask("early-close"))
            .location("/static/granted/", "auth_request /yes;")
            .location("/alpha/granted/", &guarded("/yes"))
            .location("/alpha/denied/", &guarded("/no"))
            .location("/alpha/unknown/", &guarded("/who"))
            .location("/alpha/failing/", &guarded("/broken"))
            .location("= /body", &ask("delay/30/bytes/40"))
            .location("/static/body/", "auth_request /body;")
            .location("/alpha/body/", &guarded("/body"))
    })?;
    let bench = &mut bench;
    case(bench, "granted", 200, Request::get("/alpha/granted/delay/20/bytes/500"));
    case(bench, "granted, with a body", 200, Request::post("/alpha/granted/echo", 3_000));
    let folder = bench.nginx.files().join("static/granted");
    fs::create_dir(&folder)?;
    fs::write(folder.join("file"), "a file")?;
    case(bench, "granted, a file", 200, Request::get("/static/granted/file"));
    let folder = bench.nginx.files().join("static/body");
    fs::create_dir(&folder)?;
    fs::write(folder.join("file"), "a file")?;
    case(bench, "granted by 200 with a body, a file", 200, Request::get("/static/body/file"));
    case(bench, "granted so, HEAD", 200, Request::new("HEAD", "/static/body/file"));
    case(bench, "granted so, no such file", 404, Request::get("/static/body/none"));
    case(bench, "granted so, a range of a file", 206, Request::get("/static/body/file").header("Range", "bytes=1-2"));
    case(bench, "granted so, passed on", 200, Request::get("/alpha/body/delay/20/bytes/500"));
    case(bench, "granted so, passed on, of the same length", 200, Request::get("/alpha/body/delay/20/bytes/40"));
    case(bench, "granted so, upstream fails", 502, Request::get("/alpha/body/early-close"));
    case(bench, "granted, upstream fails", 502, Request::get("/alpha/granted/early-close"));
    case(bench, "denied", 403, Request::get("/alpha/denied/bytes/500"));
    case(bench, "not logged in", 401, Request::get("/alpha/unknown/bytes/500"));
    case(bench, "the asked one fails", 500, Request::get("/alpha/failing/bytes/500"));
    family.finish()
}

/// nginx has none of what Lua asks for in the request's variables: neither subrequests nor sockets.
#[test]
fn captures_and_sockets_of_lua() -> Result<()> {
    let mut family = Family::new("Lua's captures and sockets")?;
    let (lua, other) = (Lua::find()?, Upstream::ipv4()?);
    let pass = |path: &str| format!("proxy_pass http://{}/{path};", other.address());
    let capture = "local answer = ngx.location.capture('/sub')";
    let address = other.address().to_string();
    let (host, port) = address.split_once(':').context("host and port")?;
    let socket = |path: &str| {
        format!(
            r#"local socket = ngx.socket.tcp()
            assert(socket:connect("{host}", {port}))
            assert(socket:send("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n"))
            local line = assert(socket:receive())
            while socket:receive() ~= "" do end
            assert(socket:receive(12))"#
        )
    };
    let content = |code: &str| format!("content_by_lua_block {{ {code} }}");
    let access = |code: &str| format!("access_by_lua_block {{ {code} }} proxy_pass http://alpha;");
    let asks = socket("delay/30/bytes/12");
    let mut bench = family.bench(|config| {
        config
            .lua(&lua)
            .location("= /sub", &pass("delay/30/bytes/12"))
            .location("= /quick", &pass("bytes/7"))
            .location("= /own/captured", &content(&format!("{capture} ngx.say(answer.status, answer.body)")))
            .location("= /own/sized", &content(&format!("{capture} ngx.header.content_length = 2 ngx.print('ab')")))
            .location(
                "= /own/two",
                &content("local a, b = ngx.location.capture_multi({{'/sub'}, {'/quick'}}) ngx.say(a.body, b.body)"),
            )
            .location("= /own/turns", &content(&format!("{capture} ngx.location.capture('/quick') ngx.say('ok')")))
            .location("= /own/refused", &content(&format!("{capture} ngx.exit(403)")))
            .location("= /own/silent", &content(&format!("{capture} ngx.exit(204)")))
            .location("= /own/socket", &content(&format!("{asks} socket:close() ngx.say(line)")))
            .location("= /own/kept", &content(&format!("{asks} socket:setkeepalive() ngx.say(line)")))
            .location("/alpha/captured/", &access(capture))
            .location("/alpha/asked/", &access(&format!("{asks} socket:setkeepalive()")))
            .location("/alpha/refused/", &access(&format!("{capture} ngx.exit(401)")))
            .location("/alpha/rewritten/", &format!("rewrite_by_lua_block {{ {capture} }} proxy_pass http://alpha;"))
    })?;
    let bench = &mut bench;
    for (path, status) in [
        ("captured", 200),
        ("sized", 200),
        ("two", 200),
        ("turns", 200),
        ("refused", 403),
        ("silent", 204),
        ("socket", 200),
        ("kept", 200),
    ] {
        let path = format!("/own/{path}");
        case(bench, &path, status, Request::get(&path));
        case(bench, &format!("{path}, HEAD"), status, Request::new("HEAD", &path));
        bench.case(Case::visible(format!("{path}, three in a row")).statuses(&[status; 3]), |bench| {
            let mut client = Client::connect(bench.nginx.address())?;
            (0..3).try_for_each(|_| client.exchange(&Request::get(&path)).map(drop))
        });
    }
    for path in ["captured", "asked", "rewritten"] {
        case(bench, &format!("{path}, then passed on"), 200, Request::get(format!("/alpha/{path}/delay/20/bytes/500")));
        case(bench, &format!("{path}, then refused upstream"), 404, Request::get(format!("/alpha/{path}/status/404")));
        case(bench, &format!("{path}, then fails upstream"), 502, Request::get(format!("/alpha/{path}/early-close")));
        case(bench, &format!("{path}, with a body"), 200, Request::post(format!("/alpha/{path}/echo"), 3_000));
    }
    case(bench, "refused in front of an upstream", 401, Request::get("/alpha/refused/bytes/5"));
    family.finish()
}

#[test]
fn mirrors() -> Result<()> {
    let mut family = Family::new("mirror")?;
    let other = Upstream::ipv4()?;
    let copy = format!("internal; proxy_pass http://{}$request_uri;", other.address());
    let slow = format!("internal; proxy_pass http://{}/delay/100/bytes/3;", other.address());
    let refusing = format!("internal; proxy_pass http://127.0.0.1:{};", free_port()?);
    let mirrored = |to: &str| format!("mirror {to}; proxy_pass http://alpha;");
    let mut bench = family.bench(|config| {
        config
            .location("= /copy", &copy)
            .location("= /slow", &slow)
            .location("= /refusing", &refusing)
            .location("/alpha/copied/", &mirrored("/copy"))
            .location("/alpha/slowly/", &mirrored("/slow"))
            .location("/alpha/refused/", &mirrored("/refusing"))
    })?;
    let bench = &mut bench;
    case(bench, "copied", 200, Request::get("/alpha/copied/bytes/500"));
    case(bench, "copied, slow upstream", 200, Request::get("/alpha/copied/delay/50/bytes/500"));
    case(bench, "copied with its body", 200, Request::post("/alpha/copied/echo", 3_000));
    case(bench, "the copy is answered later", 200, Request::get("/alpha/slowly/bytes/500"));
    case(bench, "the copy is answered first", 200, Request::get("/alpha/slowly/delay/200/bytes/500"));
    case(bench, "the copy is refused", 200, Request::get("/alpha/refused/delay/20/bytes/500"));
    bench.case(Case::visible("several on one connection").lines(6), |bench| {
        let mut client = Client::connect(bench.nginx.address())?;
        for path in ["copied/bytes/1", "slowly/bytes/2", "refused/bytes/3"] {
            client.exchange(&Request::get(format!("/alpha/{path}")))?;
            client.exchange(&Request::post(format!("/alpha/{path}"), 77))?;
        }
        Ok(())
    });
    family.finish()
}

#[test]
fn internal_redirects_and_returns() -> Result<()> {
    let mut family = Family::new("error_page, internal redirects, return")?;
    let refusing = format!("127.0.0.1:{}", free_port()?);
    let mut bench = family.bench(|config| {
        config
            .location(
                "/alpha/caught/",
                "proxy_intercept_errors on; error_page 404 503 /own/sorry; proxy_pass http://alpha;",
            )
            .location(
                "/alpha/elsewhere/",
                "proxy_intercept_errors on; error_page 404 = /alpha/bytes/33; proxy_pass http://alpha;",
            )
            .location("/alpha/named/", &format!("error_page 502 = @named; proxy_pass http://{refusing};"))
            .location("@named", "proxy_pass http://alpha;")
            .location("= /alpha/accelerated", "proxy_pass http://alpha/accelerate/own/file;")
            .location("= /own/sorry", "return 200 sorry;")
            .location("= /own/nothing", "return 204;")
            .location("= /own/moved", "return 301 /elsewhere;")
            .location("= /own/text", "return 418 'short and stout';")
            .location("= /own/rewritten", "rewrite ^ /own/text last;")
            .location("= /own/try", "try_files /none /own/text;")
            .location("= /nobody", "return 200 x;")
    })?;
    fs::write(bench.nginx.files().join("own/file"), "of nginx's own")?;
    let bench = &mut bench;
    case(bench, "404 intercepted", 404, Request::get("/alpha/caught/delay/20/status/404"));
    case(bench, "503 intercepted, HEAD", 503, Request::new("HEAD", "/alpha/caught/status/503"));
    case(bench, "404 answered by another request upstream", 200, Request::get("/alpha/elsewhere/delay/20/status/404"));
    case(bench, "refused, and answered by a named location", 200, Request::get("/alpha/named/delay/20/bytes/9"));
    case(bench, "X-Accel-Redirect to a file", 200, Request::get("/alpha/accelerated"));
    for (path, status) in
        [("nothing", 204), ("moved", 301), ("text", 418), ("rewritten", 418), ("try", 418), ("none", 404)]
    {
        case(bench, &format!("return: {path}"), status, Request::get(format!("/own/{path}")));
    }
    case(bench, "of no service", 200, Request::get("/nobody"));
    family.finish()
}
