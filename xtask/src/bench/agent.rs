//! The agent that is measured.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;

use super::readings::Times;
use super::stage::free_address;
use crate::job::Job;
use crate::signals::{self, Stop};

/// Matches no process, so that every hook is attached and each leaves at once.
pub const NOTHING: &str = "name:observer-bench-nobody";

/// A record waits at most this long for the agent: what was sent before is counted after twice that.
pub const SETTLED: Duration = Duration::from_millis(200);

/// A running, ready agent. Dropping it kills it.
pub struct Agent {
    job: Job,
    address: SocketAddr,
    until_ready: Duration,
}

impl Agent {
    /// Starts it with default settings and waits until `/ready` says so. Its files are in `folder`.
    pub fn start(program: &Path, folder: &Path, selector: &str, services: &str) -> Result<Self> {
        let config = folder.join("observer.yaml");
        fs::write(&config, services).with_context(|| format!("cannot write {}", config.display()))?;
        let log = folder.join("agent.log");
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.args(["run", "--listen", &address.to_string(), "--gateway", selector, "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let start = Instant::now();
        let job = Job::start(&mut command, Stop::Group)?;
        let mut agent = Self { job, address, until_ready: Duration::ZERO };
        agent.wait_until_ready(&log)?;
        agent.until_ready = start.elapsed();
        Ok(agent)
    }

    /// From its start to `/ready` answering 200, on the clock.
    pub fn until_ready(&self) -> Duration {
        self.until_ready
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        self.job.pid()
    }

    /// The times of all its threads.
    pub fn times(&self) -> Result<Times> {
        Times::of_all_threads(self.pid())
    }

    /// Its metrics, now.
    pub fn scrape(&self) -> Result<Metrics> {
        let (status, text) = get(self.address, "/metrics").context("cannot scrape the agent")?;
        ensure!(status == 200, "the agent's /metrics answers {status}");
        Ok(Metrics(text))
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it and waits for that.
    pub fn end(self) -> Result<()> {
        self.job.end(Duration::from_secs(2))
    }

    fn wait_until_ready(&self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !get(self.address, "/ready").is_ok_and(|(status, _)| status == 200) {
            signals::check()?;
            let ended = self.job.has_ended()?;
            if ended || Instant::now() > deadline {
                signals::check()?;
                let log = fs::read_to_string(log).unwrap_or_default();
                let what = if ended { "ended at once" } else { "is not ready after 10 s" };
                bail!("the agent {what}; its messages: {}", log.trim_end());
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// Status and body of a GET.
pub fn get(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let answer = fetch(address, path, Vec::new())?;
    let answer = String::from_utf8(answer).map_err(io::Error::other)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let (status, body) = status.zip(answer.split_once("\r\n\r\n")).map(|(s, (_, b))| (s, b.to_owned())).unzip();
    status.zip(body).ok_or_else(|| io::Error::other("no HTTP response"))
}

/// The bytes that a GET is answered with, head and all, up to the connection's end. A large enough `buffer` keeps the
/// client's own work out of the way.
pub fn fetch(address: SocketAddr, path: &str, mut buffer: Vec<u8>) -> io::Result<Vec<u8>> {
    buffer.clear();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    // In one piece: `write!` to a socket sends several. HTTP/1.0 has no chunks to put together.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    stream.read_to_end(&mut buffer)?;
    Ok(buffer)
}

/// An exposition's text.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of a family's samples.
    pub fn sum(&self, family: &str) -> f64 {
        self.0.lines().filter_map(|line| sample(line, family)).map(|(_labels, value)| value).fold(0.0, add)
    }

    /// How many services have samples in a family.
    pub fn services(&self, family: &str) -> usize {
        let samples = self.0.lines().filter_map(|line| sample(line, family));
        samples.filter_map(|(labels, _)| quoted(labels, "service=\"")).collect::<HashSet<_>>().len()
    }

    /// The sum of a family's samples that have a label.
    pub fn sum_where(&self, family: &str, label: &str) -> f64 {
        let samples = self.0.lines().filter_map(|line| sample(line, family));
        samples.filter(|(labels, _)| labels.contains(label)).map(|(_, value)| value).fold(0.0, add)
    }
}

/// The text between `before` and the next quote.
fn quoted<'a>(labels: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = labels.split_once(before)?;
    rest.split_once('"').map(|(value, _)| value)
}

/// An empty `sum` of floats would be -0.
fn add(sum: f64, value: f64) -> f64 {
    sum + value
}

/// The labels and the value of a line, if it is a sample of this family.
fn sample<'a>(line: &'a str, family: &str) -> Option<(&'a str, f64)> {
    let rest = line.strip_prefix(family)?;
    if !rest.starts_with(['{', ' ']) {
        return None;
    }
    let (labels, value) = rest.rsplit_once(' ')?;
    Some((labels, value.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_family_is_summed_and_its_namesakes_are_not() {
        let metrics = Metrics(
            "# HELP a_total Words 7\na_total{code=\"200\",service=\"x y\"} 3\na_total{code=\"404\"} 4\na_total_more 9\na_tot 1\nb 5\n"
                .into(),
        );
        assert_eq!(metrics.sum("a_total"), 7.0);
        assert_eq!(metrics.sum_where("a_total", "code=\"404\""), 4.0);
        assert_eq!((metrics.sum("b"), metrics.sum("c")), (5.0, 0.0));
        assert!(metrics.sum("c").is_sign_positive());
    }

    #[test]
    fn a_service_with_several_samples_is_one() {
        let lines = "a{code=\"200\",service=\"x\"} 1\na{code=\"404\",service=\"x\"} 1\na{service=\"y\"} 1\nab{service=\"z\"} 1\n";
        assert_eq!(Metrics(lines.into()).services("a"), 2);
    }

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let answer = |text: &'static str| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let read = stream.read(&mut request).unwrap();
                stream.write_all(text.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..read]).into_owned()
            });
            let answer = get(address, "/ready").ok();
            assert!(server.join().unwrap().starts_with("GET /ready HTTP/1.0\r\nHost: 127.0.0.1:"));
            answer
        };
        assert_eq!(answer("HTTP/1.1 503 Not Yet\r\nA: b\r\n\r\nwait\r\n\r\n"), Some((503, "wait\r\n\r\n".into())));
        assert_eq!(answer("HTTP/1.1 200 OK"), None);
        assert_eq!(answer(""), None);
    }
}
