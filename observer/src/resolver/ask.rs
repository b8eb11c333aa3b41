//! A name's addresses out of name servers' answers. Asked with sockets of the calling thread's network namespace.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::conf::{Conf, listed};
use crate::dns::{self, Question};

/// A name server that takes longer is asked no more.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of an answer over UDP without further agreement (RFC 1035, section 4.2.1); some servers send more.
const DATAGRAM_BYTES: usize = 4096;

/// The addresses of a name as a resolver with these files finds them; none where nobody knows any.
pub fn addresses(name: &str, conf: &Conf, hosts: &str) -> Vec<IpAddr> {
    let listed = listed(hosts, name);
    if !listed.is_empty() {
        return listed;
    }
    let found = conf.candidates(name).into_iter().map(|candidate| {
        let by = |question| conf.name_servers.iter().find_map(|&server| ask(server, &candidate, question));
        [Question::A, Question::Aaaa].into_iter().filter_map(by).flatten().collect::<Vec<_>>()
    });
    found.into_iter().find(|addresses| !addresses.is_empty()).unwrap_or_default()
}

/// What a name server answers; `None` if it does not, or with an error: then the next is asked.
fn ask(server: SocketAddr, name: &str, question: Question) -> Option<Vec<IpAddr>> {
    let query = dns::query(id()?, name, question)?;
    let mut message = over_udp(server, &query).ok()?;
    if is_cut(&message) {
        message = over_tcp(server, &query).ok()?;
    }
    let answer = dns::answer(&message)?;
    let is_asked_for = answer.question == question && answer.name.eq_ignore_ascii_case(name);
    is_asked_for.then(|| answer.addresses.iter().map(|address| address.ip).collect())
}

/// Not to be guessed by whoever would answer in the server's place.
fn id() -> Option<u16> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).ok()?;
    Some(u16::from_ne_bytes(bytes))
}

fn over_udp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.send(query)?;
    let deadline = Instant::now() + PATIENCE;
    let mut message = vec![0; DATAGRAM_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let length = socket.recv(&mut message)?;
        if message[..length].starts_with(&query[..2]) {
            message.truncate(length);
            return Ok(message);
        }
    }
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = (query.len() as u16).to_be_bytes();
    stream.write_all(&[&length, query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// The server had more to say than fits (TC).
fn is_cut(message: &[u8]) -> bool {
    message.get(2).is_some_and(|flags| flags & 0x02 != 0)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Answers the first query as it is told: a name that is not there, a cut answer, or an address.
    fn server(last_byte: Option<u8>, is_cut: bool) -> SocketAddr {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(address).unwrap();
        let answer = move |query: &[u8]| {
            let mut message = query.to_vec();
            message[2] |= 0x80;
            let is_v4 = query[query.len() - 3] == 1;
            match last_byte {
                None => message[3] |= 3,
                Some(byte) if is_v4 => {
                    message[7] = 1;
                    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, byte]);
                }
                Some(_) => {}
            }
            message
        };
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, client)) = udp.recv_from(&mut query) {
                let mut message = answer(&query[..length]);
                if is_cut {
                    (message[2], message[7]) = (message[2] | 2, 0);
                    message.truncate(length);
                }
                // Someone else's answer comes first.
                udp.send_to(&[!query[0], query[1], 0x81, 0x80], client).unwrap();
                udp.send_to(&message, client).unwrap();
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).unwrap();
                let message = answer(&query);
                stream.write_all(&[&(message.len() as u16).to_be_bytes()[..], &message].concat()).unwrap();
            }
        });
        address
    }

    fn conf(name_servers: &[SocketAddr]) -> Conf {
        let mut conf = Conf::parse("search a.test");
        conf.name_servers = name_servers.to_vec();
        conf
    }

    fn ip(last_byte: u8) -> IpAddr {
        [10, 0, 0, last_byte].into()
    }

    #[test]
    fn a_name_server_is_asked_and_over_tcp_where_its_answer_was_cut() {
        for is_cut in [false, true] {
            let conf = conf(&[server(Some(7), is_cut)]);
            assert_eq!(addresses("db", &conf, ""), [ip(7)], "cut: {is_cut}");
        }
    }

    #[test]
    fn after_an_error_the_next_one_is_asked() {
        let conf = conf(&[server(None, false), server(Some(8), false)]);
        assert_eq!(addresses("db", &conf, ""), [ip(8)]);
    }

    #[test]
    fn nobody_is_asked_for_what_the_hosts_file_has() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(addresses("db", &conf(&[nobody]), "10.0.0.9 db"), [ip(9)]);
        assert_eq!(addresses("other", &conf(&[nobody]), "10.0.0.9 db"), [] as [IpAddr; 0]);
    }
}
