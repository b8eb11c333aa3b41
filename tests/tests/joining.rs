//! Which client a gateway asked an upstream for, at full concurrency: real nginx, and a truth that the agent does not see.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use observer_tests::agent::{self, Recorder};
use observer_tests::dns::Dns;
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::nginx::lua::Lua;
use observer_tests::request::content;
use observer_tests::truth::{DELAY, Place, Score, TRUTH, Witness};
use observer_tests::wait::{PATIENCE, alone, until_true};
use observer_tests::wire::{Framing, Wire};
use observer_tests::{Client, Nginx, Request, Upstream};

const CLIENTS: u64 = 64;
/// Of each client; together enough that 99.9 % means something.
const REQUESTS: u64 = 32;
/// Of uploads; more than nginx keeps in memory.
const UPLOAD_BYTES: usize = 24_000;
/// Upstreams and waits take up to so long.
const LATE_MS: u64 = 25;
/// Recordings that are made until one is whole: the traffic is the subject here, and not how fast a file is written.
const ATTEMPTS: u32 = 4;
/// Names a folder that the recordings are copied to.
const KEEP: &str = "OBSERVER_TESTS_KEEP";

/// Which requests and answers tell of themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Answers differ.
    Answers,
    /// Nothing: all answers are the same, to the byte.
    Nothing,
    /// Answers are the same; an id is in the client's request and in the upstream's.
    Requests,
    /// The same; an id is in the upstream's request and in the client's response, as Kong 3 has it.
    UpstreamAndResponse,
}

impl Sign {
    const ALL: [Sign; 4] = [Sign::Answers, Sign::Nothing, Sign::Requests, Sign::UpstreamAndResponse];

    const fn name(self) -> &'static str {
        match self {
            Sign::Answers => "answers differ",
            Sign::Nothing => "answers identical",
            Sign::Requests => "identical, request id",
            Sign::UpstreamAndResponse => "identical, Kong 3's id",
        }
    }

    const fn percent_min(self) -> f64 {
        match self {
            Sign::Answers => 99.9,
            Sign::Nothing => 99.0,
            Sign::Requests | Sign::UpstreamAndResponse => 100.0,
        }
    }
}

/// A way to come from a client's request to an upstream's.
struct Way<'a> {
    name: &'static str,
    configure: &'a dyn Fn(Config, SocketAddr) -> Result<Config>,
    /// By its path.
    is_proxied: fn(&str) -> bool,
    uploads: bool,
}

#[test]
fn concurrent_requests_for_one_path() -> Result<()> {
    let configure = |config: Config, _| Ok(config.location("/same", "proxy_pass http://main;"));
    prove(&Way { name: "one path", configure: &configure, is_proxied: |_| true, uploads: false })
}

/// Four requests at a time ask for one name.
#[test]
fn names_looked_up_for_each_request() -> Result<()> {
    let dns = Dns::start(10)?;
    let resolver = format!("resolver {} ipv6=off;", dns.address());
    let configure = |config: Config, main: SocketAddr| {
        let pass = format!("set $up $http_x_name.test; proxy_pass http://$up:{}$request_uri;", main.port());
        Ok(config.http(&resolver).location("/same", &pass))
    };
    prove(&Way { name: "resolver", configure: &configure, is_proxied: |_| true, uploads: false })?;
    ensure!(dns.questions() > CLIENTS * REQUESTS / 8, "only {} names were looked up", dns.questions());
    Ok(())
}

#[test]
fn lua_that_sleeps_and_asks_another_server_first() -> Result<()> {
    let lua = Lua::find()?;
    let configure = |config: Config, main: SocketAddr| {
        let access = format!(
            r#"access_by_lua_block {{
                ngx.sleep(math.random(1, {LATE_MS}) / 1000)
                local socket = ngx.socket.tcp()
                assert(socket:connect("{}", {}))
                local truth = ngx.var.http_x_truth
                assert(socket:send("GET /called HTTP/1.1\r\nHost: called\r\n{TRUTH}: " .. truth .. "\r\n\r\n"))
                local length = 0
                while true do
                    local line = assert(socket:receive())
                    length = tonumber(line:match("^Content%-Length: (%d+)")) or length
                    if line == "" then break end
                end
                assert(socket:receive(length))
                socket:setkeepalive(1000, 10)
            }}"#,
            main.ip(),
            main.port()
        );
        Ok(config.lua(&lua).location("/same", &format!("{access} proxy_pass http://main;")))
    };
    prove(&Way { name: "Lua", configure: &configure, is_proxied: |path| path == "/same", uploads: false })
}

