//! The packages of `cargo xtask dist` on this machine: installed, run as the unit says, upgraded, removed, purged.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use observer_tests::agent::{Finished, binary, finish};
use observer_tests::nginx::config::Config;
use observer_tests::process::Process;
use observer_tests::tools::curl;
use observer_tests::wait::{PATIENCE, alone, free_port, until_true};
use observer_tests::{Client, Nginx, Request, Upstream};
use tempfile::TempDir;

/// dpkg waits for disks, and cargo may have to build the small programs that make the packages.
const LIMIT: Duration = Duration::from_secs(240);

const UNIT: &str = "/lib/systemd/system/observer.service";

/// What dpkg asks before a service starts; see invoke-rc.d(8).
const POLICY: &str = "/usr/sbin/policy-rc.d";

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn run(command: &mut Command) -> Result<Finished> {
    let mut process = Process::spawn(command.env("LC_ALL", "C"))?;
    let status = process.wait(LIMIT)?;
    Ok(Finished { code: status.code(), stdout: process.stdout(), stderr: process.stderr() })
}

fn succeed(command: &mut Command) -> Result<String> {
    let done = run(command)?;
    ensure!(done.code == Some(0), "{command:?}: {:?}\n{}{}", done.code, done.stdout, done.stderr);
    Ok(done.stdout)
}

/// The tarball and the package of the agent under test, made once for all tests.
fn packages() -> Result<&'static (PathBuf, PathBuf)> {
    static MADE: OnceLock<Result<(PathBuf, PathBuf)>> = OnceLock::new();
    MADE.get_or_init(made).as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))
}

fn made() -> Result<(PathBuf, PathBuf)> {
    // With the tests' own programs, so that it goes when they are built anew.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut dist = Command::new(cargo);
    dist.args(["run", "--quiet", "--package", "xtask", "--", "dist", "--out"]).arg(&folder);
    let printed = succeed(dist.arg("--agent").arg(binary()?).current_dir(root()))?;
    let made: Vec<PathBuf> = printed.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect();
    let [tarball, package] = made.as_slice() else { anyhow::bail!("{printed}") };
    Ok((tarball.clone(), package.clone()))
}

