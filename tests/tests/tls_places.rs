//! The places that the agent chose in OpenSSL: what is read there is what the call was made with and gave back, over many
//! calls, as a debugger sees them at the first instruction and behind the return.
#![cfg(target_arch = "x86_64")]

mod places;

use std::collections::HashMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::libc::user_regs_struct;
use nix::sys::signal::Signal;
use observer_tests::agent::SINGLE_PROBES_VARIABLE;
use observer_tests::debugger::{Debugged, Hit};
use observer_tests::nginx::config::Config;
use observer_tests::process::signal_pid;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Agent, Body, Client, Nginx, Request, Upstream, agent, tls};
use places::{Function, LIBRARY, Moved};

/// The functions that nginx calls for each request, and the record layer's function that each ends in.
const FUNCTIONS: [(&str, &str); 2] = [("SSL_read", "ssl3_read_bytes"), ("SSL_write", "ssl3_write_bytes")];

/// Application data (RFC 8446, section 5.1).
const APPLICATION_DATA: u64 = 23;

/// A call under way.
#[derive(Debug, Default)]
struct Call {
    arguments: [u64; 4],
    returns_to: u64,
    stack: u64,
    result: Option<i32>,
    has_entered: bool,
    /// What the record layer's places told of.
    bytes: u64,
}

/// What the calls of one function were.
#[derive(Debug, Default)]
struct Seen {
    calls: usize,
    errors: usize,
    short: usize,
    nothing: usize,
    pieces: usize,
}

#[test]
fn what_is_read_at_the_places_is_what_the_calls_moved() -> Result<()> {
    let _alone = alone()?;
    let upstream = Upstream::tls()?;
    let config = Config::new()?.tls("TLSv1.2 TLSv1.3").service("alpha", upstream.address()).upstream_tls();
    let narrow = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let nginx = config.server(&format!("listen {narrow} ssl sndbuf=8k;")).start()?;
    let record_layer = agent::run(&["check"])?.stdout;
    let plain = agent::finish(agent::command()?.arg("check").env("OBSERVER_TEST_TLS_FUNCTIONS", "1"))?.stdout;
    let worker = *nginx.workers()?.first().context("nginx has a worker")?;
    let functions: Vec<Function> =
        FUNCTIONS.iter().map(|names| places::function(&plain, &record_layer, *names, worker)).collect::<Result<_>>()?;

    let (is_over, is_full) = (AtomicBool::new(false), AtomicBool::new(false));
    let seen = thread::scope(|scope| {
        let traffic = scope.spawn(|| {
            let done = traffic(&nginx).and_then(|()| blocked(narrow, &is_full));
            is_over.store(true, Ordering::SeqCst);
            // Ends the debugger's wait; nginx takes no notice.
            signal_pid(worker, Signal::SIGURG)?;
            done
        });
        let seen = watch(worker, &functions, &is_over, &is_full);
        traffic.join().expect("the traffic's thread")?;
        seen
    })?;
    let [read, written] = &seen[..] else { anyhow::bail!("two functions") };
    ensure!(read.calls >= 60 && read.errors >= 20 && read.short >= 20 && read.nothing >= 3, "SSL_read: {read:?}");
    ensure!(written.calls >= 40 && written.errors >= 1, "SSL_write: {written:?}");
    ensure!(read.pieces >= 30 && written.pieces >= 30, "{seen:?}");
    Ok(())
}

/// Reads that find nothing, short reads, ends, and a client that reads too slowly.
fn traffic(nginx: &Nginx) -> Result<()> {
    for round in 0..3 {
        let mut client = Client::connect(nginx.address())?;
        for size in [0, 10, 1000, 20_000, 70_000] {
            client.exchange(&Request::get(format!("/alpha/bytes/{}", size + round)))?;
        }
        client.exchange(&Request::post("/alpha/echo", 20_000))?;
        client.exchange(&Request::new("PUT", "/alpha/echo").body(Body::Chunked { chunks: 5, chunk_bytes: 300 }))?;
        let bytes = Request::get("/alpha/bytes/1").bytes();
        client.send_split(&bytes, &[5, 20])?;
        client.response(false)?;
        client.tls().context("TLS")?.close_notify()?;
        client.rest();
    }
    Ok(())
}

