use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::*;

fn message(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((16 + payload.len() as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn read(datagram: &[u8]) -> (Result<Progress, DiagError>, Vec<Vec<u8>>) {
    let mut payloads = Vec::new();
    let progress = parse(datagram, 7, |payload| payloads.push(payload.to_vec()));
    (progress, payloads)
}

const SOCKET: u16 = 20;

#[test]
fn every_message_of_a_datagram_is_read_up_to_the_last() {
    let mut datagram = message(SOCKET, 2, 7, b"one..");
    datagram.extend(message(SOCKET, 2, 7, b"two"));
    let (progress, payloads) = read(&datagram);
    assert_eq!(progress.unwrap(), Progress::More { interrupted: false });
    assert_eq!(payloads, [b"one..".to_vec(), b"two".to_vec()]);
    datagram.extend(message(NLMSG_DONE, 2, 7, &[0; 4]));
    let (progress, payloads) = read(&datagram);
    assert_eq!(progress.unwrap(), Progress::Done { interrupted: false });
    assert_eq!(payloads.len(), 2);
}

#[test]
fn a_list_that_changed_meanwhile_is_told_wherever_the_kernel_says_so() {
    let mut datagram = message(SOCKET, 2 | NLM_F_DUMP_INTR, 7, b"one");
    datagram.extend(message(SOCKET, 2, 7, b"two"));
    assert_eq!(
        read(&datagram).0.unwrap(),
        Progress::More { interrupted: true }
    );
    let last = message(NLMSG_DONE, 2 | NLM_F_DUMP_INTR, 7, &[0; 4]);
    assert_eq!(read(&last).0.unwrap(), Progress::Done { interrupted: true });
    let quiet = Progress::Done { interrupted: false };
    assert_eq!(quiet.after(true), Progress::Done { interrupted: true });
}

#[test]
fn answers_to_an_earlier_question_are_passed_over() {
    let mut datagram = message(NLMSG_DONE, 2, 6, &[0; 4]);
    datagram.extend(message(SOCKET, 2, 7, b"mine"));
    let (progress, payloads) = read(&datagram);
    assert_eq!(progress.unwrap(), Progress::More { interrupted: false });
    assert_eq!(payloads, [b"mine".to_vec()]);
}

#[test]
fn a_refusal_carries_the_kernels_error_in_both_kinds_of_last_message() {
    for kind in [NLMSG_ERROR, NLMSG_DONE] {
        let (progress, _) = read(&message(kind, 0, 7, &(-libc::ENOENT).to_ne_bytes()));
        let Err(DiagError::Refused(e)) = progress else {
            panic!("{progress:?}")
        };
        assert_eq!(e.raw_os_error(), Some(libc::ENOENT));
    }
}

#[test]
fn garbage_is_an_error_and_never_a_panic() {
    let whole = message(SOCKET, 2, 7, b"12345678");
    for length in 1..whole.len() {
        assert!(
            matches!(read(&whole[..length]).0, Err(DiagError::Garbled(_))),
            "cut at {length}"
        );
    }
    assert!(
        matches!(read(&[0; 64]).0, Err(DiagError::Garbled(_))),
        "a message of no length"
    );
}

#[test]
fn a_cookie_survives_both_ways() {
    for cookie in [
        0,
        1,
        u64::from(u32::MAX),
        1 << 32,
        u64::MAX - 1,
        0x0123_4567_89ab_cdef,
    ] {
        assert_eq!(cookie_number(cookie_bytes(cookie)), cookie);
    }
}

fn inode(socket: &impl std::os::fd::AsRawFd) -> u32 {
    let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    let link = link.to_str().unwrap();
    link.trim_start_matches("socket:[")
        .trim_end_matches(']')
        .parse()
        .unwrap()
}

#[test]
fn the_listeners_name_is_found_from_the_connecting_side_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let name = Some(path.to_str().unwrap().as_bytes().to_vec());
    let listener = UnixListener::bind(&path).unwrap();
    let client = UnixStream::connect(&path).unwrap();
    let mut diag = Diag::own().unwrap();
    assert_eq!(
        diag.unix_peer_name(inode(&client), None).unwrap(),
        name,
        "before it is accepted"
    );
    let (server, _) = listener.accept().unwrap();
    let cookie = socket2::SockRef::from(&client).cookie().unwrap();
    assert_eq!(diag.unix_inode(cookie).unwrap(), Some(inode(&client)));
    assert_eq!(
        diag.unix_peer_name(inode(&client), Some(cookie)).unwrap(),
        name
    );
    assert_eq!(
        diag.unix_peer_name(inode(&server), None).unwrap(),
        None,
        "clients have no name"
    );
    assert_eq!(
        diag.unix_peer_name(inode(&client), Some(cookie + 1))
            .unwrap(),
        None
    );
    let gone = inode(&server);
    drop(server);
    assert_eq!(diag.unix_peer_name(gone, None).unwrap(), None);
    assert_eq!(
        diag.unix_peer_name(inode(&client), Some(cookie)).unwrap(),
        None
    );
}

#[test]
fn a_process_that_is_gone_has_no_namespace() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let error = Diag::of_process(child.id()).unwrap_err();
    assert!(matches!(error, DiagError::Namespace { .. }), "{error:?}");
}
