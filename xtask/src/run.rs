//! `cargo xtask run`: the agent on this host, with a demo gateway if wanted.

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::demo::Demo;
use crate::job::Job;
use crate::project::Project;
use crate::setup::{self, Purpose};
use crate::signals::Stop;
use crate::{build, say, step};

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub struct Args {
    /// Also start a gateway with two services behind it, send them traffic, and print the URL to look at
    #[arg(long)]
    demo: bool,
    /// Arguments for the agent
    #[arg(last = true)]
    agent: Vec<OsString>,
}

/// Sets up, builds and runs the agent until it ends, by itself or by a signal. Gives the agent's exit code.
pub fn run(project: &Project, args: &Args) -> Result<ExitCode> {
    let purpose = if args.demo { Purpose::Demo } else { Purpose::Build };
    let ready = setup::prepare(project, purpose)?;
    build::kernel_part(project, &ready)?;
    build::agent(project)?;

    let mut agent = Command::new(project.agent());
    agent.stdin(Stdio::null());
    let status = if args.demo {
        with_demo(project, &mut agent, &args.agent)?
    } else {
        step(&format!("agent: starting {}", project.agent().display()));
        Job::start(agent.args(&args.agent), Stop::Group)?.wait()?
    };
    Ok(exit_code(status))
}

fn with_demo(project: &Project, agent: &mut Command, args: &[OsString]) -> Result<ExitStatus> {
    let mut demo = Demo::start()?;
    step(&format!("demo: gateway on http://{}", demo.gateway()));
    agent.arg("run").args(demo.agent_args());
    let (listen, plugin) = match listen_argument(args) {
        Some(listen) => (listen.to_owned(), None),
        None => (free_address()?.to_string(), rules_are_free(args).then(|| demo.plugin(&project.agent())).transpose()?),
    };
    match &plugin {
        Some(plugin) => agent.args(plugin.agent_args(&listen)),
        None if listen_argument(args).is_none() => agent.args(["--listen", &listen]),
        None => agent,
    };

    step("agent: starting");
    let job = Job::start(agent.args(args), Stop::Group)?;
    if wait_until_ready(&job, &listen)? {
        if let Some(plugin) = &plugin {
            demo.enable(plugin, &listen)?;
            step("demo: the plugin is enabled for orders and users; for all there is, as on the plugin's page:");
            say(&plugin.line(&listen));
        }
        demo.send_traffic();
        step(&format!("demo: look at http://{listen}/metrics (Ctrl-C ends all)"));
    }
    let status = job.wait()?;
    step("demo: ending");
    demo.end();
    Ok(status)
}

/// The address the person gave the agent.
fn listen_argument(args: &[OsString]) -> Option<&str> {
    let listen = args.iter().enumerate().find_map(|(i, arg)| {
        if arg == "--listen" {
            return args.get(i + 1).map(OsString::as_os_str);
        }
        arg.to_str()?.strip_prefix("--listen=").map(OsStr::new)
    });
    listen?.to_str()
}

/// Whether the person leaves to the demo who may change what is counted, and what is at first.
fn rules_are_free(args: &[OsString]) -> bool {
    let own = ["--auth-file", "--start-disabled", "--state-dir"];
    let is_own = |arg: &str| own.iter().any(|own| arg.strip_prefix(own).is_some_and(|rest| !rest.starts_with('-')));
    !args.iter().any(|arg| arg.to_str().is_some_and(is_own))
}

/// The agent's default port on loopback, or another one where that is taken.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:9542")
        .or_else(|_| TcpListener::bind("127.0.0.1:0"))
        .and_then(|listener| listener.local_addr())
        .context("no free port on 127.0.0.1")
}

/// Says whether the agent became ready; it did not if it ended, or a person should look at its messages.
fn wait_until_ready(agent: &Job, address: &str) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if agent.has_ended()? {
            return Ok(false);
        }
        if says_ready(address).unwrap_or(false) {
            return Ok(true);
        }
        thread::sleep(Duration::from_millis(50));
    }
    eprintln!("warning: the agent is not ready after 30 s; look at http://{address}/ready");
    Ok(false)
}

fn says_ready(address: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut status_line = String::new();
    BufReader::new(stream).read_line(&mut status_line)?;
    Ok(status_line.split(' ').nth(1) == Some("200"))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .and_then(|number| u8::try_from(number).ok());
    number.map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(args: &[&str]) -> Option<String> {
        let args: Vec<OsString> = args.iter().map(OsString::from).collect();
        listen_argument(&args).map(str::to_owned)
    }

    #[test]
    fn the_persons_address_is_found_in_both_spellings() {
        let address = Some("127.0.0.1:1".to_owned());
        assert_eq!(listen(&["-v", "--listen", "127.0.0.1:1"]), address);
        assert_eq!(listen(&["--listen=127.0.0.1:1", "--listen=127.0.0.1:2"]), address);
        assert_eq!(listen(&["--listen"]), None);
        assert_eq!(listen(&[]), None);
    }

    #[test]
    fn the_persons_own_rules_take_the_place_of_the_demos() {
        let free = |args: &[&str]| rules_are_free(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(free(&[]) && free(&["--no-own-metrics"]));
        for own in ["--auth-file=x", "--auth-file", "--start-disabled", "--state-dir=/tmp/x"] {
            assert!(!free(&["-v", own]), "{own}");
        }
    }

    #[test]
    fn a_killed_agent_gives_the_shells_exit_code() {
        let seen = |raw| format!("{:?}", exit_code(ExitStatus::from_raw(raw)));
        assert_eq!(seen(9), format!("{:?}", ExitCode::from(137)));
        assert_eq!(seen(2 << 8), format!("{:?}", ExitCode::from(2)));
    }

    #[test]
    fn only_status_200_is_ready() {
        for (answer, ready) in
            [("HTTP/1.1 200 OK\r\n\r\n", true), ("HTTP/1.1 503 Service Unavailable\r\n\r\n", false), ("", false)]
        {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                line
            });
            // A server that closes early may also reset the connection.
            assert_eq!(says_ready(&address).unwrap_or(false), ready, "{answer:?}");
            assert_eq!(server.join().unwrap(), "GET /ready HTTP/1.1\r\n");
        }
    }
}
