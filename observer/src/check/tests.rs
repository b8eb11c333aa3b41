use super::*;

const ALL: u64 = u64::MAX;
const NOW: Option<kernel::Version> = Some((6, 18));

fn content(text: &str) -> io::Result<String> {
    Ok(text.to_owned())
}

fn absent<T>() -> io::Result<T> {
    Err(io::ErrorKind::NotFound.into())
}

fn capability(name: &str, effective: u64, version: kernel::Version) -> Row {
    let rows = capabilities::rows(Some(effective), Some(version));
    rows.into_iter().find(|row| row.name == name).unwrap()
}

#[test]
fn a_release_is_read_up_to_its_second_number() {
    assert_eq!(kernel::version("6.18.44-fc-v669"), Some((6, 18)));
    assert_eq!(kernel::version("5.10"), Some((5, 10)));
    assert_eq!(kernel::version("6.3-rc1"), Some((6, 3)));
    assert_eq!(kernel::version("six"), None);
    assert_eq!(kernel::version(""), None);
}

#[test]
fn a_kernel_before_the_socket_tracepoints_is_told_but_the_hooks_decide() {
    let verdict = |release: &str| kernel::release_row(release, kernel::version(release)).verdict;
    assert_eq!(verdict("6.3.0"), Verdict::Ok);
    assert_eq!(verdict("7.0.1"), Verdict::Ok);
    assert_eq!(verdict("6.2.16"), Verdict::Warn);
    assert_eq!(verdict("5.14.0-427.el9"), Verdict::Warn);
    assert_eq!(verdict("unknown"), Verdict::Warn);
}

#[test]
fn only_known_architectures_pass() {
    assert_eq!(kernel::machine_row("x86_64").verdict, Verdict::Ok);
    assert_eq!(kernel::machine_row("aarch64").verdict, Verdict::Ok);
    assert_eq!(kernel::machine_row("armv7l").verdict, Verdict::Missing);
}

#[test]
fn each_level_of_lockdown_is_told() {
    for (text, verdict, says) in [
        ("[none] integrity confidentiality\n", Verdict::Ok, "none"),
        ("none [integrity] confidentiality\n", Verdict::Ok, "integrity"),
        ("none integrity [confidentiality]\n", Verdict::Warn, "confidentiality"),
        ("surprise\n", Verdict::Warn, "surprise"),
    ] {
        let row = kernel::lockdown_row(content(text));
        assert_eq!(row.verdict, verdict, "{text}");
        assert!(row.found.starts_with(says), "{row:?}");
    }
    assert!(kernel::lockdown_row(absent()).found.contains("not readable"));
}

#[test]
fn an_interpreter_is_a_warning() {
    assert_eq!(kernel::jit_row(content("1\n")).verdict, Verdict::Ok);
    assert_eq!(kernel::jit_row(content("0\n")).verdict, Verdict::Warn);
    assert_eq!(kernel::jit_row(content("2\n")).verdict, Verdict::Warn);
    assert_eq!(kernel::jit_row(absent()).verdict, Verdict::Ok);
}

#[test]
fn a_containers_process_ids_are_in_the_way() {
    const FIRST: u64 = 4_026_531_836;
    assert_eq!(kernel::pid_namespace_row(Ok(FIRST), Some(1)).verdict, Verdict::Ok);
    assert_eq!(kernel::pid_namespace_row(Ok(4_026_532_200), Some(1)).verdict, Verdict::Missing);
    let nested = kernel::pid_namespace_row(Ok(4_026_532_200), Some(2));
    assert_eq!(nested.verdict, Verdict::Missing);
    assert!(nested.mend.unwrap().contains("--pid=host"));
    assert_eq!(kernel::pid_namespace_row(absent(), None).verdict, Verdict::Missing);
}

#[test]
fn with_every_capability_all_rows_are_good() {
    let rows = capabilities::rows(Some(ALL), NOW);
    assert_eq!(rows.len(), 7);
    assert!(rows.iter().all(|row| row.verdict == Verdict::Ok && row.found.starts_with("held")));
}

