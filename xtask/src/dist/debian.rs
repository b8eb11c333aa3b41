//! The Debian package, by dpkg-deb, from a tree of our own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::tree::{Tree, entries};
use super::{Parts, VERSION};
use crate::job;

/// What the person may change: dpkg asks before it replaces these.
const CONFIGURATION: &str = "/etc/default/observer\n/etc/observer/observer.yml\n";

/// Builds `observer_VERSION_ARCHITECTURE.deb` in `out`.
pub(super) fn package(parts: &Parts, folder: &Path, out: &Path) -> Result<PathBuf> {
    let tree = Tree::new(folder)?;
    let deploy = parts.root.join("deploy");
    tree.program(&parts.agent, "usr/bin/observer")?;
    tree.file(&deploy.join("systemd/observer.service"), "lib/systemd/system/observer.service")?;
    tree.file(&deploy.join("debian/default"), "etc/default/observer")?;
    tree.file(&deploy.join("debian/observer.yml"), "etc/observer/observer.yml")?;
    tree.file(&deploy.join("debian/copyright"), "usr/share/doc/observer/copyright")?;
    tree.file(&deploy.join("systemd/containers.conf"), "usr/share/doc/observer/examples/containers.conf")?;
    tree.folder(&deploy.join("prometheus"), "usr/share/doc/observer/examples/prometheus")?;
    tree.folder(&deploy.join("grafana"), "usr/share/doc/observer/examples/grafana")?;
    tree.folder(&parts.root.join("docs"), "usr/share/doc/observer")?;
    for page in entries(&parts.man)? {
        let name = page.file_name().context("a man page without a name")?.to_string_lossy().into_owned();
        tree.compressed(&page, &format!("usr/share/man/man1/{name}"))?;
    }
    for (name, place) in [
        ("observer.bash", "usr/share/bash-completion/completions/observer"),
        ("observer.fish", "usr/share/fish/vendor_completions.d/observer.fish"),
        ("_observer", "usr/share/zsh/vendor-completions/_observer"),
    ] {
        tree.file(&parts.completions.join(name), place)?;
    }

    tree.text("DEBIAN/conffiles", CONFIGURATION, false)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.program(&deploy.join("debian").join(script), &format!("DEBIAN/{script}"))?;
    }
    let architecture = job::answer(Command::new("dpkg").arg("--print-architecture"))
        .context("dpkg does not answer: build the package on Debian or a relative of it")?;
    let control = fs::read_to_string(deploy.join("debian/control"))?;
    let control = control
        .replace("@VERSION@", VERSION)
        .replace("@ARCHITECTURE@", architecture.trim())
        .replace("@KIB@", &tree.kib()?.to_string())
        .replace("@LIBC@", &libc_version(&fs::read(&parts.agent)?).context("the agent names no version of glibc")?);
    tree.text("DEBIAN/control", &control, false)?;

    let file = out.join(format!("observer_{VERSION}_{}.deb", architecture.trim()));
    let mut dpkg = Command::new("dpkg-deb");
    job::shown(dpkg.args(["--root-owner-group", "--build"]).args([folder, file.as_path()]), "`dpkg-deb`")?;
    Ok(file)
}

/// The newest version of glibc that the program asks for: its symbols' versions are plain text in it (`GLIBC_2.34`).
fn libc_version(program: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"GLIBC_2.";
    let minors = program.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK).filter_map(|(at, _)| {
        let digits = program[at + MARK.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        String::from_utf8(digits.copied().collect()).ok()?.parse::<u32>().ok()
    });
    minors.max().map(|minor| format!("2.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_of_glibc_counts() {
        assert_eq!(libc_version(b"\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0"), Some("2.34".to_owned()));
        assert_eq!(libc_version(b"\0GLIBC_PRIVATE\0"), None);
    }
}
