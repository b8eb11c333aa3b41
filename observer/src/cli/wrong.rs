//! A command line that cannot be used, in one line.

use std::ffi::OsString;
use std::process::exit;

use clap::Parser;
use clap::error::ErrorKind;

use super::Cli;
use crate::logging::LogFormat;

impl Cli {
    /// What this process was started with. Ends it where that asks for help, or is wrong: then with one line that tells
    /// why, and what to do.
    pub fn of_process() -> Cli {
        Cli::try_parse().unwrap_or_else(|error| {
            if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
                error.exit();
            }
            format(std::env::args_os()).tell_end(&anyhow::anyhow!(one_line(&error)));
            exit(error.exit_code())
        })
    }
}

/// The log's format, out of arguments that are wrong elsewhere.
fn format(arguments: impl Iterator<Item = OsString>) -> LogFormat {
    let arguments: Vec<OsString> = arguments.collect();
    let is_apart = |pair: &[OsString]| pair[0] == "--log-format" && pair[1] == "json";
    let is_json = arguments.windows(2).any(is_apart) || arguments.iter().any(|one| one == "--log-format=json");
    if is_json { LogFormat::Json } else { LogFormat::Text }
}

/// clap's paragraphs without the usage, which `--help` has.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty() && !part.starts_with("Usage:")) {
        if !line.is_empty() {
            line.push_str(if line.ends_with(':') { " " } else { "; " });
        }
        line.push_str(part.strip_prefix("error: ").unwrap_or(part));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> String {
        one_line(&Cli::try_parse_from([&["observer"], arguments].concat()).unwrap_err())
    }

    #[test]
    fn what_is_wrong_and_what_to_do_stand_in_one_line() {
        assert_eq!(
            told(&["--lisen", "x"]),
            "unexpected argument '--lisen' found; tip: a similar argument exists: '--listen'; For more information, try '--help'."
        );
        assert!(told(&["record"]).starts_with("the following required arguments were not provided: <FILE>; For"));
        assert!(told(&["--listen", "nowhere"]).contains("\"nowhere\" is no address; give ADDR:PORT"));
    }

    #[test]
    fn the_format_is_known_before_the_rest() {
        let of = |arguments: &[&str]| format(arguments.iter().map(Into::into));
        assert_eq!(of(&["observer", "--log-format", "json", "--lisen"]), LogFormat::Json);
        assert_eq!(of(&["observer", "--log-format=json"]), LogFormat::Json);
        assert_eq!(of(&["observer", "--lisen", "json"]), LogFormat::Text);
    }
}
