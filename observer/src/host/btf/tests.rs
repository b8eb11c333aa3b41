use super::*;

/// Writes BTF as the format describes it.
#[derive(Default)]
struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    fn new() -> Self {
        Writer {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn head(&mut self, name: &str, kind: u32, flag: bool, parts: usize, target: u32) {
        let name = self.string(name);
        self.words(&[
            name,
            u32::from(flag) << 31 | kind << 24 | parts as u32,
            target,
        ]);
    }

    /// Members are (name, type, offset in bits, bits of a bit field).
    fn structure(&mut self, kind: u32, name: &str, flag: bool, members: &[(&str, u32, u32, u32)]) {
        self.head(name, kind, flag, members.len(), 64);
        for (name, ty, bit, bits) in members {
            let name = self.string(name);
            self.words(&[name, *ty, bits << 24 | bit]);
        }
    }

    fn enumeration(&mut self, name: &str, values: &[&str]) {
        self.head(name, KIND_ENUM, false, values.len(), 4);
        for (value, name) in values.iter().enumerate() {
            let name = self.string(name);
            self.words(&[name, value as u32]);
        }
    }

    fn finish(self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = Vec::new();
        bytes.extend(MAGIC.to_ne_bytes());
        bytes.extend([1, 0]);
        for word in [24, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(self.types);
        bytes.extend(self.strings);
        bytes
    }
}

/// struct sock { int a; union { int b; struct { int c; int d; }; }; sk_net n; int flag : 4; u8
/// proto : 8; } where sk_net is `typedef const struct { int x; struct inner { int inum; } ns; }`.
fn sample() -> Writer {
    let mut w = Writer::new();
    w.head("int", 1, false, 0, 4); // 1
    w.words(&[0x0100_0020]);
    w.structure(KIND_STRUCT, "", false, &[("c", 1, 0, 0), ("d", 1, 32, 0)]); // 2
    w.structure(KIND_UNION, "", false, &[("b", 1, 0, 0), ("", 2, 0, 0)]); // 3
    w.structure(KIND_STRUCT, "inner", false, &[("inum", 1, 24 * 8, 0)]); // 4
    w.structure(KIND_STRUCT, "", false, &[("x", 1, 0, 0), ("ns", 4, 64, 0)]); // 5
    w.head("", KIND_CONST, false, 0, 5); // 6
    w.head("sk_net", KIND_TYPEDEF, false, 0, 6); // 7
    w.head("sock", 7, false, 0, 0); // 8: a forward declaration of the same name
    w.structure(
        KIND_STRUCT,
        "sock",
        true,
        &[
            ("a", 1, 0, 0),
            ("", 3, 32, 0),
            ("n", 7, 128, 0),
            ("flag", 1, 512, 4),
            ("proto", 1, 520, 8),
        ],
    ); // 9
    w.enumeration(
        "bpf_func_id",
        &["BPF_FUNC_unspec", "BPF_FUNC_get_socket_cookie"],
    );
    w.head("btf_trace_sock_send_length", KIND_TYPEDEF, false, 0, 1);
    w
}

fn parsed() -> Btf {
    Btf::parse(sample().finish()).unwrap()
}

#[test]
fn a_member_is_found_directly_and_in_unnamed_structures_and_unions() {
    let btf = parsed();
    for (member, offset) in [("a", 0), ("b", 4), ("c", 4), ("d", 8), ("n", 16)] {
        assert_eq!(
            member_offset(&btf, "sock", member).unwrap(),
            offset,
            "{member}"
        );
    }
}

#[test]
fn dots_lead_into_named_structures_through_typedefs_and_qualifiers() {
    assert_eq!(
        member_offset(&parsed(), "sock", "n.ns.inum").unwrap(),
        16 + 8 + 24
    );
    assert_eq!(member_offset(&parsed(), "sock", "n.x").unwrap(), 16);
}

#[test]
fn a_bit_field_counts_only_where_it_is_whole_bytes() {
    assert_eq!(member_offset(&parsed(), "sock", "proto").unwrap(), 65);
    let message = member_offset(&parsed(), "sock", "flag")
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("`flag` of this kernel's `struct sock`"),
        "{message}"
    );
}

#[test]
fn what_is_missing_is_named() {
    for (structure, member, says) in [
        ("tcp_sock", "copied_seq", "no `struct tcp_sock`"),
        (
            "sock",
            "skc_family",
            "`struct sock` has no member `skc_family`",
        ),
        ("sock", "n.ns.id", "has no member `n.ns.id`"),
        ("sock", "a.b", "has no member `a.b`"),
        ("int", "a", "no `struct int`"),
    ] {
        let message = member_offset(&parsed(), structure, member)
            .unwrap_err()
            .to_string();
        assert!(message.contains(says), "{message}");
    }
}

#[test]
fn tracepoints_and_helpers_are_known_by_their_whole_names() {
    let btf = parsed();
    assert!(btf.has_tracepoint("sock_send_length"));
    assert!(!btf.has_tracepoint("sock_send"));
    assert!(!btf.has_tracepoint("sock_send_length2"));
    assert!(btf.has_helper("get_socket_cookie"));
    assert!(!btf.has_helper("get_socket"));
    assert!(!btf.has_helper("task_pt_regs"));
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    let whole = sample().finish();
    for length in 0..whole.len() {
        assert!(
            Btf::parse(whole[..length].to_vec()).is_err(),
            "cut at {length}"
        );
    }
}

#[test]
fn circles_of_types_end() {
    let mut w = Writer::new();
    w.structure(
        KIND_STRUCT,
        "ring",
        false,
        &[("", 1, 0, 0), ("next", 2, 0, 0)],
    ); // 1 holds itself
    w.head("loop", KIND_TYPEDEF, false, 0, 2); // 2 is itself
    let btf = Btf::parse(w.finish()).unwrap();
    assert!(member_offset(&btf, "ring", "absent").is_err());
    assert!(member_offset(&btf, "ring", "next.absent").is_err());
}

#[test]
fn an_unknown_kind_and_a_foreign_byte_order_are_told() {
    let mut w = Writer::new();
    w.head("later", 27, false, 0, 0);
    assert!(matches!(
        Btf::parse(w.finish()),
        Err(BtfError::UnknownKind(27))
    ));
    let mut bytes = sample().finish();
    bytes.swap(0, 1);
    assert!(matches!(Btf::parse(bytes), Err(BtfError::Malformed(_))));
}

#[test]
fn the_running_kernel_lays_out_sockets_as_known() {
    // `struct sock_common` begins like this in every kernel with BTF.
    let btf = Btf::load().expect("this test needs a kernel with BTF");
    for (member, offset) in [
        ("skc_daddr", 0),
        ("skc_rcv_saddr", 4),
        ("skc_dport", 12),
        ("skc_num", 14),
        ("skc_family", 16),
        ("skc_state", 18),
    ] {
        assert_eq!(
            member_offset(&btf, "sock_common", member).unwrap(),
            offset,
            "{member}"
        );
    }
    for (structure, member) in [
        ("sock_common", "skc_v6_daddr"),
        ("sock_common", "skc_v6_rcv_saddr"),
        ("sock_common", "skc_net"),
        ("sock_common", "skc_net.net"),
        ("sock", "sk_protocol"),
        ("sock", "sk_socket"),
        ("net", "ns.inum"),
        ("task_struct", "tgid"),
        ("unix_sock", "addr"),
        ("unix_address", "name"),
        ("unix_address", "len"),
        ("tcp_sock", "copied_seq"),
    ] {
        let offset = member_offset(&btf, structure, member);
        assert!(offset.is_ok(), "{structure}.{member}: {offset:?}");
    }
    assert!(btf.has_tracepoint("sched_process_fork") && btf.has_helper("probe_read_user"));
}