/// No service starts while it lives.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn new() -> Result<Self> {
        let is_ours = !Path::new(POLICY).exists();
        if is_ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(POLICY, Permissions::from_mode(0o755))?;
        }
        let policy = run(Command::new(POLICY).args(["observer", "start"]))?;
        ensure!(policy.code == Some(101), "{POLICY} lets services start: this test would start one");
        Ok(Self { is_ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Purges whatever a failed test leaves.
struct Purged;

impl Drop for Purged {
    fn drop(&mut self) {
        if status().is_ok_and(|status| !status.is_empty()) {
            let _ = run(Command::new("dpkg").args(["--purge", "observer"]));
        }
    }
}

/// dpkg's word on the package; empty when it knows none.
fn status() -> Result<String> {
    let asked = run(Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", "observer"]))?;
    Ok(if asked.code == Some(0) && asked.stdout != "not-installed" { asked.stdout } else { String::new() })
}

/// The lines of docs/install.md's block of this kind.
fn documented(kind: &str) -> Result<Vec<String>> {
    let page = fs::read_to_string(root().join("docs/install.md"))?;
    let (_, rest) = page.split_once(&format!("```sh {kind}\n")).with_context(|| format!("no block {kind}"))?;
    let block = rest.split("```").next().unwrap_or_default();
    Ok(block.lines().map(str::to_owned).collect())
}

/// Runs a documented line, in a folder, with another file in place of the one that `cargo xtask dist` leaves.
fn as_documented(line: &str, made: &str, instead: &Path, folder: &Path) -> Result<String> {
    let line = line.replace(&format!("target/dist/{made}"), &instead.display().to_string());
    ensure!(!line.contains("target/dist"), "{line}: another name than {made}");
    let mut shell = Command::new("sh");
    succeed(shell.args(["-ec", &line]).current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// The host's files, where packages put theirs, and who its users are. dpkg's own records are its own.
fn host() -> Result<BTreeMap<PathBuf, String>> {
    let mut seen = BTreeMap::new();
    for folder in ["/etc", "/usr", "/var/lib"] {
        look(Path::new(folder), &mut seen)?;
    }
    for file in ["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"] {
        seen.insert(file.into(), fs::read_to_string(file).unwrap_or_default());
    }
    Ok(seen)
}

fn look(folder: &Path, seen: &mut BTreeMap<PathBuf, String>) -> Result<()> {
    // Others work there, too.
    const OTHERS: [&str; 3] = ["/var/lib/dpkg", "/var/lib/apt", "/etc/.pwd.lock"];
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        // Copies that adduser and deluser leave of the lists before (passwd-).
        let is_copy = path.parent() == Some(Path::new("/etc")) && path.to_string_lossy().ends_with('-');
        if is_copy || OTHERS.iter().any(|other| path.starts_with(other)) {
            continue;
        }
        // A link to a folder is a file here.
        if path.symlink_metadata().is_ok_and(|data| data.is_dir()) {
            look(&path, seen)?;
        }
        seen.insert(path, String::new());
    }
    Ok(())
}

/// A line of the unit's `[Service]`.
fn setting(name: &str) -> Result<String> {
    let unit = fs::read_to_string(UNIT)?;
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    Ok(line.with_context(|| format!("the unit has no {name}"))?.to_owned())
}

/// As setpriv names a capability.
fn short(name: &str) -> String {
    name.trim_start_matches("CAP_").to_lowercase()
}

/// A program with the unit's user and capabilities, which is what systemd would start it with.
fn as_the_unit_says() -> Result<Command> {
    let capabilities = setting("AmbientCapabilities")?;
    ensure!(capabilities == setting("CapabilityBoundingSet")?, "both sets are the same");
    let set = capabilities.split(' ').fold("-all".to_owned(), |set, name| format!("{set},+{}", short(name)));
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &setting("User")?, "--regid", &setting("Group")?, "--clear-groups", "--no-new-privs"]);
    for kind in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        command.args([kind, &set]);
    }
    Ok(command)
}

/// The installed agent at work.
struct Service {
    process: Process,
    socket: PathBuf,
    port: u16,
}

impl Service {
    fn start(nginx: &Nginx, folder: &Path) -> Result<Service> {
        let (port, socket) = (free_port()?, folder.join("socket"));
        let line = setting("ExecStart")?;
        let mut command = as_the_unit_says()?;
        command.args(line.split(' ').filter(|word| *word != "$OBSERVER_OPTIONS"));
        command.args(["--gateway", &nginx.selector(), "--listen", &format!("127.0.0.1:{port}")]);
        command.args(["--listen", &format!("unix:{},mode=0600", socket.display())]);
        let mut service = Service { process: Process::spawn(&mut command)?, socket, port };
        service.until_ready()?;
        Ok(service)
    }

    fn until_ready(&mut self) -> Result<()> {
        let port = self.port;
        until_true("the service is ready", PATIENCE, || {
            ensure!(self.process.ended()?.is_none(), "it ended at once: {}", self.process.stderr());
            Ok(get(port, "/ready").is_ok_and(|(status, _)| status == 200))
        })
    }

    fn plugins(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.socket.display().to_string();
        let mut all = vec!["--unix-socket", socket.as_str(), "http://localhost/plugins"];
        all.extend(arguments);
        Ok(curl(&all)?.stdout)
    }

    fn end(mut self) -> Result<()> {
        let status = self.process.end(Signal::SIGTERM, PATIENCE)?;
        ensure!(status.success(), "{status}: {}", self.process.stderr());
        Ok(())
    }
}

fn get(port: u16, path: &str) -> Result<(u16, String)> {
    let response = Client::connect(([127, 0, 0, 1], port).into())?.exchange(&Request::get(path).close())?;
    Ok((response.status, String::from_utf8(response.body)?))
}

/// A package of the same content with a later version.
fn upgraded(package: &Path, folder: &Path) -> Result<PathBuf> {
    let tree = folder.join("upgrade");
    succeed(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&tree))?;
    let control = tree.join("DEBIAN/control");
    let text = fs::read_to_string(&control)?;
    let version = text.lines().find(|line| line.starts_with("Version: ")).context("no version")?;
    fs::write(&control, text.replace(version, &format!("{version}+1")))?;
    let later = folder.join("later.deb");
    succeed(Command::new("dpkg-deb").args(["--root-owner-group", "-Znone", "--build"]).args([&tree, &later]))?;
    Ok(later)
}

