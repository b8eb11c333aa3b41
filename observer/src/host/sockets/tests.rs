use std::io::Read;
use std::net::{Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener, UnixStream};
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::SockRef;

use super::holders::{netns_of, socket_inode};
use super::*;

fn cookie(socket: &impl AsFd) -> u64 {
    SockRef::from(socket).cookie().unwrap()
}

fn own_scan() -> Vec<SocketFacts> {
    let scan = scan(&[std::process::id()]);
    assert!(scan.failures.is_empty(), "{:?}", scan.failures);
    scan.sockets
}

fn facts(socket: &impl AsFd) -> SocketFacts {
    let cookie = cookie(socket);
    let found = own_scan().into_iter().find(|facts| facts.cookie == cookie);
    let found = found.unwrap_or_else(|| panic!("no socket with the cookie {cookie}"));
    assert_eq!(found.holders, [std::process::id()]);
    assert_eq!(found.netns, netns_of(std::process::id()).unwrap());
    found
}

/// A listener on this address, with one connection: (listener, client, server).
fn connection(address: &str) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (listener, client, server)
}

fn assert_connection(address: &str, family: Family) {
    let (listener, client, mut server) = connection(address);
    let there = Endpoint::Ip(listener.local_addr().unwrap());
    let here = Endpoint::Ip(client.local_addr().unwrap());
    let heard = facts(&listener);
    assert_eq!((heard.family, heard.state), (family, TcpState::LISTEN));
    assert_eq!((heard.local, heard.remote), (there.clone(), Endpoint::None));
    let asked = facts(&client);
    assert_eq!((asked.family, asked.state), (family, TcpState::ESTABLISHED));
    assert_eq!((&asked.local, &asked.remote), (&here, &there));
    let answered = facts(&server);
    assert_eq!((&answered.local, &answered.remote), (&there, &here));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    assert_eq!(facts(&server).state, TcpState::CLOSE_WAIT);
}

#[test]
fn ipv4_listeners_and_connections_are_found_with_their_addresses_and_states() {
    assert_connection("127.0.0.1:0", Family::Inet);
}

#[test]
fn ipv6_listeners_and_connections_are_found_with_their_addresses_and_states() {
    assert_connection("[::1]:0", Family::Inet6);
}

#[test]
fn a_mapped_ipv4_address_is_given_as_ipv4() {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (server, _) = listener.accept().unwrap();
    let found = facts(&server);
    assert_eq!(found.family, Family::Inet6);
    assert_eq!(found.local.to_string(), format!("127.0.0.1:{port}"));
    assert_eq!(found.remote, Endpoint::Ip(client.local_addr().unwrap()));
    assert_eq!(facts(&listener).local.to_string(), format!("[::]:{port}"));
}

fn assert_unix(address: &UnixAddress, name: &[u8], shown: &str) {
    let listener = UnixListener::bind_addr(address).unwrap();
    let client = UnixStream::connect_addr(address).unwrap();
    let bound = Endpoint::Unix(name.to_vec());
    assert_eq!(bound.to_string(), shown);
    assert_eq!(facts(&client).remote, bound, "before it is accepted");
    let (server, _) = listener.accept().unwrap();
    let heard = facts(&listener);
    assert_eq!((heard.family, heard.state), (Family::Unix, TcpState::LISTEN));
    assert_eq!((&heard.local, &heard.remote), (&bound, &Endpoint::None));
    let asked = facts(&client);
    assert_eq!(asked.state, TcpState::ESTABLISHED);
    assert_eq!((&asked.local, &asked.remote), (&Endpoint::None, &bound));
    let answered = facts(&server);
    assert_eq!((&answered.local, &answered.remote), (&bound, &Endpoint::None));
}

#[test]
fn a_unix_connection_knows_its_listeners_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.sock");
    let text = path.to_str().unwrap();
    let address = UnixAddress::from_pathname(&path).unwrap();
    assert_unix(&address, text.as_bytes(), &format!("unix:{text}"));
}

