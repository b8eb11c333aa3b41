//! The compiler of the kernel part: Debian's with a ready-made core for BPF, or rustup's nightly that builds core itself.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::linker;
use crate::job::answer;
use crate::project::Project;

/// The only target of the kernel part.
pub const TARGET: &str = "bpfel-unknown-none";

/// A compiler that makes BPF code.
#[derive(Debug, PartialEq, Eq)]
pub struct Toolchain {
    kind: Kind,
    /// The folder of its `cargo` and `rustc`.
    bin: PathBuf,
    /// As in `rustc 1.96.0`.
    release: String,
    /// As in `LLVM version: 22.1.8`.
    llvm_major: u32,
}

impl Toolchain {
    /// Debian's if it is there (its LLVM is the project's), else rustup's nightly.
    pub fn detect() -> Option<Self> {
        Self::debian(Path::new("/usr/bin")).or_else(|| Self::nightly(&rustup_home()?))
    }

    /// How it is named to people.
    pub fn describe(&self) -> String {
        let core = match self.kind {
            Kind::Debian => "Debian's BPF core",
            Kind::Nightly => "rustup's nightly and rust-src",
        };
        format!("{core} (rustc {})", self.release)
    }

    /// A call of its cargo on the kernel part, to which more may be added.
    pub fn cargo(&self, project: &Project, linker: &Path, subcommand: &str) -> Command {
        self.configure(project.cargo_at(&self.bin.join("cargo"), subcommand), project, linker)
    }

    /// The same with clippy, where it has one.
    pub fn clippy(&self, project: &Project, linker: &Path) -> Option<Command> {
        // `cargo clippy` would take the first clippy in PATH, which is another compiler's.
        let program = self.bin.join("cargo-clippy");
        let driver = self.bin.join("clippy-driver");
        (program.is_file() && driver.is_file())
            .then(|| self.configure(project.cargo_at(&program, "clippy"), project, linker))
    }

    /// The major version of its LLVM.
    pub fn llvm_major(&self) -> u32 {
        self.llvm_major
    }

    /// Whether it is Debian's.
    pub fn is_debian(&self) -> bool {
        self.kind == Kind::Debian
    }

    #[cfg(test)]
    pub fn example_nightly() -> Self {
        Self {
            kind: Kind::Nightly,
            bin: PathBuf::from("/nowhere"),
            release: "1.97.0-nightly".to_owned(),
            llvm_major: 22,
        }
    }

    fn debian(bin: &Path) -> Option<Self> {
        if !bin.join("cargo").is_file() {
            return None;
        }
        let rustc = bin.join("rustc");
        let sysroot = answer(plain(&rustc).args(["--print", "sysroot"]))?;
        has_bpf_core(Path::new(sysroot.trim_end())).then(|| Self::new(Kind::Debian, bin)).flatten()
    }

    fn nightly(rustup_home: &Path) -> Option<Self> {
        let sysroot = nightly_with_source(rustup_home)?;
        Self::new(Kind::Nightly, &sysroot.join("bin"))
    }

    fn new(kind: Kind, bin: &Path) -> Option<Self> {
        let version = answer(plain(&bin.join("rustc")).arg("-vV"))?;
        let (release, llvm_major) = parse_version(&version)?;
        // A person's own bpf-linker may have a newer LLVM than the project's.
        let linkable = llvm_major <= linker::LLVM_MAJOR || linker::of_the_person().is_some();
        linkable.then(|| Self { kind, bin: bin.to_owned(), release, llvm_major })
    }

    fn configure(&self, mut command: Command, project: &Project, linker: &Path) -> Command {
        command
            .args(["--locked", "--package", "observer-ebpf", "--features", "kernel"])
            .args(["--target", TARGET, "--profile", "kernel"])
            .env("CARGO_TARGET_DIR", project.kernel_target())
            .env("CARGO", self.bin.join("cargo"))
            .env("RUSTC", self.bin.join("rustc"))
            .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(linker));
        for name in FOREIGN {
            command.env_remove(name);
        }
        // aya-ebpf uses unstable features, and build-std is one.
        command.env("RUSTC_BOOTSTRAP", "1");
        match self.kind {
            Kind::Debian => {}
            Kind::Nightly => {
                command.args(["-Z", "build-std=core"]);
            }
        }
        command
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Debian,
    Nightly,
}

