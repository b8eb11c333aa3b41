//! The places that the agent chose in OpenSSL's functions: arguments and results there are those of the call, over many
//! calls, as a debugger sees them at the first instruction and behind the return.
#![cfg(target_arch = "x86_64")]

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use observer_tests::debugger::{Debugged, Hit};
use observer_tests::nginx::config::Config;
use observer_tests::wait::alone;
use observer_tests::{Body, Client, Nginx, Request, Upstream, agent};

const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libssl.so.3";

/// The functions that nginx calls for each request; Debian's compiler leaves a cheap place in both.
const FUNCTIONS: [&str; 2] = ["SSL_read", "SSL_write"];

/// A function's places as `observer check` tells them, as addresses in the process.
#[derive(Debug)]
struct Function {
    first: u64,
    entry: u64,
    exits: Vec<u64>,
}

/// A call under way.
#[derive(Debug, Default)]
struct Call {
    arguments: [u64; 4],
    returns_to: u64,
    stack: u64,
    result: Option<i32>,
    has_entered: bool,
}

/// What the calls of one function were.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    errors: usize,
    short: usize,
    nothing: usize,
}

#[test]
fn arguments_and_results_at_the_places_are_those_of_the_call() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::tls()?;
    let nginx = Config::new()?.tls("TLSv1.2 TLSv1.3").service("alpha", upstream.address()).upstream_tls().start()?;
    let checked = agent::run(&["check"])?.stdout;
    let worker = *nginx.workers()?.first().context("nginx has a worker")?;
    let functions: Vec<Function> =
        FUNCTIONS.iter().map(|name| function(&checked, name, worker)).collect::<Result<_>>()?;

    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let done = traffic(&nginx);
            is_over.store(true, Ordering::SeqCst);
            done
        });
        let seen = watch(worker, &functions, &is_over);
        traffic.join().expect("the traffic's thread")?;
        seen
    })?;
    for (name, seen) in FUNCTIONS.iter().zip(&seen) {
        ensure!(seen.calls >= 100, "{name}: {seen:?}");
    }
    ensure!(seen[0].errors >= 50 && seen[0].short >= 50 && seen[0].nothing >= 5, "SSL_read: {:?}", seen[0]);
    ensure!(seen[1].errors >= 1, "SSL_write: {:?}", seen[1]);
    Ok(())
}

/// Reads that find nothing, short reads, ends, and a client that reads too slowly.
fn traffic(nginx: &Nginx) -> Result<()> {
    for round in 0..10 {
        let mut client = Client::connect(nginx.address())?;
        for size in [0, 10, 1000, 20_000, 100_000] {
            client.exchange(&Request::get(format!("/alpha/bytes/{}", size + round)))?;
        }
        client.exchange(&Request::post("/alpha/echo", 40_000))?;
        client.exchange(&Request::new("PUT", "/alpha/echo").body(Body::Chunked { chunks: 5, chunk_bytes: 300 }))?;
        let bytes = Request::get("/alpha/bytes/1").bytes();
        client.send_split(&bytes, &[5, 20])?;
        client.response(false)?;
        client.tls().context("TLS")?.close_notify()?;
        client.rest();
    }
    let mut slow = Client::connect_slow(nginx.address(), 4096)?;
    slow.send(&Request::get("/alpha/bytes/8000000").bytes())?;
    slow.until_read()?;
    slow.response(false).map(drop)
}

/// Compares until the traffic is over.
fn watch(worker: u32, functions: &[Function], is_over: &AtomicBool) -> Result<Vec<Seen>> {
    let mut debugged = Debugged::attach(worker)?;
    for function in functions {
        for &address in [function.first, function.entry].iter().chain(&function.exits) {
            debugged.break_at(address)?;
        }
    }
    debugged.go_on()?;
    let mut seen: Vec<Seen> = functions.iter().map(|_| Seen::default()).collect();
    let mut open: HashMap<usize, Call> = HashMap::new();
    while !is_over.load(Ordering::SeqCst) {
        let Some(hit) = debugged.hit()? else {
            thread::yield_now();
            continue;
        };
        for (index, function) in functions.iter().enumerate() {
            look(&hit, function, index, &mut debugged, &mut open, &mut seen[index])?;
        }
        debugged.pass(&hit)?;
    }
    Ok(seen)
}

fn look(
    hit: &Hit,
    function: &Function,
    index: usize,
    debugged: &mut Debugged,
    open: &mut HashMap<usize, Call>,
    seen: &mut Seen,
) -> Result<()> {
    let registers = &hit.registers;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.rcx];
    if hit.address == function.first {
        let returns_to = debugged.word(registers.rsp)?;
        debugged.break_at(returns_to)?;
        open.insert(index, Call { arguments, returns_to, stack: registers.rsp, ..Call::default() });
    }
    let Some(call) = open.get_mut(&index) else { return Ok(()) };
    if hit.address == function.entry {
        ensure!(call.arguments == arguments, "arguments {arguments:x?} in place of {:x?}", call.arguments);
        call.has_entered = true;
    }
    if function.exits.contains(&hit.address) {
        call.result = Some(registers.rax as i32);
    }
    if hit.address == call.returns_to && registers.rsp == call.stack + 8 {
        let result = registers.rax as i32;
        ensure!(call.has_entered && call.result == Some(result), "{result} was returned: {call:x?}");
        seen.calls += 1;
        seen.errors += usize::from(result < 0);
        seen.nothing += usize::from(result == 0);
        seen.short += usize::from(result > 0 && (result as u32) < call.arguments[2] as u32);
        open.remove(&index);
    }
    Ok(())
}

/// Reads `SSL_read  entry +0x16 (emulated), result +0x38 (emulated); at 0x35430 of /usr/lib/…`.
fn function(checked: &str, name: &str, worker: u32) -> Result<Function> {
    let row = checked
        .lines()
        .find(|line| line.split_whitespace().nth(1) == Some(name) && line.contains(LIBRARY))
        .with_context(|| format!("no row for {name}:\n{checked}"))?;
    ensure!(row.matches("(emulated)").count() == 2, "no cheap place: {row}");
    let offsets: Vec<u64> =
        row.split_whitespace().filter_map(|word| u64::from_str_radix(word.strip_prefix("+0x")?, 16).ok()).collect();
    let offset = row.split("at 0x").nth(1).and_then(|rest| rest.split(' ').next()).context("an offset")?;
    let first = address(worker, u64::from_str_radix(offset, 16)?)?;
    let (entry, exits) = offsets.split_first().context("places")?;
    Ok(Function { first, entry: first + entry, exits: exits.iter().map(|exit| first + exit).collect() })
}

/// Where the process has mapped a place of the library.
fn address(worker: u32, offset: u64) -> Result<u64> {
    let maps = fs::read_to_string(format!("/proc/{worker}/maps"))?;
    let number = |text: &str| u64::from_str_radix(text, 16);
    for line in maps.lines().filter(|line| line.ends_with(LIBRARY)) {
        let mut fields = line.split_whitespace();
        let (range, access) = (fields.next().context("a range")?, fields.next().context("an access")?);
        let (from, to) = range.split_once('-').context("a range")?;
        let (from, to, begins) = (number(from)?, number(to)?, number(fields.next().context("an offset")?)?);
        if access.contains('x') && (begins..begins + (to - from)).contains(&offset) {
            return Ok(from + (offset - begins));
        }
    }
    anyhow::bail!("the worker has not mapped {LIBRARY}")
}
