//! A server in C that uses OpenSSL's functions as gateways other than nginx do, linked as a test wants it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::{PATIENCE, free_port, until_true};
use crate::{agent, netstat, tls};

const SOURCE: &str = include_str!("openssl/server.c");

/// How the library comes into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// Mapped when the program starts.
    Dynamically,
    /// Inside the program.
    Statically,
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    process: Process,
    port: u16,
    /// Certificate, key and program.
    _folder: TempDir,
}

impl Server {
    /// Builds and starts one. It answers `GET /N` with N bytes.
    pub fn start(linked: Linked) -> Result<Self> {
        let folder = build(linked)?;
        let path = |name: &str| folder.path().join(name);
        let mut server = Command::new(path("server"));
        Self::run(server.arg(path("cert.pem")).arg(path("key.pem")), folder)
    }

    /// The same with the folder that it was built in as its root, in which there are the loader and the libraries, too.
    pub fn start_in_own_root() -> Result<Self> {
        let folder = build(Linked::Dynamically)?;
        let root = folder.path();
        let listed = agent::finish(Command::new("ldd").arg(root.join("server")))?.stdout;
        for library in listed.split_whitespace().filter(|word| word.starts_with('/')) {
            let copy = root.join(library.trim_start_matches('/'));
            fs::create_dir_all(copy.parent().context("a library lies in a folder")?)?;
            fs::copy(library, copy).with_context(|| format!("copy {library}"))?;
        }
        let mut chroot = Command::new("chroot");
        Self::run(chroot.arg(root).args(["/server", "/cert.pem", "/key.pem"]), folder)
    }

    fn run(command: &mut Command, folder: TempDir) -> Result<Self> {
        let port = free_port()?;
        let process = Process::spawn(command.arg(port.to_string()))?;
        until_true("the server in C listens", PATIENCE, || netstat::listens(port))?;
        Ok(Self { process, port, _folder: folder })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// What selects it.
    pub fn selector(&self) -> String {
        format!("pid:{}", self.process.pid())
    }
}

fn build(linked: Linked) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("server.c"), SOURCE)?;
    tls::write_certificate(folder.path())?;
    let libraries: &[&str] = match linked {
        Linked::Dynamically => &["-lssl", "-lcrypto"],
        Linked::Statically => &["-l:libssl.a", "-l:libcrypto.a", "-ldl", "-lpthread"],
    };
    let mut cc = Command::new("cc");
    let built = agent::finish(cc.arg("-O1").arg(path("server.c")).args(libraries).arg("-o").arg(path("server")))?;
    ensure!(built.code == Some(0), "no server in C: {}", built.stderr);
    Ok(folder)
}
