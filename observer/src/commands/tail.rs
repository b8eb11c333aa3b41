//! `observer tail`.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;

use anyhow::{Context, Result};
use hyper::body::Incoming;

use super::ask::{Agent, AskError};
use crate::cli::TailArgs;
use crate::client::{piece, runtime};
use crate::tail::{Format, Line, print};

/// Lines that wait for whoever reads this command's output; with more, the newest are lost.
const WAITING: usize = 16 * 1024;

/// A longer line is none of an observer's.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Prints exchanges as they end, until the agent ends, nobody reads any more, or there were enough.
pub fn tail(args: &TailArgs) -> Result<ExitCode> {
    let mut agent = Agent::new(&args.agent)?;
    let query = args.wish().to_query();
    let target = if query.is_empty() { "/tail".to_owned() } else { format!("/tail?{query}") };
    let runtime = runtime().context("cannot wait for the observer")?;
    let body = runtime.block_on(agent.get(&target))?.into_body();
    let (lines, printed) = sync_channel(WAITING);
    let unprinted = Arc::new(AtomicU64::new(0));
    let printer = Printer { format: args.format, left: args.lines, unprinted: Arc::clone(&unprinted) };
    // Whoever reads the output may pause: the stream is read on meanwhile.
    let reading = thread::spawn(move || runtime.block_on(read(&agent, body, &lines, &unprinted)));
    let is_done = match printer.run(&printed, &mut BufWriter::new(io::stdout().lock())) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => true,
        ended => ended.context("cannot print")?,
    };
    if is_done {
        return Ok(ExitCode::SUCCESS);
    }
    let ended = reading.join().map_err(|_| anyhow::anyhow!("the reading thread panicked; its message is above"))?;
    Err(ended.into())
}

/// Hands on line by line until the stream ends, and says why. What nobody takes in time is counted.
async fn read(agent: &Agent, mut body: Incoming, lines: &SyncSender<String>, unprinted: &AtomicU64) -> AskError {
    let ended = |reason: String| AskError::Ended { url: agent.url().clone(), reason };
    let mut rest = Vec::new();
    while let Some(bytes) = piece(&mut body).await {
        match bytes {
            Ok(bytes) => rest.extend_from_slice(&bytes),
            Err(reason) => return ended(format!(": {reason}")),
        }
        while let Some(end) = memchr::memchr(b'\n', &rest) {
            let line = String::from_utf8_lossy(&rest[..end]).into_owned();
            rest.drain(..=end);
            if lines.try_send(line).is_err() {
                unprinted.fetch_add(1, Ordering::Relaxed);
            }
        }
        if rest.len() > LINE_BYTES_MAX {
            return ended(format!(": a line has more than {LINE_BYTES_MAX} bytes"));
        }
    }
    ended(String::new())
}

struct Printer {
    format: Format,
    /// How many more, if not all.
    left: Option<u64>,
    /// Lines that came faster than they were printed, not told yet.
    unprinted: Arc<AtomicU64>,
}

impl Printer {
    /// Whether there were enough; else the stream is over.
    fn run(mut self, lines: &Receiver<String>, out: &mut impl Write) -> io::Result<bool> {
        while self.left != Some(0) {
            let line = match lines.try_recv() {
                Ok(line) => line,
                Err(TryRecvError::Empty) => {
                    out.flush()?;
                    match lines.recv() {
                        Ok(line) => line,
                        Err(_) => return Ok(false),
                    }
                }
                Err(TryRecvError::Disconnected) => break,
            };
            self.print(&line, out)?;
        }
        out.flush()?;
        Ok(self.left == Some(0))
    }

    fn print(&mut self, raw: &str, out: &mut impl Write) -> io::Result<()> {
        let unprinted = self.unprinted.swap(0, Ordering::Relaxed);
        if unprinted > 0 {
            self.lost(unprinted, out)?;
        }
        match serde_json::from_str::<Line>(raw) {
            Ok(Line::Entry(entry)) => {
                self.left = self.left.map(|left| left - 1);
                writeln!(out, "{}", print(&entry, raw, self.format))
            }
            Ok(Line::Lost { lost }) => self.lost(lost, out),
            // Of a later version.
            Err(error) => {
                out.flush()?;
                eprintln!("observer tail: a line cannot be read ({error}); use the observer's version");
                Ok(())
            }
        }
    }

    /// In its place among the lines; in a log's format beside them, for what reads the log.
    fn lost(&self, lost: u64, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Json => writeln!(out, "{{\"lost\":{lost}}}"),
            Format::Text => writeln!(out, "# {lost} exchanges passed unprinted: they came faster than they were read"),
            Format::Combined => {
                out.flush()?;
                eprintln!("observer tail: {lost} exchanges passed unprinted: they came faster than they were read");
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, left: Option<u64>, unprinted: u64, lines: &[&str]) -> (String, bool) {
        let (sender, receiver) = sync_channel(WAITING);
        lines.iter().for_each(|line| sender.send((*line).to_owned()).unwrap());
        drop(sender);
        let mut out = Vec::new();
        let printer = Printer { format, left, unprinted: Arc::new(AtomicU64::new(unprinted)) };
        let is_done = printer.run(&receiver, &mut out).unwrap();
        (String::from_utf8(out).unwrap(), is_done)
    }

    const ENTRY: &str = r#"{"time_ms":0,"method":"GET","path":"/a","status":200,"of_a_later_version":1}"#;

    #[test]
    fn losses_stand_where_they_happened() {
        let lines = [ENTRY, r#"{"lost":3}"#, ENTRY];
        let (text, is_done) = printed(Format::Text, None, 2, &lines);
        let starts: Vec<&str> = text.lines().map(|line| line.split(' ').take(2).last().unwrap()).collect();
        assert_eq!((starts, is_done), (vec!["2", "unix:", "3", "unix:"], false), "{text}");
        let (json, _) = printed(Format::Json, None, 2, &lines);
        assert_eq!(json, format!("{{\"lost\":2}}\n{ENTRY}\n{{\"lost\":3}}\n{ENTRY}\n"));
        let (combined, _) = printed(Format::Combined, None, 2, &lines);
        assert_eq!(combined.lines().count(), 2, "{combined}");
    }

    #[test]
    fn it_ends_after_enough_exchanges() {
        let (text, is_done) = printed(Format::Json, Some(2), 0, &[ENTRY, r#"{"lost":3}"#, ENTRY, ENTRY]);
        assert_eq!((text.matches("GET").count(), is_done), (2, true));
        assert_eq!(printed(Format::Json, Some(0), 0, &[ENTRY]), (String::new(), true));
    }
}