/// What rustup, `cargo run` and the person set for another compiler.
const FOREIGN: &[&str] =
    &["LD_LIBRARY_PATH", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];

fn plain(program: &Path) -> Command {
    let mut command = Command::new(program);
    for name in FOREIGN {
        command.env_remove(name);
    }
    command
}

/// The flags that aya's own build gives: bindings for the host's registers, and BTF, which map definitions are in.
fn rust_flags(linker: &Path) -> OsString {
    let arch = format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH);
    let mut flags = OsString::from([arch.as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf", "-Clinker="].join("\x1f"));
    flags.push(linker);
    flags
}

fn rustup_home() -> Option<PathBuf> {
    env::var_os("RUSTUP_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".rustup")))
}

fn has_bpf_core(sysroot: &Path) -> bool {
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::read_dir(libraries).is_ok_and(|files| {
        files.flatten().any(|file| {
            let name = file.file_name();
            let name = name.as_encoded_bytes();
            name.starts_with(b"libcore-") && name.ends_with(b".rlib")
        })
    })
}

/// The sysroot of the undated nightly, if it has the source of core.
fn nightly_with_source(rustup_home: &Path) -> Option<PathBuf> {
    let host = format!("nightly-{}-", env::consts::ARCH);
    let toolchains = fs::read_dir(rustup_home.join("toolchains")).ok()?;
    toolchains
        .flatten()
        .filter(|toolchain| toolchain.file_name().as_encoded_bytes().starts_with(host.as_bytes()))
        .map(|toolchain| toolchain.path())
        .find(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir())
}

/// Release and LLVM's major version, out of what `rustc -vV` prints.
fn parse_version(text: &str) -> Option<(String, u32)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let llvm = field("LLVM version: ")?;
    let (major, _) = llvm.split_once('.')?;
    Some((field("release: ")?.to_owned(), major.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn tree(files: &[&str]) -> TempDir {
        let root = TempDir::new().unwrap();
        for file in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        root
    }

    #[test]
    fn a_core_for_bpf_is_a_library_in_the_sysroot() {
        let with = tree(&["lib/rustlib/bpfel-unknown-none/lib/libcore-8056e5e5b270ef4d.rlib"]);
        assert!(has_bpf_core(with.path()));
        let metadata_only = tree(&["lib/rustlib/bpfel-unknown-none/lib/libcore-80.rmeta"]);
        assert!(!has_bpf_core(metadata_only.path()));
        let host_only = tree(&["lib/rustlib/x86_64-unknown-linux-gnu/lib/libcore-80.rlib"]);
        assert!(!has_bpf_core(host_only.path()));
    }

    #[test]
    fn a_nightly_counts_only_with_the_source_of_core() {
        let arch = env::consts::ARCH;
        let nightly = format!("toolchains/nightly-{arch}-unknown-linux-gnu");
        let source = "lib/rustlib/src/rust/library/core/src/lib.rs";
        let with = tree(&[&format!("{nightly}/{source}")]);
        assert_eq!(nightly_with_source(with.path()), Some(with.path().join(&nightly)));
        let without = tree(&[&format!("{nightly}/bin/rustc")]);
        assert_eq!(nightly_with_source(without.path()), None);
        let stable = tree(&[&format!("toolchains/stable-{arch}-unknown-linux-gnu/{source}")]);
        assert_eq!(nightly_with_source(stable.path()), None);
        assert_eq!(nightly_with_source(&without.path().join("none")), None);
    }

    #[test]
    fn release_and_llvm_are_read_from_the_compilers_answer() {
        let text = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
            host: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 22.1.8\n";
        assert_eq!(parse_version(text), Some(("1.97.0-nightly".to_owned(), 22)));
        assert_eq!(parse_version("rustc 1.97.0-nightly\n"), None);
    }

    #[test]
    fn the_linker_is_the_last_of_the_flags() {
        let flags = rust_flags(Path::new("/a b/bpf-linker"));
        let flags = flags.to_str().unwrap().split('\x1f').collect::<Vec<_>>();
        assert_eq!(flags.last(), Some(&"-Clinker=/a b/bpf-linker"));
        assert!(flags.contains(&"-Clink-arg=--btf"));
    }
}
