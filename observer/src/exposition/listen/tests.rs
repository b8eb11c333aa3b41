use super::*;

fn read(text: &str) -> Result<Listen, NotAListener> {
    text.parse()
}

#[test]
fn an_address_alone_has_no_rules() {
    let listen = read("127.0.0.1:9542").unwrap();
    assert_eq!(listen, Listen::tcp("127.0.0.1:9542".parse().unwrap()));
    assert_eq!(listen.to_string(), "http://127.0.0.1:9542/metrics");
    assert!(listen.is_local() && !listen.is_private());
}

#[test]
fn options_follow_commas_and_repeat() {
    let listen =
        read("[::]:9542,allow=10.0.0.9/24,allow=fd00::1,paths=/metrics,paths=/ready,name=Obs.Example").unwrap();
    assert_eq!(listen.allow, ["10.0.0.0/24".parse().unwrap(), "fd00::1/128".parse::<IpNet>().unwrap()]);
    assert_eq!(listen.paths, ["/metrics", "/ready"]);
    assert_eq!(listen.names, ["obs.example"]);
    assert!(!listen.is_local() && !listen.reads_openly);
    assert!(read("127.0.0.1:1,read=open").unwrap().reads_openly);
    assert!(read("127.0.0.1:1,read=closed").is_err());
}

#[test]
fn a_unix_socket_is_private_unless_its_mode_is_wider() {
    let private = read("unix:/run/observer.sock").unwrap();
    assert_eq!(private.address, Address::Unix { path: "/run/observer.sock".into(), mode: 0o600 });
    assert!(private.is_local() && private.is_private());
    assert!(read("unix:/s,mode=0400").unwrap().is_private());
    for wider in ["0660", "0604", "0610", "666"] {
        assert!(!read(&format!("unix:/s,mode={wider}")).unwrap().is_private(), "{wider}");
    }
}

#[test]
fn tls_has_a_certificate_with_its_key() {
    let listen = read("127.0.0.1:1,cert=c.pem,key=k.pem,client-ca=a.pem").unwrap();
    let files = listen.tls.clone().unwrap();
    assert_eq!((files.cert, files.key, files.client_ca), ("c.pem".into(), "k.pem".into(), Some("a.pem".into())));
    assert_eq!(listen.to_string(), "https://127.0.0.1:1/metrics");
    for half in ["cert=c", "key=k", "client-ca=a", "client-ca=a,key=k"] {
        assert_eq!(read(&format!("127.0.0.1:1,{half}")), Err(NotAListener::HalfTls), "{half}");
    }
}

#[test]
fn what_cannot_be_read_is_told_with_what_to_write() {
    for (text, hint) in [
        ("9542", "ADDR:PORT"),
        ("localhost:9542", "ADDR:PORT"),
        ("unix:run/relative", "unix:/PATH"),
        ("unix:@abstract", "unix:/PATH"),
        ("127.0.0.1:1,mode=0600", "for unix: mode=0600"),
        ("127.0.0.1:1,colour=red", "allow=CIDR"),
        ("127.0.0.1:1,allow", "allow=CIDR"),
        ("127.0.0.1:1,", "allow=CIDR"),
        ("127.0.0.1:1,allow=10.0.0.0/33", "10.0.0.0/24"),
        ("127.0.0.1:1,paths=metrics", "/metrics"),
        ("unix:/s,allow=10.0.0.0/8", "no option here"),
        ("unix:/s,mode=9", "0600"),
        ("unix:/s,mode=1777", "0600"),
        ("unix:/s,mode=0600,mode=0600", "once"),
        ("127.0.0.1:1,cert=a,cert=b,key=k", "once"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn other_hosts_are_served_only_by_somebodys_word() {
    let check = |listen: &str, allow: &[IpNet], has_users| check_exposed(&[read(listen).unwrap()], allow, has_users);
    for local in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/s,mode=0666"] {
        assert_eq!(check(local, &[], false), Ok(()), "{local}");
    }
    for open in ["0.0.0.0:9542", "[::]:9542", "192.0.2.1:9542,paths=/metrics,name=x"] {
        let error = check(open, &[], false).unwrap_err().to_string();
        for hint in ["--allow", "--auth-file", "cert=", "--insecure"] {
            assert!(error.contains(hint), "{error}");
        }
        assert_eq!(check(open, &[], true), Ok(()));
        assert_eq!(check(open, &["10.0.0.0/8".parse().unwrap()], false), Ok(()));
    }
    // Users protect nothing where reading asks for none.
    assert!(check("0.0.0.0:1,read=open", &[], true).is_err());
    assert_eq!(check("0.0.0.0:1,read=open,allow=10.0.0.0/8", &[], true), Ok(()));
    for guarded in ["0.0.0.0:1,allow=10.0.0.0/8", "0.0.0.0:1,cert=c,key=k"] {
        assert_eq!(check(guarded, &[], false), Ok(()), "{guarded}");
    }
    let both = [read("0.0.0.0:1,allow=10.0.0.0/8").unwrap(), read("0.0.0.0:2").unwrap()];
    assert!(check_exposed(&both, &[], false).unwrap_err().to_string().contains("0.0.0.0:2"));
}
