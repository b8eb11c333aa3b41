//! The distribution's packages: which are needed, which are missing, how to get them.

use std::collections::HashSet;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use nix::unistd::Uid;

use super::policy;
use crate::job::{self, answer};
use crate::project::find_program;
use crate::signals::{self, Stop};
use crate::step;

/// A package of Debian 12.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    name: &'static str,
    /// The program it is wanted for: where that is found the package is not needed, whoever installed it.
    program: Option<&'static str>,
}

/// The compiler for the kernel part. Not needed beside a nightly with `rust-src`.
pub const BPF_CORE: &[Package] = &[library("rustc-web"), library("cargo-web"), library("libstd-rust-web-dev-bpf")];

/// What `cargo install bpf-linker` needs. Not needed when a bpf-linker is there.
pub const BPF_LINKER: &[Package] = &[
    library("llvm-22-dev"),
    library("libpolly-22-dev"),
    library("libzstd-dev"),
    library("zlib1g-dev"),
    program("gcc", "cc"),
];

/// The demo's gateway.
pub const DEMO: &[Package] = &[program("nginx", "nginx")];

/// Gateways and clients of the end-to-end tests.
pub const TEST: &[Package] = &[
    program("nginx", "nginx"),
    program("wrk", "wrk"),
    program("curl", "curl"),
    program("iproute2", "ip"),
    program("openssl", "openssl"),
    // A server in C, for what nginx does not call.
    program("gcc", "cc"),
    library("libssl-dev"),
    // BoringSSL.
    library("android-libboringssl-dev"),
    // promtool comes with it.
    program("prometheus", "prometheus"),
    // For systemd-analyze, which looks at the unit; it needs no running systemd.
    program("systemd", "systemd-analyze"),
    // A browser without a window, and without the libraries for one.
    program("chromium-headless-shell", "chromium-headless-shell"),
    program("valgrind", "valgrind"),
];

/// Gateways and load of the benchmarks.
pub const BENCH: &[Package] = &[program("nginx", "nginx"), program("wrk", "wrk")];

/// libFuzzer's source is C++.
pub const FUZZ: &[Package] = &[program("g++", "c++")];

/// Lints for the kernel part with `BPF_CORE`; a nightly has its own.
pub const BPF_LINTS: &[Package] = &[library("rust-web-clippy")];

/// Services that these packages enable for the next start of the host. Nobody asked for them.
const SERVICES: &[&str] = &["nginx", "prometheus"];

/// What to run where Debian's packages do not serve.
pub const ELSEWHERE: &str = "run `rustup toolchain install nightly --component rust-src` and \
    `cargo install bpf-linker --version 0.13.0 --locked`";

/// The names of those packages that are neither installed nor replaced by a program in `PATH`.
pub fn missing(packages: &[Package]) -> Result<Vec<&'static str>> {
    let wanted = without_programs(packages, |name| find_program(name).is_some());
    if wanted.is_empty() {
        return Ok(wanted);
    }
    signals::check()?;
    let installed = Command::new("dpkg-query")
        .args(["--show", "--showformat=${Package} ${db:Status-Status}\n"])
        .args(&wanted)
        .stdin(Stdio::null())
        .output();
    // dpkg-query fails when it does not know one of the packages, and still lists the others.
    Ok(match installed {
        Ok(output) => not_installed(wanted, &String::from_utf8_lossy(&output.stdout)),
        Err(_) => wanted,
    })
}

/// Installs packages without starting a service. With none it does nothing.
pub fn install(names: &[&str]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    if find_program("apt-get").is_none() {
        bail!("{}", advice(names, "this host has no apt-get"));
    }
    let mut updated = false;
    if !without_candidate(names).is_empty() {
        update()?;
        updated = true;
        let unknown = without_candidate(names);
        if !unknown.is_empty() {
            let why = format!("apt does not offer {}", unknown.join(", "));
            bail!("{}", advice(names, &why));
        }
    }
    if !Uid::effective().is_root() {
        bail!("{}", advice(names, "only root can install packages"));
    }
    let installed = install_known(names);
    // Old lists name versions that the mirrors have dropped since.
    if installed.is_err() && !updated && signals::check().is_ok() {
        update()?;
        return install_known(names);
    }
    installed
}

/// Updates apt's lists, as far as they can be; without root it does nothing.
pub fn update() -> Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    step("packages: updating apt's lists");
    let mut apt_get = apt_get(&["update"]);
    job::quiet(apt_get.stdin(Stdio::null()), Stop::AptGet, "apt-get update").or_else(|_| {
        signals::check()?;
        // One repository of several may be away, and not the one that matters.
        eprintln!("warning: going on with the lists that are there");
        Ok(())
    })
}

/// The packages' names.
#[cfg(test)]
pub fn names(packages: &[Package]) -> Vec<&'static str> {
    without_programs(packages, |_| false)
}

const fn library(name: &'static str) -> Package {
    Package { name, program: None }
}

const fn program(name: &'static str, program: &'static str) -> Package {
    Package { name, program: Some(program) }
}

fn without_programs(packages: &[Package], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    packages.iter().filter(|package| !package.program.is_some_and(&is_there)).map(|package| package.name).collect()
}