/// A client that reads nothing until nginx can write no more, and all then.
fn blocked(narrow: SocketAddr, is_full: &AtomicBool) -> Result<()> {
    let config = Arc::new(tls::client_config(rustls::ALL_VERSIONS, &[])?);
    let mut slow = Client::connect_by_tls(narrow, &config)?;
    slow.send(&Request::get("/alpha/bytes/9000000").bytes())?;
    until_true("SSL_write finds no room", PATIENCE, || Ok(is_full.load(Ordering::SeqCst)))?;
    slow.bytes(100_000)?;
    slow.reset()
}

/// Compares until the traffic is over.
fn watch(worker: u32, functions: &[Function], is_over: &AtomicBool, is_full: &AtomicBool) -> Result<Vec<Seen>> {
    let mut debugged = Debugged::attach(worker)?;
    for function in functions {
        let moved = function.moved.iter().map(|moved| &moved.address);
        for &address in [function.first, function.entry].iter().chain(&function.exits).chain(moved) {
            debugged.break_at(address)?;
        }
    }
    debugged.go_on()?;
    let mut seen: Vec<Seen> = functions.iter().map(|_| Seen::default()).collect();
    let mut open: HashMap<usize, Call> = HashMap::new();
    while !is_over.load(Ordering::SeqCst) {
        let Some(hit) = debugged.hit()? else { continue };
        for (index, function) in functions.iter().enumerate() {
            if hit.address == function.first {
                let call = called(&hit, &mut debugged)?;
                open.insert(index, call);
            }
            if let Some(call) = open.get_mut(&index)
                && look(&hit, function, &debugged, call, &mut seen[index])?
            {
                open.remove(&index);
            }
            is_full.fetch_or(!function.is_read && seen[index].errors > 0, Ordering::SeqCst);
        }
        debugged.pass(&hit)?;
    }
    Ok(seen)
}

fn called(hit: &Hit, debugged: &mut Debugged) -> Result<Call> {
    let registers = &hit.registers;
    let returns_to = debugged.word(registers.rsp)?;
    debugged.break_at(returns_to)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.rcx];
    Ok(Call { arguments, returns_to, stack: registers.rsp, ..Call::default() })
}

/// Looks at what a hit tells of a call. Returns whether that is over.
fn look(hit: &Hit, function: &Function, debugged: &Debugged, call: &mut Call, seen: &mut Seen) -> Result<bool> {
    let registers = &hit.registers;
    if hit.address == function.entry {
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.rcx];
        ensure!(call.arguments == arguments, "arguments {arguments:x?} in place of {:x?}", call.arguments);
        call.has_entered = true;
    }
    if function.exits.contains(&hit.address) {
        call.result = Some(registers.rax as i32);
    }
    if let Some(moved) = function.moved.iter().find(|moved| moved.address == hit.address) {
        seen.pieces += usize::from(piece(moved, function.is_read, registers, debugged, call)?);
    }
    if hit.address != call.returns_to || registers.rsp != call.stack + 8 {
        return Ok(false);
    }
    let result = registers.rax as i32;
    ensure!(call.has_entered && call.result == Some(result), "{result} was returned: {call:x?}");
    let moved = u64::try_from(result).unwrap_or(0);
    ensure!(call.bytes == moved, "the record layer moved {} bytes: {call:x?}", call.bytes);
    seen.calls += 1;
    seen.errors += usize::from(result < 0);
    seen.nothing += usize::from(result == 0);
    seen.short += usize::from(result > 0 && (result as u32) < call.arguments[2] as u32);
    Ok(true)
}