#[test]
fn it_installs_runs_upgrades_with_its_state_and_leaves_nothing_when_purged() -> Result<()> {
    let _alone = alone()?;
    ensure!(status()?.is_empty(), "the package is on this host already: `dpkg --purge observer` removes it");
    let work = TempDir::new()?;
    let (_, package) = packages()?;
    let _no_services = NoServices::new()?;
    let before = host()?;
    let _purged = Purged;

    let lines = documented("package")?;
    let [build, install, remove, purge] = lines.as_slice() else { anyhow::bail!("{lines:?}") };
    assert_eq!(build, "cargo xtask dist");
    let name = package.file_name().context("a name")?.to_string_lossy().into_owned();
    let dpkg = |line: &str, package: &Path| as_documented(line, &name, package, work.path());

    dpkg(install, package)?;
    assert_eq!(status()?, "installed");
    let version = succeed(Command::new("/usr/bin/observer").arg("--version"))?;
    assert_eq!(version, format!("observer {}\n", env!("CARGO_PKG_VERSION")));
    let state = fs::metadata("/var/lib/observer")?;
    ensure!(state.mode() & 0o777 == 0o700 && state.uid() != 0, "{state:?}");
    ensure!(Path::new("/etc/systemd/system/multi-user.target.wants/observer.service").is_symlink(), "not enabled");
    let completion = "source /usr/share/bash-completion/completions/observer; complete -p observer";
    succeed(Command::new("bash").args(["-c", completion]))?;
    let manual = succeed(Command::new("gzip").args(["-dc", "/usr/share/man/man1/observer-run.1.gz"]))?;
    ensure!(manual.contains("dialect"), "{manual}");

    // As the unit starts it: with its user, its capabilities, its command line.
    let upstream = Upstream::ipv4()?;
    let nginx = Config::new()?.service("alpha", upstream.address()).start()?;
    fs::set_permissions(work.path(), Permissions::from_mode(0o777))?;
    let service = Service::start(&nginx, work.path())?;
    Client::connect(nginx.address())?.exchange(&Request::get("/alpha/"))?;
    let counted =
        || Ok(get(service.port, "/metrics")?.1.contains("kong_http_status{code=\"200\",service=\"alpha\"} 1\n"));
    until_true("the request is counted", PATIENCE, counted)?;
    let listed: serde_json::Value = serde_json::from_str(&service.plugins(&[])?)?;
    let id = listed["data"][0]["id"].as_str().context("no plugin")?.to_owned();
    let socket = service.socket.display().to_string();
    curl(&["--unix-socket", &socket, "-X", "DELETE", &format!("http://localhost/plugins/{id}")])?;
    ensure!(service.plugins(&[])?.contains("\"total\":0"), "disabled");
    service.end()?;
    let options = "OBSERVER_OPTIONS=\"--dialect 3\"\n";
    fs::write("/etc/default/observer", options)?;

    dpkg(install, &upgraded(package, work.path())?)?;
    assert_eq!(fs::read_to_string("/etc/default/observer")?, options, "the person's configuration stays");
    let service = Service::start(&nginx, work.path())?;
    ensure!(service.plugins(&[])?.contains("\"total\":0"), "what was disabled stays so: {}", service.plugins(&[])?);
    service.end()?;

    dpkg(remove, package)?;
    assert_eq!(status()?, "config-files");
    ensure!(!Path::new("/usr/bin/observer").exists() && Path::new("/var/lib/observer").exists());
    dpkg(purge, package)?;
    let after = host()?;
    let left: Vec<_> = after.iter().filter(|(path, text)| before.get(*path) != Some(*text)).collect();
    let gone: Vec<_> = before.keys().filter(|path| !after.contains_key(*path)).collect();
    ensure!(left.is_empty() && gone.is_empty(), "left: {left:#?}, gone: {gone:#?}");
    Ok(())
}

