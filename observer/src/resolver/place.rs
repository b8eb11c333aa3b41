//! Where a gateway runs that has a network or files of its own: a container.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sched::{CloneFlags, setns};

use super::PERIOD;
use super::ask::addresses;
use super::conf::Conf;
use crate::agent::Notice;
use crate::privileges;

/// Bytes read of a container's file: hosts files that block advertising have some MB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A network namespace with gateways in it, and one of their processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The network namespace's inode.
    pub network: u32,
    /// A process in it.
    pub process: u32,
}

/// What a place's thread is told.
#[derive(Debug)]
pub enum Told {
    /// Ask for these from now on.
    Names(Vec<String>),
    /// Another process that lives there.
    Process(u32),
}

/// Looks names up there, again and again, until nobody lives there any more or nobody wants to know. For a thread of its
/// own: it leaves its network namespace for good.
pub fn look_up_there(mut place: Place, mut names: Vec<String>, told: &Receiver<Told>, found: &Sender<Notice>) {
    let is_within = place.enter();
    if let Err(error) = &is_within {
        log::info!(
            "the network of process {} cannot be entered ({error}): names are asked for there as its files say, from \
             the host",
            place.process
        );
    }
    if let Err(error) = privileges::keep_reading_processes() {
        log::error!("a thread that looks names up keeps its privileges: {error}");
    }
    loop {
        let Ok(files) = place.files() else { return };
        for name in names.iter().filter(|_| is_within.is_ok() || files.is_of_any_network()) {
            let addresses = addresses(name, &files.conf, &files.hosts);
            if !addresses.is_empty() {
                super::tell(found, place.network, name, addresses);
            }
        }
        let mut next = told.recv_timeout(PERIOD);
        while matches!(&next, Ok(Told::Process(process)) if *process == place.process) {
            next = told.recv_timeout(PERIOD);
        }
        match next {
            Ok(Told::Names(others)) => names = others,
            Ok(Told::Process(process)) => place.process = process,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What a program there finds names by.
struct Files {
    conf: Conf,
    hosts: String,
}

impl Files {
    /// Whether its name servers are the same ones in every network.
    fn is_of_any_network(&self) -> bool {
        self.conf.name_servers.iter().all(|server| !server.ip().is_loopback())
    }
}

impl Place {
    /// Whether names may mean something else there than on the host: another network, or other files.
    pub fn is_elsewhere(&self) -> io::Result<bool> {
        let inode = |process: &str, kind| Ok::<_, io::Error>(fs::metadata(format!("/proc/{process}/ns/{kind}"))?.ino());
        let process = self.process.to_string();
        Ok(inode(&process, "net")? != inode("self", "net")? || inode(&process, "mnt")? != inode("self", "mnt")?)
    }

    /// Has the calling thread use its network.
    fn enter(&self) -> io::Result<()> {
        let namespace = File::open(format!("/proc/{}/ns/net", self.process))?;
        Ok(setns(namespace, CloneFlags::CLONE_NEWNET)?)
    }

    /// # Errors
    /// If the process is gone.
    fn files(&self) -> io::Result<Files> {
        let root = File::open(format!("/proc/{}/root", self.process))?;
        let text = |path| text_within(&root, path).unwrap_or_default();
        Ok(Files { conf: Conf::parse(&text("etc/resolv.conf")), hosts: text("etc/hosts") })
    }
}

/// A file under a root that links in it do not lead out of.
fn text_within(root: &File, path: &str) -> io::Result<String> {
    let how = OpenHow::new().flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY);
    let file: OwnedFd = openat2(root, path, how.resolve(ResolveFlag::RESOLVE_IN_ROOT))?;
    let mut text = Vec::new();
    File::from(file).take(FILE_BYTES_MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_lead_nowhere_but_within_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        fs::write(root.path().join("run/stub.conf"), "nameserver 10.0.0.53").unwrap();
        symlink("/run/stub.conf", root.path().join("etc/resolv.conf")).unwrap();
        symlink("../../../../../../etc/passwd", root.path().join("etc/hosts")).unwrap();
        let folder = File::open(root.path()).unwrap();
        assert_eq!(text_within(&folder, "etc/resolv.conf").unwrap(), "nameserver 10.0.0.53");
        assert_eq!(text_within(&folder, "etc/hosts").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn this_process_is_nowhere_else() {
        let here = Place { network: 0, process: std::process::id() };
        assert!(!here.is_elsewhere().unwrap());
    }
}
