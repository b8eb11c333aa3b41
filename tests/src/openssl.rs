//! A server in C that uses OpenSSL's functions as gateways other than nginx do, linked as a test wants it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::{PATIENCE, free_port, until_true};
use crate::{agent, netstat, tls};

const SOURCE: &str = include_str!("openssl/server.c");
const LATE: &str = include_str!("openssl/late.c");

/// How the library comes into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// Mapped when the program starts.
    Dynamically,
    /// Inside the program.
    Statically,
    /// Mapped, and BoringSSL.
    Boring,
}

/// How the server uses the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    /// The handshake by `SSL_accept`, the socket by `SSL_set_fd`.
    Accepting,
    /// The same socket, and the handshake within the first read.
    Reading,
    /// The handshake within the first read; ciphertext goes through memory, so that no call into the library makes one on
    /// a socket.
    Memory,
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
        Self::start_with(linked, Handling::Accepting)
    }

    /// The same with its way of using the library.
    pub fn start_with(linked: Linked, handling: Handling) -> Result<Self> {
        let folder = build(linked)?;
        let path = |name: &str| folder.path().join(name);
        let mut server = Command::new(path("server"));
        Self::run(server.arg(path("cert.pem")).arg(path("key.pem")), handling, folder)
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
        Self::run(chroot.arg(root).args(["/server", "/cert.pem", "/key.pem"]), Handling::Accepting, folder)
    }

    /// A program that loads server and library when [`Server::load`] tells it to. It does not listen before.
    pub fn start_late() -> Result<Self> {
        let folder = folder()?;
        let path = |name: &str| folder.path().join(name);
        compile(&folder, "server.c", &["-shared", "-fPIC"], &LIBRARIES, "server.so")?;
        fs::write(path("late.c"), LATE)?;
        compile(&folder, "late.c", &[], &["-ldl"], "late")?;
        let mut late = Command::new(path("late"));
        let server =
            Self::spawn(late.args(["server.so", "cert.pem", "key.pem"].map(path)), Handling::Accepting, folder)?;
        until_true("the program waits", PATIENCE, || Ok(server.process.stdout().contains("waiting")))?;
        Ok(server)
    }

    /// Has it load the library, and waits until it listens.
    pub fn load(&self) -> Result<()> {
        self.process.signal(Signal::SIGUSR1)?;
        self.until_listening()
    }

    fn run(command: &mut Command, handling: Handling, folder: TempDir) -> Result<Self> {
        let server = Self::spawn(command, handling, folder)?;
        server.until_listening()?;
        Ok(server)
    }

    fn spawn(command: &mut Command, handling: Handling, folder: TempDir) -> Result<Self> {
        let port = free_port()?;
        let handling = match handling {
            Handling::Accepting => "accepting",
            Handling::Reading => "reading",
            Handling::Memory => "memory",
        };
        let process = Process::spawn(command.arg(port.to_string()).arg(handling))?;
        Ok(Self { process, port, _folder: folder })
    }

    fn until_listening(&self) -> Result<()> {
        until_true("the server in C listens", PATIENCE, || netstat::listens(self.port))
            .with_context(|| format!("its stderr:\n{}", self.process.stderr()))
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

const LIBRARIES: [&str; 2] = ["-lssl", "-lcrypto"];

fn build(linked: Linked) -> Result<TempDir> {
    let folder = folder()?;
    let boring = format!("/usr/lib/{}-linux-gnu/android", std::env::consts::ARCH);
    let (boring_path, boring_at_run) = (format!("-L{boring}"), format!("-Wl,-rpath,{boring}"));
    let (options, libraries): (&[&str], &[&str]) = match linked {
        Linked::Dynamically => (&[], &LIBRARIES),
        Linked::Statically => (&[], &["-l:libssl.a", "-l:libcrypto.a", "-ldl", "-lpthread"]),
        Linked::Boring => (&["-I/usr/include/android"], &[&boring_path, &boring_at_run, "-lssl", "-lcrypto"]),
    };
    compile(&folder, "server.c", options, libraries, "server")?;
    Ok(folder)
}

fn folder() -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("server.c"), SOURCE)?;
    tls::write_certificate(folder.path())?;
    Ok(folder)
}

fn compile(folder: &TempDir, source: &str, options: &[&str], libraries: &[&str], program: &str) -> Result<()> {
    let mut cc = Command::new("cc");
    cc.current_dir(folder.path()).arg("-O1").args(options).arg(source).args(libraries).args(["-o", program]);
    let built = agent::finish(&mut cc)?;
    ensure!(built.code == Some(0), "no {program}: {}", built.stderr);
    Ok(())
}