#[test]
fn uploads_that_are_buffered_first() -> Result<()> {
    let configure =
        |config: Config, _| Ok(config.location("/same", "client_body_buffer_size 8k; proxy_pass http://main;"));
    prove(&Way { name: "buffered uploads", configure: &configure, is_proxied: |_| true, uploads: true })
}

#[test]
fn leave_asked_for_and_copies_sent() -> Result<()> {
    let configure = |config: Config, main: SocketAddr| {
        let to = |path: &str| {
            format!(
                "internal; proxy_pass http://{main}{path}; proxy_pass_request_body off; proxy_set_header Content-Length \"\";"
            )
        };
        Ok(config
            .location("= /leave", &to("/asked-leave"))
            .location("= /copy", &to("/copied$request_uri"))
            .location("/same", "auth_request /leave; mirror /copy; proxy_pass http://main;"))
    };
    prove(&Way {
        name: "auth_request, mirror",
        configure: &configure,
        is_proxied: |path| path == "/same",
        uploads: false,
    })
}

fn prove(way: &Way<'_>) -> Result<()> {
    let _alone = alone()?;
    let mut table = format!("\n{}: {CLIENTS} clients, {} requests\n", way.name, CLIENTS * REQUESTS);
    let mut failed = Vec::new();
    for workers in [1, 2] {
        for sign in Sign::ALL {
            let score =
                run(way, workers, sign).with_context(|| format!("{}, {workers} workers, {sign:?}", way.name))?;
            let Score { requests, wrong, missing, subrequests, mistaken, twice, .. } = score;
            let _ = writeln!(
                table,
                "  {workers} workers  {:<24} {:>7.3} % of {requests} right, {wrong} wrong, {missing} missing, \
                {mistaken} of {subrequests} subrequests mistaken, {twice} given twice",
                sign.name(),
                score.right_percent(),
            );
            let is_right = score.right_percent() >= sign.percent_min() && requests as u64 == CLIENTS * REQUESTS;
            if !is_right || mistaken > subrequests / 1000 || twice > 0 {
                failed.push(format!("{workers} workers, {}: {score:?}", sign.name()));
            }
        }
    }
    // Past the test runner's capture: the table is wanted when all is well, too.
    io::stderr().write_all(table.as_bytes())?;
    ensure!(failed.is_empty(), "{}:\n{}", way.name, failed.join("\n"));
    Ok(())
}

/// As often as it takes for a whole recording, each time with a new gateway: the witness numbers the requests on a
/// connection from its beginning.
fn run(way: &Way<'_>, workers: usize, sign: Sign) -> Result<Score> {
    let mut losses = Vec::new();
    for _ in 0..ATTEMPTS {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("events");
        let (witness, clients) = record_all(way, workers, sign, &file)?;
        if let Some(kept) = std::env::var_os(KEEP) {
            fs::copy(&file, PathBuf::from(kept).join(format!("{}-{workers}-{sign:?}", way.name)))?;
        }
        match loss(&file)? {
            None => return witness.judge(&file, &clients, way.is_proxied),
            Some(loss) => losses.push(loss),
        }
    }
    bail!("{ATTEMPTS} recordings are not whole: {}", losses.join("; "))
}