#[test]
fn a_unix_connection_knows_its_listeners_abstract_name() {
    let name = format!("observer-test-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).unwrap();
    assert_unix(&address, format!("\0{name}").as_bytes(), &format!("unix:@{name}"));
}

#[test]
fn a_unix_pair_has_no_names() {
    let (one, other) = UnixStream::pair().unwrap();
    assert_eq!(facts(&one).remote, Endpoint::None);
    assert_eq!(facts(&other).local, Endpoint::None);
}

#[test]
fn a_thousand_connections_are_all_found_once() {
    // The usual soft limit of 1,024 descriptors is too near.
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(4096).min(hard), hard).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut open = Vec::new();
    for _ in 0..1000 {
        open.push(TcpStream::connect(address).unwrap());
        open.push(listener.accept().unwrap().0);
    }
    let mut wanted: Vec<u64> = open.iter().map(cookie).collect();
    wanted.sort_unstable();
    let mut found: Vec<u64> = own_scan()
        .into_iter()
        .filter(|facts| facts.state == TcpState::ESTABLISHED)
        .filter(|facts| [&facts.local, &facts.remote].contains(&&Endpoint::Ip(address)))
        .map(|facts| facts.cookie)
        .collect();
    found.sort_unstable();
    assert_eq!(found, wanted);
}

#[test]
fn a_socket_shared_with_a_child_names_both_holders() {
    let (one, _other) = UnixStream::pair().unwrap();
    // As the child's input it is passed on; every other socket of this process closes on exec.
    let shared = one.try_clone().unwrap();
    let mut child = Command::new("sleep").arg("60").stdin(std::os::fd::OwnedFd::from(shared)).spawn().unwrap();
    let cookie = cookie(&one);
    let scan = scan(&[child.id(), std::process::id()]);
    child.kill().unwrap();
    child.wait().unwrap();
    let found = scan.sockets.iter().find(|facts| facts.cookie == cookie).unwrap();
    let mut holders = [child.id(), std::process::id()];
    holders.sort_unstable();
    assert_eq!(found.holders, holders);
}

#[test]
fn the_ports_of_listeners_are_found_and_those_of_connections_are_not() {
    let (v4, client, _server) = connection("127.0.0.1:0");
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let own = std::process::id();
    let ports = listening_ports(&[own]).remove(&own).unwrap();
    assert!(ports.contains(&v4.local_addr().unwrap().port()));
    assert!(ports.contains(&v6.local_addr().unwrap().port()));
    assert!(!ports.contains(&client.local_addr().unwrap().port()));
}

#[test]
fn without_sock_diag_listeners_are_found_in_proc() {
    let (v4, client, _server) = connection("127.0.0.1:0");
    let v6 = TcpListener::bind("[::1]:0").unwrap();
    let own = std::process::id();
    let groups = holders::by_namespace(&[own], &mut Vec::new());
    let listed = listed::facts(&groups[0]);
    for listener in [&v4, &v6] {
        let local = Endpoint::Ip(listener.local_addr().unwrap());
        let found = listed.iter().find(|facts| facts.local == local).unwrap();
        let is_it = |facts: &SocketFacts| facts.local == local && facts.state == TcpState::LISTEN;
        let by_diag = scan(&[own]).sockets.into_iter().find(is_it).unwrap();
        assert_ne!(found.cookie, by_diag.cookie);
        assert_eq!(SocketFacts { cookie: by_diag.cookie, ..found.clone() }, by_diag);
    }
    let client = Endpoint::Ip(client.local_addr().unwrap());
    assert!(listed.iter().all(|facts| facts.local != client && facts.state == TcpState::LISTEN));
}

#[test]
fn a_process_that_ended_is_no_failure() {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let scan = scan(&[child.id()]);
    assert!(scan.sockets.is_empty() && scan.failures.is_empty(), "{scan:?}");
}

#[test]
fn only_links_to_sockets_have_an_inode() {
    assert_eq!(socket_inode(b"socket:[4294967295]"), Some(u32::MAX));
    for other in [&b"socket:[4294967296]"[..], b"socket:[]", b"pipe:[12]", b"/dev/null", b"socket:[1"] {
        assert_eq!(socket_inode(other), None);
    }
}
