//! Where the project's files are, and cargo calls on them.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// The workspace and its target folder, both absolute.
pub struct Project {
    /// The folder of the workspace's `Cargo.toml`.
    pub root: PathBuf,
    /// `CARGO_TARGET_DIR`, or `target` in the root.
    pub target: PathBuf,
}

impl Project {
    /// The project this xtask was started from.
    pub fn here() -> Result<Self> {
        let package =
            env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.parent().context("xtask lies in no folder; start it with `cargo xtask`")?.to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(folder) if !folder.is_empty() => {
                env::current_dir().context("no current directory; change to the project's folder")?.join(folder)
            }
            _ => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The built agent.
    pub fn agent(&self) -> PathBuf {
        self.target.join("release/observer")
    }

    /// The built kernel part.
    pub fn kernel_object(&self) -> PathBuf {
        self.kernel_target().join("bpfel-unknown-none/kernel/observer-kernel")
    }

    /// The kernel part's own target folder: its compiler differs from the host's, and would else build all anew.
    pub fn kernel_target(&self) -> PathBuf {
        self.target.join("bpf")
    }

    /// Where `cargo install` puts the project's own tools; the programs are in `bin`.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The cargo that started xtask, with a subcommand, for the host's packages.
    ///
    /// Every such call has the same environment, so that none rebuilds what another one built.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let mut command = self.cargo_at(Path::new(&cargo), subcommand);
        command.env("CARGO_TARGET_DIR", &self.target).env("OBSERVER_KERNEL_OBJECT", self.kernel_object());
        command
    }

    /// Another cargo with a subcommand, in the root, without what `cargo run` left in the environment.
    pub fn cargo_at(&self, cargo: &Path, subcommand: &str) -> Command {
        let mut command = Command::new(cargo);
        command.arg(subcommand).current_dir(&self.root);
        for (name, _) in env::vars_os() {
            let left_by_cargo =
                name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
            if left_by_cargo {
                command.env_remove(name);
            }
        }
        command
    }
}

/// `--quiet` where nobody watches: cargo's progress is for terminals, its warnings and errors come anyway.
pub fn quiet_unless_terminal(command: &mut Command) -> &mut Command {
    if !io::stderr().is_terminal() {
        command.arg("--quiet");
    }
    command
}

/// Finds a program in `PATH`, and where Debian keeps those of the administrator.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
