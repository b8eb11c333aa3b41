//! Proofs that no rule could decide what the observer takes a default for: two runs with the same calls, byte for byte, and
//! different lines in nginx's log.
//!
//! Undecidable is whether nginx counts a body that it answered itself: it does if a handler asked for the body, and does
//! not if the body was thrown away. So is which status a gateway logs that closes without an answer: 444 is taken, and told
//! as inferred (`closed_unanswered`). The other such thing, in `conformance_killed`, is whether a worker that was killed had
//! logged its last answer.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use observer_tests::agent::Recorder;
use observer_tests::conformance::{Case, Family};
use observer_tests::nginx::access_log::Line;
use observer_tests::nginx::config::Config;
use observer_tests::recorded::calls;
use observer_tests::request::chunk;
use observer_tests::{Body, Client, Nginx, Request};

const REASON: &str = "discarded_body";

/// The requests of the proofs go here, those that tell that the recorder records elsewhere.
const PATH: &str = "/own/a";

#[test]
fn conformance() -> Result<()> {
    let mut family = Family::new("what no rule can decide")?;
    let answering = returns("return 200 done;")?;
    let backend = returns("return 200 done;")?;
    let folder = tempfile::tempdir()?;
    let caching = caching(&backend, &folder.path().join("200"))?;
    for (name, body) in [
        ("a body read with its head", Body::Sized(300)),
        ("a body read in a call of its own", Body::Sized(3_000)),
        ("a chunk read with its head", Body::Chunked { chunks: 1, chunk_bytes: 200 }),
    ] {
        let outcome = differ_in_the_log_alone(&Request::new("POST", PATH).body(body).bytes(), &caching, &answering);
        family.claim(Case::undecidable(name, REASON), outcome);
    }
    // Both servers are taken for dead once they refused a connect: then none is asked.
    let servers = "server 127.0.0.1:1 fail_timeout=1h; server 127.0.0.2:1 fail_timeout=1h;";
    let lifeless = Config::new()?
        .http(&format!("upstream lifeless {{ {servers} }}"))
        .location("/own/", "proxy_pass http://lifeless;")
        .location("/probe/", "return 200 ok;")
        .start()?;
    Client::connect(lifeless.address())?.exchange(&Request::post(PATH, 0))?;
    let failing = returns("return 502;")?;
    let outcome =
        differ_in_the_log_alone(&Request::new("POST", PATH).body(Body::Sized(300)).bytes(), &lifeless, &failing);
    family.claim(Case::undecidable("a body for an upstream without a live server", REASON), outcome);
    // Nothing is ever sent to port 1.
    let reading = returns("proxy_pass http://127.0.0.1:1;")?;
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let bytes = [head.as_bytes(), &chunk(1_500), b"zz\r\n"].concat();
    let outcome = differ_in_the_log_alone(&bytes, &reading, &returns("return 400;")?);
    family.claim(Case::undecidable("chunks that are none, in a call of their own", REASON), outcome);
    // What it reads of chunks that become too large nginx counts only if all of them came with their head, and were good.
    let refusing = lingering("client_max_body_size 10; proxy_pass http://127.0.0.1:1;")?;
    let too_large = returns("return 413;")?;
    let cached = caching_with(
        &too_large,
        &folder.path().join("413"),
        "proxy_cache_valid 413 1h; lingering_close always; keepalive_timeout 0;",
    )?;
    let body = Body::Chunked { chunks: 3, chunk_bytes: 9 };
    let outcome = differ_in_the_log_alone(&Request::new("POST", PATH).body(body).bytes(), &cached, &refusing);
    family.claim(Case::undecidable("chunks that are too large, all with the head", REASON), outcome);
    family.finish()
}

/// A client that was not there any more by nginx's account, and one that nginx would not answer.
#[test]
fn closed_without_an_answer() -> Result<()> {
    let mut family = Family::new("which status was logged without an answer")?;
    let outcome = statuses_differ(&returns("return 444;")?, &returns("return 499;")?);
    family.claim(Case::inferred("return 499", "closed_unanswered"), outcome);
    family.finish()
}

/// Error unless both make the same calls for the same bytes, and log 444 and 499.
fn statuses_differ(one: &Nginx, other: &Nginx) -> Result<()> {
    let bytes = Request::post(PATH, 0).bytes();
    let (one, other) = (run(&bytes, one)?, run(&bytes, other)?);
    ensure!(one.0 == other.0, "the calls differ, so a rule could tell:\n{:#?}\n{:#?}", one.0, other.0);
    ensure!((one.1.status, other.1.status) == (444, 499), "nginx logs {} and {}", one.1.status, other.1.status);
    ensure!(one.1.request_length == other.1.request_length, "other lengths");
    Ok(())
}

/// As [`returns`], and it waits for the client behind every answer.
fn lingering(directives: &str) -> Result<Nginx> {
    returns(&format!("lingering_close always; keepalive_timeout 0; {directives}"))
}

/// nginx that answers the requests of the proofs so.
fn returns(directives: &str) -> Result<Nginx> {
    Config::new()?.location("/own/", directives).location("/probe/", "return 200 ok;").start()
}

/// nginx that reads the body, and answers with what `backend` answers, out of its cache.
fn caching(backend: &Nginx, folder: &Path) -> Result<Nginx> {
    caching_with(backend, folder, "proxy_cache_valid 200 1h;")
}

fn caching_with(backend: &Nginx, folder: &Path, directives: &str) -> Result<Nginx> {
    let pass = format!(
        "proxy_pass http://{}; proxy_cache z; proxy_cache_methods GET HEAD POST; proxy_cache_key $uri; {directives}",
        backend.address()
    );
    let nginx = Config::new()?
        .http(&format!("proxy_cache_path {} keys_zone=z:1m;", folder.display()))
        .location("/own/", &pass)
        .location("/probe/", "return 200 ok;")
        .start()?;
    Client::connect(nginx.address())?.exchange(&Request::post(PATH, 0))?;
    Ok(nginx)
}

/// Sends the same bytes to both. Error unless both make the same calls, and log different lengths.
fn differ_in_the_log_alone(bytes: &[u8], one: &Nginx, other: &Nginx) -> Result<()> {
    let (one, other) = (run(bytes, one)?, run(bytes, other)?);
    let (calls, other_calls) = (&one.0, &other.0);
    ensure!(calls == other_calls, "the calls differ, so a rule could tell:\n{calls:#?}\n{other_calls:#?}");
    ensure!(one.1.status == other.1.status && one.1.bytes_sent == other.1.bytes_sent, "other answers");
    let (read, thrown_away) = (one.1.request_length, other.1.request_length);
    ensure!(read > thrown_away, "nginx logs {read} and {thrown_away} bytes: nothing is undecided");
    Ok(())
}

/// The calls on the client's connection as text, without times and identities, and the line in the log.
fn run(bytes: &[u8], nginx: &Nginx) -> Result<(Vec<String>, Line)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let mut recorder = Recorder::start(&nginx.selector(), &file, &["--with-secrets"])?;
    recorder.until_recording("/probe/", || {
        Client::connect(nginx.address())?.exchange(&Request::get("/probe/"))?;
        Ok(())
    })?;
    let logged = nginx.log_so_far()?.len();
    let mut client = Client::connect(nginx.address())?;
    client.send(bytes)?;
    // Where none comes the connection ends.
    if client.response(false).is_ok() {
        client.finish_sending()?;
    }
    client.rest();
    let line = nginx.log(logged + 1)?.pop().context("a line")?;
    recorder.end()?;
    Ok((calls(&file, &format!("POST {PATH}"))?, line))
}
