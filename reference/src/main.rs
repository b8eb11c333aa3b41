//! Writes what is told of the agent elsewhere out of its own descriptions: man pages, completions, the page of metrics.

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{CommandFactory, Parser};
use clap_complete::{Shell, generate_to};
use observer::cli::Cli;

/// Writes man pages, completions and the page of metrics.
#[derive(Debug, Parser)]
enum Command {
    /// Write the man pages, one a subcommand, to a folder
    Man {
        /// The folder; made if there is none
        folder: PathBuf,
    },
    /// Write completions for bash, fish and zsh, under their usual names, to a folder
    Completions {
        /// The folder; made if there is none
        folder: PathBuf,
    },
    /// Print docs/metrics.md
    Metrics,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Man { folder } => man(&folder),
        Command::Completions { folder } => completions(&folder),
        Command::Metrics => Ok(stdout().write_all(observer::reference::page().as_bytes())?),
    }
}

fn made(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}; choose another folder", folder.display()))
}

fn man(folder: &Path) -> Result<()> {
    made(folder)?;
    // A page for `help` would tell nothing.
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, folder).with_context(|| format!("cannot write to {}", folder.display()))
}

fn completions(folder: &Path) -> Result<()> {
    made(folder)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut Cli::command(), "observer", folder)
            .with_context(|| format!("cannot write to {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn each_subcommand_has_a_man_page_with_its_examples() {
        let folder = tempfile::tempdir().unwrap();
        man(folder.path()).unwrap();
        let names = names(folder.path());
        for subcommand in Cli::command().get_subcommands() {
            let page = format!("observer-{}.1", subcommand.get_name());
            assert!(names.contains(&page), "{page} is not in {names:?}");
            let text = fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains("Examples:"), "{text}");
        }
        assert!(names.contains(&"observer.1".to_owned()) && names.iter().all(|name| !name.contains("help")));
    }

    #[test]
    fn three_shells_complete_under_their_usual_names() {
        let folder = tempfile::tempdir().unwrap();
        completions(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["_observer", "observer.bash", "observer.fish"]);
        let bash = fs::read_to_string(folder.path().join("observer.bash")).unwrap();
        assert!(bash.contains("--kong-config") && bash.contains("replay"));
    }

    #[test]
    fn the_page_of_metrics_is_current() {
        let page = include_str!("../../docs/metrics.md");
        assert!(
            page == observer::reference::page(),
            "write it anew: cargo run --package observer-reference -- metrics > docs/metrics.md"
        );
    }
}