fn record_all(way: &Way<'_>, workers: usize, sign: Sign, file: &Path) -> Result<(Witness, HashMap<Place, u64>)> {
    let witness = Witness::start(sign != Sign::Answers)?;
    let probed = Upstream::ipv4()?;
    let config =
        Config::new()?.workers(workers).upstream("main", &[&witness.address()]).service("probe", probed.address());
    let config = match sign {
        Sign::UpstreamAndResponse => config.http(
            "proxy_set_header X-Kong-Request-Id $request_id; proxy_set_header Connection \"\";
            add_header X-Kong-Request-Id $request_id always;",
        ),
        Sign::Answers | Sign::Nothing | Sign::Requests => config,
    };
    let nginx = (way.configure)(config, witness.address())?.start()?;
    let clients = record(&nginx, file, || drive(&nginx, way.uploads, sign))?;
    Ok((witness, clients))
}

fn record<T>(nginx: &Nginx, file: &Path, traffic: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut recorder = Recorder::start(&nginx.selector(), file, &["--with-secrets"])?;
    recorder.until_recording("/probe/", || {
        Client::connect(nginx.address())?.exchange(&Request::get("/probe/bytes/1"))?;
        Ok(())
    })?;
    let logged = nginx.log_so_far()?.len();
    let driven = traffic()?;
    // Copies may take longer than the answers.
    until_true("nginx is done with all", PATIENCE, || {
        Ok(nginx.log_so_far()?.len() >= logged + (CLIENTS * REQUESTS) as usize)
    })?;
    recorder.end()?;
    Ok(driven)
}

/// What the kernel part could not deliver.
fn loss(file: &Path) -> Result<Option<String>> {
    let finished = agent::run(&["replay", file.to_str().context("path")?])?;
    let told = Exposition::parse(&finished.stdout)?;
    let begun = told.sum("observer_exchanges_begun_total");
    if told.sum("observer_capture_lost_total") == 0.0 && begun >= (CLIENTS * REQUESTS) as f64 {
        return Ok(None);
    }
    let lost = finished.stdout.lines().filter(|line| line.starts_with("observer_capture_lost_total{"));
    Ok(Some(format!("{begun} exchanges begun, {}", lost.collect::<Vec<_>>().join(", "))))
}

/// Sends all requests, each client one after the other. Gives their numbers by their places.
fn drive(nginx: &Nginx, uploads: bool, sign: Sign) -> Result<HashMap<Place, u64>> {
    let address = nginx.address();
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| thread::spawn(move || ask_all(address, client, uploads, sign))).collect();
    let mut places = HashMap::new();
    for client in clients {
        places.extend(client.join().map_err(|_| anyhow!("a client panicked"))??);
    }
    Ok(places)
}

fn ask_all(gateway: SocketAddr, client: u64, uploads: bool, sign: Sign) -> Result<Vec<(Place, u64)>> {
    let socket = TcpStream::connect(gateway)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let own = socket.local_addr()?;
    let mut wire = Wire::new(socket);
    let mut places = Vec::new();
    for number in 0..REQUESTS {
        let truth = client * REQUESTS + number;
        places.push(((own, number), truth));
        ask(&mut wire, truth, uploads, sign)?;
        let head = wire.head()?.context("no answer")?;
        ensure!(head.start_line.contains(" 200 "), "{}", head.start_line);
        wire.body(head.framing(Framing::Close))?;
    }
    Ok(places)
}

fn ask(wire: &mut Wire<TcpStream>, truth: u64, uploads: bool, sign: Sign) -> Result<()> {
    let mut head = format!(
        "{} /same HTTP/1.1\r\nHost: gateway.test\r\n{TRUTH}: {truth}\r\n{DELAY}: {}\r\nX-Name: n{}\r\n",
        if uploads { "POST" } else { "GET" },
        truth * 7919 % LATE_MS,
        truth / 4,
    );
    if sign == Sign::Requests {
        let _ = write!(head, "X-Request-ID: id-{truth}\r\n");
    }
    if !uploads {
        return Ok(wire.write_all((head + "\r\n").as_bytes())?);
    }
    let _ = write!(head, "Content-Length: {UPLOAD_BYTES}\r\n\r\n");
    wire.write_all(head.as_bytes())?;
    for piece in content(UPLOAD_BYTES).chunks(UPLOAD_BYTES / 4) {
        thread::sleep(Duration::from_millis(truth % 5));
        wire.write_all(piece)?;
    }
    Ok(())
}