#[test]
fn sys_admin_stands_in_for_bpf_and_perfmon() {
    let without = ALL & !(1 << 38) & !(1 << 39);
    for name in ["CAP_BPF", "CAP_PERFMON"] {
        assert!(capability(name, without, (6, 18)).found.starts_with("CAP_SYS_ADMIN stands in"));
        let neither = capability(name, without & !(1 << 21), (6, 18));
        assert_eq!(neither.verdict, Verdict::Missing);
        assert!(neither.mend.unwrap().contains(name));
    }
}

#[test]
fn with_no_capability_each_row_says_what_is_lost() {
    let verdict = |name| capability(name, 0, (6, 18)).verdict;
    assert_eq!(verdict("CAP_SYS_PTRACE"), Verdict::Missing);
    assert_eq!(verdict("CAP_SYS_ADMIN"), Verdict::Warn);
    assert_eq!(verdict("CAP_DAC_READ_SEARCH"), Verdict::Warn);
    assert_eq!(verdict("CAP_NET_ADMIN"), Verdict::Ok);
    assert_eq!(verdict("CAP_SYS_RESOURCE"), Verdict::Ok);
    assert_eq!(capability("CAP_SYS_RESOURCE", 0, (5, 10)).verdict, Verdict::Warn);
    assert!(capability("CAP_DAC_READ_SEARCH", 1 << 1, (6, 18)).found.contains("CAP_DAC_OVERRIDE"));
}

#[test]
fn the_limit_on_locked_memory_counts_before_5_11_only() {
    assert_eq!(kernel::locked_memory_row(Some(65536), Some((5, 10))).verdict, Verdict::Warn);
    assert_eq!(kernel::locked_memory_row(None, Some((5, 10))).verdict, Verdict::Ok);
    let row = kernel::locked_memory_row(Some(8 << 20), Some((5, 11)));
    assert_eq!((row.verdict, &row.found[..8]), (Verdict::Ok, "8192 KiB"));
}

#[test]
fn without_btf_every_hook_is_missing() {
    let rows = hooks::rows(None);
    assert_eq!(rows.len(), 8);
    assert!(!can_observe(&rows[..1]));
    assert!(rows.iter().all(|row| row.verdict == Verdict::Missing));
    let none = Btf::parse(Vec::new());
    assert_eq!(btf_row(&none).verdict, Verdict::Missing);
}

#[test]
fn the_table_is_aligned_and_ends_with_the_answer() {
    let mut rows = vec![Row::ok("kernel", "6.18"), Row::warn("BPF compiler", "off", "turn it on")];
    assert_eq!(
        render(&rows, Look::default()),
        "ok       kernel        6.18\n\
         warn     BPF compiler  off\n\
         \x20                      -> turn it on\n\
         \n\
         This host can be observed; 1 of 2 rows are worth a look: BPF compiler.\n"
    );
    let good = render(&rows[..1], Look::default());
    assert!(good.ends_with("\n\nThis host can be observed: all 1 rows are as needed.\n"), "{good}");
    rows.push(Row::missing("BTF", "not there", "boot another kernel"));
    let text = render(&rows, Look::default());
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("This host cannot be observed yet: mend BTF "), "{last}");
    assert!(render(&rows, Look { colour: true, columns: None }).contains("\x1b[31mmissing\x1b[0m  BTF"));
}

#[test]
fn on_a_terminal_long_rows_go_on_below_themselves() {
    let rows = [Row::warn("BTF", "one two three four five six seven", "do this and then do that")];
    assert_eq!(
        render(&rows, Look { colour: false, columns: Some(35) }).lines().take(4).collect::<Vec<_>>(),
        [
            "warn     BTF  one two three four",
            "              five six seven",
            "              -> do this and then",
            "              do that"
        ]
    );
    // Too narrow for anything: words stay whole.
    let narrow = render(&rows, Look { colour: false, columns: Some(3) });
    assert!(narrow.lines().all(|line| line.chars().count() <= 14 + LONGEST_ANSWER), "{narrow}");
}

/// The answer is one line on any terminal.
const LONGEST_ANSWER: usize = 80;

#[test]
fn this_host_is_looked_at_without_a_word_missing() {
    let rows = rows();
    assert!(rows.len() >= 20, "{}", rows.len());
    for row in &rows {
        assert!(!row.name.is_empty() && !row.found.is_empty(), "{row:?}");
        assert_eq!(row.mend.is_none(), row.verdict == Verdict::Ok, "{row:?}");
    }
}
