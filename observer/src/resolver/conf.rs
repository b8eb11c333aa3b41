//! The files that tell a process's resolver what to do: resolv.conf(5) and hosts(5).

use std::net::{IpAddr, SocketAddr};

use crate::dns;

/// Name servers that are asked: as many as glibc takes (`MAXNS`).
const NAME_SERVERS_MAX: usize = 3;

/// Suffixes that are tried: glibc once took as many.
const SUFFIXES_MAX: usize = 6;

/// What resolv.conf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conf {
    /// In the order in which they are asked.
    pub name_servers: Vec<SocketAddr>,
    /// What a name without enough dots is tried with.
    suffixes: Vec<String>,
    /// A name with as many dots is asked for as it is first.
    dots: usize,
}

impl Conf {
    /// Reads the file's text; lines that cannot be read are passed over, as resolvers do.
    pub fn parse(text: &str) -> Self {
        let mut conf = Conf { name_servers: Vec::new(), suffixes: Vec::new(), dots: 1 };
        for line in text.lines() {
            let mut words = line.split(['#', ';']).next().unwrap_or_default().split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    conf.name_servers.extend(ip.map(|ip| SocketAddr::new(ip, dns::PORT)));
                }
                Some("search" | "domain") => {
                    conf.suffixes = words.map(|word| word.trim_matches('.').to_ascii_lowercase()).collect();
                }
                Some("options") => {
                    let mut dots = words.filter_map(|word| word.strip_prefix("ndots:")?.parse().ok());
                    conf.dots = dots.next_back().unwrap_or(conf.dots);
                }
                _ => {}
            }
        }
        if conf.name_servers.is_empty() {
            conf.name_servers.push((std::net::Ipv4Addr::LOCALHOST, dns::PORT).into());
        }
        conf.name_servers.truncate(NAME_SERVERS_MAX);
        conf.suffixes.truncate(SUFFIXES_MAX);
        conf
    }

    /// What is asked for in place of a name, in this order.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(whole) = name.strip_suffix('.') {
            return vec![whole.to_owned()];
        }
        let with_suffixes = self.suffixes.iter().filter(|suffix| !suffix.is_empty());
        let mut candidates: Vec<String> = with_suffixes.map(|suffix| format!("{name}.{suffix}")).collect();
        let as_it_is = if name.matches('.').count() >= self.dots { 0 } else { candidates.len() };
        candidates.insert(as_it_is, name.to_owned());
        candidates
    }
}

/// The addresses that a hosts file gives a name.
pub fn listed(hosts: &str, name: &str) -> Vec<IpAddr> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(ip)
    };
    hosts.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_and_suffixes_are_read() {
        let conf = Conf::parse(
            "# Docker\nnameserver 127.0.0.11\nnameserver fe80::1%eth0\n nameserver fd00::53 ; x\n\
             domain old.test\nsearch A.test b.test.\noptions edns0 ndots:2\nsortlist x\nnameserver\n",
        );
        assert_eq!(conf.name_servers, ["127.0.0.11:53".parse().unwrap(), "[fd00::53]:53".parse().unwrap()]);
        assert_eq!(conf.candidates("db"), ["db.a.test", "db.b.test", "db"]);
        assert_eq!(conf.candidates("db.x.y"), ["db.x.y", "db.x.y.a.test", "db.x.y.b.test"]);
        assert_eq!(conf.candidates("db."), ["db"]);
    }

    #[test]
    fn without_a_name_server_the_host_itself_is_asked() {
        let conf = Conf::parse("search .\n");
        assert_eq!(conf.name_servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(conf.candidates("db"), ["db"]);
    }

    #[test]
    fn a_hosts_file_gives_a_name_all_its_addresses() {
        let hosts = "127.0.0.1 localhost\n10.0.0.1\tdb.test DB # db2\n10.0.0.2 db\nfd00::1 db\nx db\n";
        assert_eq!(listed(hosts, "Db").len(), 3);
        assert_eq!(listed(hosts, "db.test."), ["10.0.0.1".parse::<IpAddr>().unwrap()]);
        assert_eq!(listed(hosts, "db2"), [] as [IpAddr; 0]);
    }
}
