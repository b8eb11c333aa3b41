use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::*;
use crate::host::selector::Selector;

fn process(pid: u32, ppid: u32, comm: &str) -> ProcessFacts {
    ProcessFacts {
        pid,
        ppid,
        comm: Comm::new(comm.as_bytes()),
        exe: None,
        netns: None,
        start_ticks: u64::from(pid),
        ports: BTreeSet::new(),
    }
}

fn listening(pid: u32, ppid: u32, comm: &str) -> ProcessFacts {
    ProcessFacts {
        ports: BTreeSet::from([80]),
        ..process(pid, ppid, comm)
    }
}

fn gateway(root: u32, name: &str, processes: &[u32]) -> Gateway {
    Gateway {
        root,
        name: name.to_owned(),
        processes: processes.to_vec(),
    }
}

fn own_pid() -> u32 {
    std::process::id()
}

#[test]
fn a_master_is_the_root_of_its_workers() {
    let processes = [
        process(1, 0, "init"),
        listening(12, 10, "nginx"),
        listening(11, 10, "nginx"),
        listening(10, 1, "nginx"),
        process(13, 10, "nginx"),
        process(20, 1, "sshd"),
    ];
    // 13 is a cache manager: it closed its listeners, and belongs to its master all the same.
    assert_eq!(
        gateways(&Selection::default(), &processes),
        [gateway(10, "nginx", &[10, 11, 12, 13])]
    );
}

#[test]
fn two_masters_are_two_gateways() {
    let processes = [
        listening(30, 1, "nginx"),
        listening(10, 1, "kong"),
        listening(31, 30, "nginx"),
        listening(11, 10, "nginx"),
    ];
    assert_eq!(
        gateways(&Selection::default(), &processes),
        [
            gateway(10, "kong", &[10, 11]),
            gateway(30, "nginx", &[30, 31])
        ]
    );
}

#[test]
fn a_selected_process_below_others_of_its_gateway_is_no_second_gateway() {
    let processes = [
        listening(10, 1, "nginx"),
        process(11, 10, "sh"),
        listening(12, 11, "nginx"),
    ];
    assert_eq!(
        gateways(&Selection::default(), &processes),
        [gateway(10, "nginx", &[10, 11, 12])]
    );
}

#[test]
fn a_worker_whose_master_died_is_its_own_root() {
    let processes = [process(1, 0, "init"), listening(11, 1, "nginx")];
    assert_eq!(
        gateways(&Selection::default(), &processes),
        [gateway(11, "nginx", &[11])]
    );
}

#[test]
fn a_parent_younger_than_its_child_is_another_process_with_the_same_id() {
    let processes = [
        listening(10, 1, "nginx"),
        ProcessFacts {
            start_ticks: 3,
            ..process(11, 10, "cron")
        },
    ];
    assert_eq!(
        gateways(&Selection::default(), &processes),
        [gateway(10, "nginx", &[10])]
    );
}

#[test]
fn a_circle_of_parents_ends() {
    let mut processes = [listening(10, 11, "nginx"), listening(11, 10, "nginx")];
    processes[1].start_ticks = processes[0].start_ticks;
    let found = gateways(&Selection::default(), &processes);
    assert_eq!(
        found
            .iter()
            .map(|gateway| gateway.processes.len())
            .sum::<usize>(),
        2
    );
}

#[test]
fn a_name_is_cut_at_fifteen_bytes_and_at_a_zero() {
    assert_eq!(
        Comm::new(b"0123456789abcdefg").as_bytes(),
        b"0123456789abcde"
    );
    assert_eq!(Comm::new(b"nginx\0junk").as_bytes(), b"nginx");
    assert_eq!(&Comm::new(b"nginx").padded()[..6], b"nginx\0");
    assert_eq!(Comm::new(b"").as_bytes(), b"");
}

#[test]
fn the_snapshot_tells_this_process_as_it_is() {
    let own = snapshot()
        .unwrap()
        .into_iter()
        .find(|process| process.pid == own_pid())
        .unwrap();
    assert_eq!(own.exe, std::env::current_exe().ok());
    assert_eq!(own.ppid, std::os::unix::process::parent_id());
    assert_eq!(
        own.comm,
        Comm::new(fs::read("/proc/self/comm").unwrap().trim_ascii_end())
    );
    assert_eq!(
        own.netns,
        fs::metadata("/proc/self/ns/net")
            .ok()
            .map(|file| file.ino() as u32)
    );
    assert!(own.start_ticks > 0);
}

#[test]
fn a_listener_is_found_by_its_port_together_with_its_children() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut child = Command::new("sleep")
        .arg("60")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let found = find_gateways(&Selection::new(vec![Selector::Port(port)])).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let [gateway] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(gateway.root, own_pid());
    assert!(
        gateway.processes.contains(&own_pid()) && gateway.processes.contains(&child.id()),
        "{gateway:?}"
    );
}

#[test]
fn a_process_that_ended_is_not_found() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    assert_eq!(
        find_gateways(&Selection::new(vec![Selector::Pid(child.id())])).unwrap(),
        []
    );
}

#[test]
fn a_zombie_is_left_out() {
    let mut child = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    // Waits for the end of the output, then for the state, without reaping the child.
    std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
    let stat = || fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    while !stat().contains(") Z ") {
        std::thread::yield_now();
    }
    assert!(
        snapshot()
            .unwrap()
            .iter()
            .all(|process| process.pid != child.id())
    );
    child.wait().unwrap();
}
