//! Proof that no rule could decide whether a worker that was killed had logged its last answer: two runs with the same calls
//! on the connection, and a log with the request and without it.
#![cfg(target_arch = "x86_64")]

use anyhow::{Context, Result, ensure};
use nix::libc::{SYS_write, SYS_writev};
use observer_tests::agent::Recorder;
use observer_tests::conformance::{Case, Family};
use observer_tests::debugger::Debugged;
use observer_tests::exposition::Exposition;
use observer_tests::nginx::config::Config;
use observer_tests::recorded::calls;
use observer_tests::{Agent, Client, Nginx, Request};

const REASON: &str = "killed_behind_answer";
const PATH: &str = "/own/a";

/// What the killed worker's request left behind.
struct Left {
    calls: Vec<String>,
    logged: usize,
}

#[test]
fn conformance() -> Result<()> {
    let mut family = Family::new("a worker killed behind an answer")?;
    for (name, request) in
        [("the connection kept", Request::get(PATH)), ("the connection to be closed", Request::get(PATH).close())]
    {
        family.claim(Case::undecidable(name, REASON), differ_in_the_log_alone(&request));
    }
    family.finish()
}

fn differ_in_the_log_alone(request: &Request) -> Result<()> {
    let (answered, logged) =
        (killed_behind(request, &[SYS_writev])?, killed_behind(request, &[SYS_writev, SYS_write])?);
    ensure!(answered.calls == logged.calls, "the calls differ:\n{:#?}\n{:#?}", answered.calls, logged.calls);
    ensure!((answered.logged, logged.logged) == (0, 1), "nginx logged {} and {}", answered.logged, logged.logged);
    Ok(())
}

/// Kills the worker at the end of the last of these system calls: `writev` for the answer, `write` for the log's line.
/// The observer counts the request, and says that it cannot know.
fn killed_behind(request: &Request, system_calls: &[i64]) -> Result<Left> {
    let nginx = Config::new()?.location("/own/", "return 200 done;").location("/probe/", "return 200 ok;").start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("events");
    let agent = Agent::watching(&[nginx.selector()])?;
    let mut recorder = Recorder::start(&nginx.selector(), &file, &["--with-secrets"])?;
    recorder.until_recording("/probe/", || ask(&nginx, &Request::get("/probe/")))?;
    let logged = nginx.log_so_far()?.len();
    let before = agent.scrape_when(|now| ended(now) >= logged as f64)?;

    let worker = *nginx.workers()?.first().context("a worker")?;
    let mut debugged = Debugged::attach(worker)?;
    let mut client = Client::connect(nginx.address())?;
    client.send(&request.bytes())?;
    debugged.kill_behind(system_calls)?;
    client.response(false)?;
    client.rest();

    let reason = format!("observer_uncertain_total{{reason=\"{REASON}\"}}");
    let seen = agent.scrape_when(|now| now.value(&reason) > 0.0)?;
    ensure!(
        ended(&seen) == ended(&before) + 1.0 && seen.value(&reason) == 1.0,
        "one more than {}:\n{}\n{}",
        ended(&before),
        seen.own(),
        agent.stderr()
    );
    ensure!(seen.sum("observer_exchanges_unobserved_total") == 0.0, "not seen whole:\n{}", seen.own());
    drop(client);
    // What the new worker answers comes behind the end of all that the old one left.
    recorder.until_recording("/behind/", || ask(&nginx, &Request::get("/behind/")))?;
    recorder.end()?;
    let asked = nginx.log_so_far()?.iter().skip(logged).filter(|line| line.path() == PATH).count();
    Ok(Left { calls: calls(&file, &format!("GET {PATH}"))?, logged: asked })
}

/// All are over, and are nobody's.
fn ended(now: &Exposition) -> f64 {
    now.sum("observer_exchanges_filtered_total")
}

fn ask(nginx: &Nginx, request: &Request) -> Result<()> {
    Client::connect(nginx.address())?.exchange(request)?;
    Ok(())
}
