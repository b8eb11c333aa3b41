//! Programs that people use on the agent: curl, promtool; and certificates for them to trust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};

use crate::agent::{Finished, finish};

/// Runs curl with these arguments, quietly and without its own configuration. Its stdout is the body, or what the
/// arguments make of it.
pub fn curl<S: AsRef<str>>(arguments: &[S]) -> Result<Finished> {
    // `-q` counts as the first argument only.
    let mut command = Command::new("curl");
    command.args(["-q", "--silent", "--show-error", "--max-time", "20"]);
    finish(command.args(arguments.iter().map(AsRef::as_ref)))
}

/// The status of curl's answer, and the body.
pub fn curl_status<S: AsRef<str>>(arguments: &[S]) -> Result<(u16, String)> {
    let mut all = vec!["--write-out", "\n%{http_code}"];
    all.extend(arguments.iter().map(AsRef::as_ref));
    let answered = curl(&all)?;
    let (body, status) = answered.stdout.rsplit_once('\n').with_context(|| answered.stderr.clone())?;
    Ok((status.parse().with_context(|| answered.stderr.clone())?, body.to_owned()))
}

/// What `promtool check metrics` complains of in a page, line by line.
pub fn promtool(page: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("page");
    fs::write(&file, page)?;
    let mut command = Command::new("sh");
    let checked = finish(command.args(["-c", "promtool check metrics < \"$0\""]).arg(&file))?;
    Ok(checked.stdout.lines().chain(checked.stderr.lines()).map(str::to_owned).collect())
}

/// A certificate of a host's own making.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate's PEM file, for servers and for clients that trust it.
    pub cert: PathBuf,
    /// The key's PEM file.
    pub key: PathBuf,
}

impl Certificate {
    /// For localhost, in files of this folder.
    pub fn make(folder: &Path) -> Result<Self> {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names)?;
        let made = Self { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        fs::write(&made.cert, cert.pem())?;
        fs::write(&made.key, signing_key.serialize_pem())?;
        Ok(made)
    }
}

/// Compiles a program of `tests/programs` with these flags into `folder`.
pub fn compile(source: &str, flags: &[&str], folder: &Path) -> Result<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(source);
    let program = folder.join(source.file_stem().context("a file's name")?);
    let compiled = finish(Command::new("cc").args(flags).arg("-o").arg(&program).arg(&source))?;
    ensure!(compiled.code == Some(0), "cc {}: {}", source.display(), compiled.stderr);
    Ok(program)
}