#[test]
fn each_capability_of_the_unit_is_missed_without_it() -> Result<()> {
    let _alone = alone()?;
    let unit = fs::read_to_string(root().join("deploy/systemd/observer.service"))?;
    let line = unit.lines().find_map(|line| line.strip_prefix("AmbientCapabilities=")).context("no capabilities")?;
    let held: Vec<&str> = line.split(' ').collect();
    // The agent keeps no other one, besides those for attaching and for its thread's priority.
    for reason in observer::privileges::LATER.iter().filter(|reason| !reason.is_for_first_scan) {
        ensure!(held.contains(&reason.capability.to_string().as_str()), "{reason:?}");
    }
    for missing in ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE", "CAP_DAC_READ_SEARCH"] {
        ensure!(held.contains(&missing), "{missing}");
        let others = held.iter().filter(|name| **name != missing);
        let set = others.fold("-all".to_owned(), |set, name| format!("{set},+{}", short(name)));
        let mut check = Command::new("setpriv");
        check.args(["--bounding-set", &set]).arg(binary()?).arg("check");
        let checked = finish(&mut check)?;
        let row = checked.stdout.lines().find(|row| row.contains(missing)).context("no row")?;
        ensure!(row.starts_with("missing") || row.starts_with("warn"), "{row}");
    }
    Ok(())
}

#[test]
fn systemd_passes_the_unit_and_gives_it_the_figure_that_the_readme_tells() -> Result<()> {
    let unit = root().join("deploy/systemd/observer.service");
    // The program and its pages are not installed here.
    let folder = TempDir::new()?;
    let text = fs::read_to_string(&unit)?;
    let text = text.replace("/usr/bin/observer", &binary()?.display().to_string());
    let text: String =
        text.lines().filter(|line| !line.starts_with("Documentation=")).map(|line| format!("{line}\n")).collect();
    let here = folder.path().join("observer.service");
    fs::write(&here, text)?;
    let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&here))?;
    ensure!(verified.code == Some(0), "{}", verified.stderr);
    let said: Vec<&str> = verified.stderr.lines().filter(|line| line.contains("observer.service")).collect();
    ensure!(said.is_empty(), "{said:?}");

    let judged =
        succeed(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(&unit))?;
    let last = judged.lines().rfind(|line| line.contains("Overall exposure level")).context(judged.clone())?;
    let figure = last.split(": ").nth(1).and_then(|rest| rest.split(' ').next()).context(last.to_owned())?;
    let readme = fs::read_to_string(root().join("README.md"))?;
    let told = format!("exposure of {figure} ");
    ensure!(readme.contains(&told), "{last}; the README does not say {told:?}");
    Ok(())
}

#[test]
fn the_tarball_has_everything_in_one_folder() -> Result<()> {
    let folder = TempDir::new()?;
    let (tarball, _) = packages()?;
    let name = format!("observer-{}-x86_64-linux", env!("CARGO_PKG_VERSION"));
    let file = format!("{name}.tar.gz");
    ensure!(tarball.ends_with(&file), "{}", tarball.display());
    let mut printed = String::new();
    for line in documented("tarball")? {
        printed = as_documented(&line, &file, tarball, folder.path())?;
    }
    ensure!(printed.starts_with("observer "), "{printed}");
    let unpacked = folder.path().join(name);
    for file in [
        "README.md",
        "docs/metrics.md",
        "deploy/systemd/observer.service",
        "deploy/prometheus/recording.yml",
        "deploy/grafana/observer.json",
        "deploy/kubernetes/daemonset.yaml",
        "man/observer-record.1",
        "completions/_observer",
    ] {
        ensure!(unpacked.join(file).is_file(), "no {file}");
    }
    Ok(())
}
