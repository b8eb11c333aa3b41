//! Makes the recordings that the agent's replay test reads: real nginx, real traffic, and nginx's own log beside each.
//!
//! `OBSERVER_BIN=target/release/observer cargo run -p observer-tests --example make_recordings -- observer/tests/recordings`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use observer_tests::agent::{self, Recorder};
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Body, Client, Nginx, Request, Upstream, traffic};

fn main() -> Result<()> {
    let _alone = alone()?;
    let folder = PathBuf::from(std::env::args().nth(1).context("name the folder to write to")?);
    fs::create_dir_all(&folder)?;
    kept_connections(&folder)?;
    closed_connections(&folder)?;
    pipelined_requests(&folder)?;
    failures(&folder)?;
    unix_upstream(&folder)
}

/// Two services, two workers, connections kept on both sides, bodies of many kinds.
fn kept_connections(folder: &Path) -> Result<()> {
    let (alpha, beta) = (Upstream::ipv4()?, Upstream::ipv4()?);
    let nginx = Config::new()?
        .workers(2)
        .service("alpha", alpha.address())
        .stripped_service("beta", beta.address())
        .service("probe", alpha.address())
        .start()?;
    let plan: Vec<Request> = (0..60)
        .map(|index| {
            let to = |path: &str| format!("/{}/{path}?token={index}", if index % 2 == 0 { "alpha" } else { "beta" });
            match index / 2 % 6 {
                0 => Request::get(to("bytes/300")),
                1 => Request::post(to("echo"), 3_000),
                2 => Request::new("PUT", to("status/201")).body(Body::Chunked { chunks: 3, chunk_bytes: 200 }),
                3 => Request::get(to("chunked/20x700")),
                4 => Request::new("HEAD", to("bytes/5000")),
                _ => Request::get(to("delay/5/status/404")),
            }
        })
        .collect();
    record(folder, "kept_connections", &nginx, || traffic::run(nginx.address(), &plan, 6).map(drop), plan.len())
}

/// Every connection for one exchange only, of HTTP/1.0 and 1.1.
fn closed_connections(folder: &Path) -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?
        .keepalive(false)
        .service("alpha", upstream.address())
        .service("probe", upstream.address())
        .start()?;
    let plan: Vec<Request> = (0..24)
        .map(|index| match index % 4 {
            0 => Request::get("/alpha/bytes/20000"),
            1 => Request::get("/alpha/close-delimited/2000"),
            2 => Request::get("/alpha/chunked/4x400").http10(),
            _ => Request::post("/alpha/no-content", 100).close(),
        })
        .collect();
    record(folder, "closed_connections", &nginx, || traffic::run(nginx.address(), &plan, 4).map(drop), plan.len())
}

/// Ten requests in one segment, and one in many.
fn pipelined_requests(folder: &Path) -> Result<()> {
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).service("probe", upstream.address()).start()?;
    let one = Request::post("/alpha/echo", 40).bytes();
    let send = || -> Result<()> {
        let mut client = Client::connect(nginx.address())?;
        client.send(&one.repeat(10))?;
        for _ in 0..10 {
            client.response(false)?;
        }
        let ends: Vec<usize> = (1..one.len()).step_by(7).collect();
        client.send_split(&one, &ends)?;
        client.response(false).map(drop)
    };
    record(folder, "pipelined_requests", &nginx, send, 11)
}

/// An upstream that refuses, one that breaks off, and the gateway's own answers.
fn failures(folder: &Path) -> Result<()> {
    let (alpha, gone) = (Upstream::ipv4()?, Upstream::ipv4()?.address().clone());
    let nginx = Config::new()?
        .upstream("beta", &[&gone, alpha.address()])
        .service("alpha", alpha.address())
        .location("/beta/", "proxy_pass http://beta/;")
        .location("/own", "return 403;")
        .service("probe", alpha.address())
        .start()?;
    let paths = ["/alpha/status/500", "/beta/bytes/10", "/own", "/beta/bytes/20", "/alpha/bytes/30"];
    let send = || -> Result<()> {
        for path in paths {
            Client::connect(nginx.address())?.exchange(&Request::get(path))?;
        }
        Ok(())
    };
    record(folder, "failures", &nginx, send, paths.len())
}

/// An upstream behind a UNIX socket.
fn unix_upstream(folder: &Path) -> Result<()> {
    let place = tempfile::tempdir()?;
    let upstream = Upstream::unix(&place.path().join("upstream.sock"))?;
    let nginx = Config::new()?.service("alpha", upstream.address()).service("probe", upstream.address()).start()?;
    let plan: Vec<Request> = (0..12).map(|index| Request::get(format!("/alpha/bytes/{}", index * 1_500))).collect();
    record(folder, "unix_upstream", &nginx, || traffic::run(nginx.address(), &plan, 3).map(drop), plan.len())
}

/// Records what `send` does. A probe's service tells when the recorder is at work; it is left out of the log.
fn record(folder: &Path, name: &str, nginx: &Nginx, send: impl FnOnce() -> Result<()>, requests: usize) -> Result<()> {
    let file = folder.join(name).with_extension("rec");
    if file.exists() {
        fs::remove_file(&file)?;
    }
    let mut recorder = Recorder::start(&nginx.selector(), &file, &[])?;
    recorder.until_recording("/probe/", || {
        Client::connect(nginx.address())?.exchange(&Request::get("/probe/bytes/1"))?;
        Ok(())
    })?;
    let probes = nginx.log_so_far()?.len();
    send()?;
    let lines = nginx.log(probes + requests)?;
    recorder.end()?;
    let is_proxied = |line: &&Line| !line.upstream_addr.is_empty() && line.service() != "probe";
    let log: String = lines
        .iter()
        .filter(is_proxied)
        .map(|line| format!("{} {} {} {}\n", line.service(), line.status, line.request_length, line.bytes_sent))
        .collect();
    fs::write(file.with_extension("log"), log)?;
    let replayed = agent::run(&["replay", file.to_str().context("path")?, "--no-own-metrics"])?;
    ensure!(replayed.code == Some(0), "{replayed:?}");
    fs::write(file.with_extension("txt"), replayed.stdout)?;
    println!("{}: {} bytes", file.display(), fs::metadata(&file)?.len());
    Ok(())
}
