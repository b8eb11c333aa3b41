//! Rows about what the programs attach to and call.

use super::Row;
use crate::host::btf::Btf;

/// Each tracepoint with what it tells and the Linux it came with, where that is not older than BTF.
const TRACEPOINTS: [(&str, &str, Option<&str>); 7] = [
    ("sock_send_length", "bytes sent", Some("6.3")),
    ("sock_recv_length", "bytes received", Some("6.3")),
    ("inet_sock_set_state", "connects, hang-ups and closes", None),
    ("tcp_destroy_sock", "closes after a reset", None),
    ("sched_process_fork", "new workers", None),
    ("sched_process_exec", "gateways that start", None),
    ("sched_process_exit", "gateways that end", None),
];

/// The younger of the helpers that the programs call, with the Linux they came with.
const HELPERS: [(&str, &str); 8] = [
    ("probe_read_user", "5.5"),
    ("ringbuf_reserve", "5.8"),
    ("get_current_task_btf", "5.11"),
    ("sk_storage_get", "5.11"),
    ("get_socket_cookie", "5.12"),
    ("task_storage_get", "5.11"),
    ("get_attach_cookie", "5.15"),
    ("task_pt_regs", "5.15"),
];

/// A row for each tracepoint, and one for the helpers; `btf` is `None` where the kernel has none.
pub(super) fn rows(btf: Option<&Btf>) -> Vec<Row> {
    let mut rows: Vec<Row> = TRACEPOINTS
        .iter()
        .map(|(name, tells, since)| match btf {
            None => Row::missing(*name, "not known without BTF", "see the row BTF"),
            Some(btf) if btf.has_tracepoint(name) => Row::ok(*name, format!("there; {tells}")),
            Some(_) => Row::missing(*name, format!("not in this kernel; {tells}"), mend(*since)),
        })
        .collect();
    rows.push(helpers_row(btf));
    rows
}

fn mend(since: Option<&str>) -> String {
    match since {
        Some(since) => format!("boot Linux {since} or later"),
        None => "boot a kernel with CONFIG_TRACEPOINTS".to_owned(),
    }
}

fn helpers_row(btf: Option<&Btf>) -> Row {
    let Some(btf) = btf else {
        return Row::missing("BPF helpers", "not known without BTF", "see the row BTF");
    };
    let absent: Vec<String> = HELPERS
        .iter()
        .filter(|(name, _)| !btf.has_helper(name))
        .map(|(name, since)| format!("bpf_{name} (Linux {since})"))
        .collect();
    match absent.is_empty() {
        true => Row::ok("BPF helpers", "all there"),
        false => {
            Row::missing("BPF helpers", format!("not in this kernel: {}", absent.join(", ")), "boot a later Linux")
        }
    }
}
