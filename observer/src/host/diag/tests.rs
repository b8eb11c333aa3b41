use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use super::*;

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
    // A process that another test is starting holds a copy of each descriptor for a moment.
    let deadline = Instant::now() + Duration::from_secs(10);
    while diag
        .unix_socket(gone, ANY_COOKIE, ShowFlags::empty())
        .unwrap()
        .is_some()
    {
        assert!(
            Instant::now() < deadline,
            "the closed socket is still there"
        );
    }
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
