//! The agent's log lines: for people, or as one JSON object each.

use std::fmt::Display;
use std::io::{IsTerminal, Write, stderr};
use std::time::SystemTime;

use clap::ValueEnum;
use log::Level;
use serde::Serialize;

/// How log lines are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// An object a line: time, level, module, message
    Json,
}

impl LogFormat {
    /// Sets the process's log up, once. `RUST_LOG` filters in both formats.
    pub fn start(self) {
        // warp tells of clients' mistakes as errors of its own.
        let mut builder = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info,warp=off"));
        match self {
            LogFormat::Text => builder.format_target(false).init(),
            LogFormat::Json => {
                builder
                    .format(|out, record| {
                        let message = record.args().to_string();
                        writeln!(out, "{}", line(SystemTime::now(), record.level(), record.target(), &message))
                    })
                    .init();
                std::panic::set_hook(Box::new(|panic| log::error!("{}", one_line(panic))));
            }
        }
    }

    /// Says on stderr, in one line, why the process ends. No filter leaves it out.
    pub fn tell_end(self, error: &anyhow::Error) {
        let text = one_line(format_args!("{error:#}"));
        match self {
            LogFormat::Text if is_coloured(&stderr()) => eprintln!("\x1b[1;31merror:\x1b[0m {text}"),
            LogFormat::Text => eprintln!("error: {text}"),
            LogFormat::Json => eprintln!("{}", line(SystemTime::now(), Level::Error, "observer", &text)),
        }
    }
}

/// Whether to colour what is written there: on terminals alone, and not where `NO_COLOR` is set (no-color.org).
pub fn is_coloured(stream: &impl IsTerminal) -> bool {
    let has = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !has("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    level: String,
    module: &'a str,
    message: &'a str,
}

/// The time is UTC, by RFC 3339, in milliseconds.
fn line(time: SystemTime, level: Level, module: &str, message: &str) -> String {
    let time = humantime::format_rfc3339_millis(time).to_string();
    let line = Line { time, level: level.as_str().to_lowercase(), module, message };
    serde_json::to_string(&line).unwrap_or_else(|error| format!("{{\"level\":\"error\",\"message\":\"{error}\"}}"))
}

/// Causes of several lines, as the kernel's verifier gives them, in one.
fn one_line(text: impl Display) -> String {
    let text = text.to_string();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_is_an_object_whatever_the_message_holds() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let text = line(time, Level::Warn, "observer::agent", "a \"name\"\nand \u{1b}[31m more");
        assert_eq!(text.lines().count(), 1);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read["time"], "1970-01-01T00:00:01.500Z");
        assert_eq!((&read["level"], &read["module"]), (&"warn".into(), &"observer::agent".into()));
        assert_eq!(read["message"], "a \"name\"\nand \u{1b}[31m more");
    }

    #[test]
    fn an_error_of_several_lines_is_told_in_one() {
        assert_eq!(one_line("cannot load\n\n  0: r1 = 0\n  1: exit\n"), "cannot load; 0: r1 = 0; 1: exit");
    }

    #[test]
    fn a_file_is_not_coloured() {
        assert!(!is_coloured(&tempfile::tempfile().unwrap()));
    }
}