/// `listing` has a line `name status` for each package that dpkg knows.
fn not_installed(wanted: Vec<&'static str>, listing: &str) -> Vec<&'static str> {
    let installed: HashSet<&str> = listing.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.into_iter().filter(|name| !installed.contains(name)).collect()
}

fn without_candidate<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let policy = answer(Command::new("apt-cache").env("LC_ALL", "C").arg("policy").args(names));
    let candidates = candidates(policy.as_deref().unwrap_or_default());
    names.iter().copied().filter(|name| !candidates.contains(name)).collect()
}

/// The packages in an answer of `apt-cache policy` that can be installed.
fn candidates(policy: &str) -> HashSet<&str> {
    let mut package = "";
    let mut found = HashSet::new();
    for line in policy.lines() {
        if !line.starts_with(' ') {
            package = line.trim_end_matches(':');
        } else if let Some(version) = line.trim_start().strip_prefix("Candidate: ")
            && version != "(none)"
        {
            found.insert(package);
        }
    }
    found
}

fn install_known(names: &[&str]) -> Result<()> {
    step(&format!("packages: installing {}", names.join(" ")));
    let guard = policy::forbid_services()?;
    let mut apt_get = apt_get(INSTALL);
    apt_get.args(names).stdin(guard.lock()?);
    let what = format!("`DEBIAN_FRONTEND=noninteractive apt-get {} {}`", INSTALL.join(" "), names.join(" "));
    let installed = job::quiet(&mut apt_get, Stop::AptGet, &what);
    guard.lift()?;
    installed?;
    disable_services(names);
    Ok(())
}

/// Those of packages that were installed just now: what a person has enabled stays.
fn disable_services(installed: &[&str]) {
    let enabled: Vec<&str> = SERVICES.iter().copied().filter(|service| installed.contains(service)).collect();
    // Without systemd nothing was enabled.
    if enabled.is_empty() || find_program("systemctl").is_none() {
        return;
    }
    let what = format!("`systemctl disable {}`", enabled.join(" "));
    let disabled =
        job::quiet(Command::new("systemctl").arg("disable").args(&enabled).stdin(Stdio::null()), Stop::Group, &what);
    if let Err(error) = disabled {
        eprintln!("warning: {error:#}; the next start of this host starts these services");
    }
}

/// Never at the price of a package that the person has: rustc-web and Debian's own rustup exclude each other.
const INSTALL: &[&str] = &["install", "--yes", "--no-install-recommends", "--no-remove"];

fn apt_get(args: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        // Where needrestart is installed it would restart services after the packages.
        .env("NEEDRESTART_SUSPEND", "1")
        .args(["-o", "Dpkg::Use-Pty=0"])
        // A fresh host often updates itself at first; wait that many seconds for it.
        .args(["-o", "DPkg::Lock::Timeout=120"])
        .args(args);
    command
}

fn advice(names: &[&str], why: &str) -> String {
    let mut text = format!(
        "missing: {}; {why}\n\
         On Debian 12 run:\n    \
         sudo apt-get update && sudo apt-get install --no-install-recommends {}",
        names.join(", "),
        names.join(" ")
    );
    for (service, port) in [("nginx", 80), ("prometheus", 9090)] {
        if names.contains(&service) {
            let end = format!("`sudo systemctl disable --now {service}` ends that");
            text += &format!("\n(Debian starts {service} on port {port} at once; {end}.)");
        }
    }
    let for_bpf = [BPF_CORE, BPF_LINKER].concat();
    if for_bpf.iter().any(|package| names.contains(&package.name)) {
        text += &format!("\nOn another distribution {ELSEWHERE}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_there_needs_no_package() {
        let wanted = without_programs(TEST, |program| program == "curl");
        let others = ["nginx", "wrk", "iproute2", "openssl", "gcc", "libssl-dev", "android-libboringssl-dev"];
        let tools = ["prometheus", "systemd", "chromium-headless-shell", "valgrind"];
        assert_eq!(wanted, [&others[..], &tools].concat());
        let libraries = without_programs(BPF_CORE, |_| true);
        assert_eq!(libraries.len(), BPF_CORE.len());
    }

    #[test]
    fn removed_and_unknown_packages_are_not_installed() {
        let listing = "nginx config-files\nwrk installed\nwrk-doc not-installed\n";
        assert_eq!(not_installed(vec!["nginx", "wrk", "curl"], listing), ["nginx", "curl"]);
    }

    #[test]
    fn a_package_without_a_version_on_offer_is_no_candidate() {
        let policy = "nginx:\n  Installed: (none)\n  Candidate: 1.22.1-9+deb12u11\n  Version table:\n\
            virtual:\n  Installed: (none)\n  Candidate: (none)\n";
        assert_eq!(candidates(policy), HashSet::from(["nginx"]));
    }

    #[test]
    fn advice_names_the_command_and_what_debian_does_with_nginx() {
        let text = advice(&["nginx", "wrk"], "only root can install packages");
        assert!(text.contains("sudo apt-get update && sudo apt-get install --no-install-recommends nginx wrk\n"));
        assert!(text.contains("systemctl disable --now nginx"));
        assert!(!text.contains("rustup"));
    }

    #[test]
    fn advice_for_the_bpf_compiler_knows_other_distributions() {
        let text = advice(&["rustc-web"], "this host has no apt-get");
        assert!(text.contains("rustup toolchain install nightly --component rust-src"));
        assert!(!text.contains("systemctl"));
    }
}
