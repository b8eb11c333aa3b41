use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::process::Command;
use std::thread;

use caps::{CapSet, Capability};
use nix::libc;
use seccompiler::apply_filter;

use super::*;

/// On a thread of its own: what is given up stays given up.
fn apart<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| scope.spawn(run).join().expect("the thread's panic is above"))
}

/// As on a thread of the agent, but for this thread alone.
fn confined<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    apart(|| {
        prctl::set_no_new_privs().unwrap();
        apply_filter(&filter::program().unwrap()).unwrap();
        run()
    })
}

fn is_refused<T>(result: io::Result<T>) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM))
}

#[test]
fn no_program_is_executed_behind_the_filter() {
    assert!(confined(|| is_refused(Command::new("/bin/true").status())));
}

#[test]
fn files_threads_names_and_connections_work_behind_the_filter() {
    confined(|| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "text").unwrap();
        fs::rename(&file, folder.path().join("b")).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(fs::read_link("/proc/self/exe").is_ok());
        assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
        let listener = std::net::TcpListener::bind(("localhost", 0)).unwrap();
        std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let slept = runtime.spawn(async { tokio::time::sleep(std::time::Duration::from_millis(1)).await });
        runtime.block_on(slept).unwrap();
    });
}

#[test]
fn other_namespaces_than_the_networks_and_raw_packets_are_refused() {
    use nix::sched::{CloneFlags, setns};
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    confined(|| {
        let mounts = File::open("/proc/self/ns/mnt").unwrap();
        assert!(is_refused(setns(mounts, CloneFlags::CLONE_NEWNS).map_err(io::Error::from)));
        let packets = socket(AddressFamily::Packet, SockType::Raw, SockFlag::empty(), None);
        assert!(is_refused(packets.map_err(io::Error::from)));
    });
}

#[test]
fn what_is_kept_has_a_reason_and_shrinks_with_each_step() {
    let held = caps::read(None, CapSet::Permitted).unwrap();
    let of = |is_kept: fn(&Reason) -> bool| -> HashSet<Capability> {
        LATER
            .iter()
            .filter(|reason| is_kept(reason))
            .map(|reason| reason.capability)
            .filter(|c| held.contains(c))
            .collect()
    };
    let effective = || caps::read(None, CapSet::Effective).unwrap();
    apart(|| {
        capabilities::keep(LATER).unwrap();
        assert_eq!(effective(), of(|_| true));
        end_of_first_scan(true).unwrap();
        assert_eq!(effective(), of(|_| true));
        end_of_first_scan(false).unwrap();
        assert_eq!(effective(), of(|reason| !reason.is_for_first_scan));
        keep_reading_files().unwrap();
        assert_eq!(effective(), of(|reason| reason.reads_files));
        keep_nothing().unwrap();
        assert_eq!(effective(), HashSet::new());
        // Nothing comes back.
        keep_reading_files().unwrap();
        assert_eq!(effective(), HashSet::new());
    });
    assert!(LATER.iter().all(|reason| !reason.reason.is_empty()));
}

#[test]
fn the_readme_lists_what_is_kept_with_its_reason() {
    let readme = include_str!("../../../README.md");
    for Reason { capability, reason, .. } in LATER {
        let line = format!("| `{capability}` | {reason} |");
        assert!(readme.contains(&line), "the README lacks {line}");
    }
}

#[test]
fn an_unknown_user_is_told_of() {
    let error = Account::named("nobody-of-this-name").unwrap_err();
    assert!(error.to_string().contains("useradd"), "{error}");
}