/// A hit in the record layer. Returns whether it was for application data.
fn piece(
    moved: &Moved,
    is_read: bool,
    registers: &user_regs_struct,
    debugged: &Debugged,
    call: &mut Call,
) -> Result<bool> {
    let at = |name: &str| -> Result<Option<u64>> {
        let location = moved.locations.get(name).with_context(|| format!("no {name}: {moved:?}"))?;
        match location.as_str() {
            "unknown" => Ok(None),
            stack if stack.starts_with("sp+0x") => {
                Ok(Some(debugged.word(registers.rsp + u64::from_str_radix(&stack[5..], 16)?)?))
            }
            name => register(registers, name).map(Some),
        }
    };
    let [ssl, buffer, length, _] = call.arguments;
    if at("type")?.is_some_and(|content| content & 0xff != APPLICATION_DATA) {
        return Ok(false);
    }
    ensure!(at("ssl")?.is_none_or(|told| told == ssl), "another connection: {call:x?}");
    if is_read {
        let into = registers.rdi;
        ensure!(at("peek")?.is_some_and(|peek| peek as u32 == 0), "SSL_read peeks: {call:x?}");
        ensure!(into == buffer + call.bytes && into + registers.rdx <= buffer + length, "into {into:x}: {call:x?}");
        call.bytes += registers.rdx;
    } else {
        ensure!(at("buffer")? == Some(buffer), "another buffer: {call:x?}");
        call.bytes += at("length")?.context("a length")?;
    }
    Ok(true)
}

fn register(registers: &user_regs_struct, name: &str) -> Result<u64> {
    Ok(match name {
        "rax" => registers.rax,
        "rbx" => registers.rbx,
        "rcx" => registers.rcx,
        "rdx" => registers.rdx,
        "rsi" => registers.rsi,
        "rdi" => registers.rdi,
        "rbp" => registers.rbp,
        "r8" => registers.r8,
        "r9" => registers.r9,
        "r10" => registers.r10,
        "r11" => registers.r11,
        "r12" => registers.r12,
        "r13" => registers.r13,
        "r14" => registers.r14,
        "r15" => registers.r15,
        _ => anyhow::bail!("no register {name}"),
    })
}

/// The kernel keeps a page of its own for each process that has a breakpoint on it.
#[test]
fn another_program_with_the_same_library_has_no_probe_in_it() -> Result<()> {
    const BREAKPOINT: u8 = 0xcc;
    let _alone = alone()?;
    let upstream = Upstream::ipv4()?;
    let start = || Config::new()?.tls("TLSv1.2 TLSv1.3").service("alpha", upstream.address()).start();
    let (observed, bystander) = (start()?, start()?);
    let places = places::all(&agent::run(&["check"])?.stdout)?;
    ensure!(places.len() >= 8, "few places: {places:x?}");
    let library = File::open(LIBRARY)?;
    for variables in [&[][..], &[(SINGLE_PROBES_VARIABLE, "1")]] {
        let _agent = Agent::start_with(&[observed.selector()], &[], variables)?;
        for nginx in [&observed, &bystander] {
            Client::connect(nginx.address())?.exchange(&Request::get("/alpha/bytes/10"))?;
        }
        for &place in &places {
            let own = byte(&library, place)?;
            ensure!(own != BREAKPOINT, "{place:#x} of the file has a breakpoint");
            for (nginx, expected) in [(&observed, BREAKPOINT), (&bystander, own)] {
                for process in nginx.workers()?.into_iter().chain([nginx.pid()]) {
                    let memory = File::open(format!("/proc/{process}/mem"))?;
                    let found = byte(&memory, places::address(process, place)?)?;
                    ensure!(found == expected, "{found:#x} in place of {expected:#x} at {place:#x} of {process}");
                }
            }
        }
    }
    Ok(())
}

fn byte(file: &File, at: u64) -> Result<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    Ok(byte[0])
}
