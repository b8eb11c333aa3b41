use std::collections::BTreeSet;
use std::os::unix::fs::symlink;

use super::*;

fn process(pid: u32, comm: &str) -> ProcessFacts {
    ProcessFacts {
        pid,
        ppid: 1,
        comm: Comm::new(comm.as_bytes()),
        exe: None,
        netns: None,
        start_ticks: 0,
        ports: BTreeSet::new(),
    }
}

fn listening(pid: u32, comm: &str, port: u16) -> ProcessFacts {
    ProcessFacts {
        ports: BTreeSet::from([port]),
        ..process(pid, comm)
    }
}

fn running(exe: &Path) -> ProcessFacts {
    ProcessFacts {
        exe: Some(exe.to_owned()),
        ..process(7, "whatever")
    }
}

fn select(texts: &[&str]) -> Selection {
    texts
        .iter()
        .map(|text| text.parse::<Selector>().unwrap())
        .collect()
}

#[test]
fn each_form_is_read_and_printed_alike() {
    for text in [
        "name:nginx",
        "exe:/usr/sbin/nginx",
        "pid:4194304",
        "port:65535",
        "name:a:b",
    ] {
        assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
    }
}

#[test]
fn each_mistake_names_the_text_and_lists_the_four_forms() {
    let mistakes = [
        ("nginx", "is no selector"),
        ("", "is no selector"),
        ("comm:nginx", "is no selector"),
        ("name:", "names nothing"),
        ("exe:nginx", "absolute path"),
        ("pid:0", "from 1 to 4194304"),
        ("pid:-1", "from 1 to 4194304"),
        ("pid:4194305", "from 1 to 4194304"),
        ("port:65536", "from 1 to 65535"),
        ("port:http", "from 1 to 65535"),
    ];
    for (text, says) in mistakes {
        let message = text.parse::<Selector>().unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.starts_with(&format!("`{text}`")), "{message}");
        for form in ["name:nginx", "exe:/usr/sbin/nginx", "pid:1234", "port:8080"] {
            assert!(message.contains(form), "{message}");
        }
    }
}

#[test]
fn the_default_selects_the_known_names_only_where_they_listen() {
    let selection = Selection::default();
    for name in ["nginx", "openresty", "kong"] {
        assert!(selection.matches(&listening(9, name, 80)));
        assert!(
            !selection.matches(&process(9, name)),
            "{name} -t does not listen"
        );
        assert!(selection.depends_on_ports(&process(9, name)));
    }
    assert!(!selection.matches(&listening(9, "nginx-exporter", 80)));
    assert!(!selection.depends_on_ports(&process(9, "sshd")));
    let names: Vec<String> = selection.names().iter().map(Comm::to_string).collect();
    assert_eq!(names, ["kong", "nginx", "openresty"]);
}

#[test]
fn a_named_program_need_not_listen() {
    let selection = select(&["name:nginx"]);
    assert!(selection.matches(&process(9, "nginx")));
    assert!(!selection.matches(&process(9, "nginx2")));
    assert!(
        !selection.matches(&listening(9, "kong", 80)),
        "the default holds only without selectors"
    );
}

#[test]
fn a_long_name_is_compared_by_the_bytes_that_the_kernel_keeps() {
    let selection = select(&["name:a-gateway-with-a-long-name"]);
    assert!(selection.matches(&process(9, "a-gateway-with-")));
    assert_eq!(selection.names()[0].as_bytes(), b"a-gateway-with-");
}

#[test]
fn several_selectors_select_what_any_of_them_does() {
    let selection = select(&["pid:12", "port:8080", "port:8081"]);
    assert!(selection.matches(&process(12, "x")));
    assert!(selection.matches(&listening(13, "x", 8081)));
    assert!(!selection.matches(&listening(13, "x", 8082)));
    assert_eq!(selection.ports(), [8080, 8081]);
    assert!(selection.names().is_empty());
    assert!(selection.depends_on_ports(&process(99, "x")));
}

#[test]
fn the_hosts_init_is_not_selected_by_the_sockets_it_holds_for_its_services() {
    let selection = select(&["port:80"]);
    assert!(!selection.matches(&listening(1, "systemd", 80)));
    assert!(
        selection.matches(&listening(1, "nginx", 80)),
        "a container's first process may be the gateway"
    );
    assert!(
        select(&["pid:1"]).matches(&listening(1, "systemd", 80)),
        "asked for by number, it is meant"
    );
}

#[test]
fn a_file_is_known_by_its_path_its_links_target_and_after_its_removal() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().canonicalize().unwrap().join("openresty-1.25");
    let link = dir.path().canonicalize().unwrap().join("nginx");
    fs::write(&file, "").unwrap();
    symlink(&file, &link).unwrap();
    let selection = Selection::new(vec![Selector::Exe(link.clone())]);
    assert!(selection.matches(&running(&file)));
    assert!(selection.matches(&running(&link)));
    let mut removed = file.clone().into_os_string();
    removed.push(" (deleted)");
    assert!(selection.matches(&running(Path::new(&removed))));
    assert!(!selection.matches(&running(Path::new("/bin/sh"))));
    assert!(
        !selection.matches(&process(9, "nginx")),
        "a process whose file is unknown"
    );
    let names: Vec<String> = selection.names().iter().map(Comm::to_string).collect();
    assert_eq!(names, ["nginx", "openresty-1.25"]);
}
