//! A row about what the programs call, read from their own instructions.

use std::collections::BTreeSet;

use aya_obj::Object;
use aya_obj::generated::bpf_func_id::{self, *};
use aya_obj::generated::bpf_insn;

use super::Row;

const NAME: &str = "BPF helpers used";

/// Helpers that write into the programs' own stack and tables and nowhere else. Not among them are those that change
/// the memory of processes (`probe_write_user`), packets (`skb_store_bytes` and others), return values
/// (`override_return`), sockets (`setsockopt`) or that send signals.
const HARMLESS: &[(bpf_func_id, &str)] = &[
    (BPF_FUNC_map_lookup_elem, "map_lookup_elem"),
    (BPF_FUNC_map_update_elem, "map_update_elem"),
    (BPF_FUNC_map_delete_elem, "map_delete_elem"),
    (BPF_FUNC_map_lookup_percpu_elem, "map_lookup_percpu_elem"),
    (BPF_FUNC_ktime_get_ns, "ktime_get_ns"),
    (BPF_FUNC_ktime_get_boot_ns, "ktime_get_boot_ns"),
    (BPF_FUNC_get_smp_processor_id, "get_smp_processor_id"),
    (BPF_FUNC_tail_call, "tail_call"),
    (BPF_FUNC_loop, "loop"),
    (BPF_FUNC_get_current_pid_tgid, "get_current_pid_tgid"),
    (BPF_FUNC_get_current_comm, "get_current_comm"),
    (BPF_FUNC_get_current_task, "get_current_task"),
    (BPF_FUNC_get_current_task_btf, "get_current_task_btf"),
    (BPF_FUNC_task_pt_regs, "task_pt_regs"),
    (BPF_FUNC_get_attach_cookie, "get_attach_cookie"),
    (BPF_FUNC_probe_read, "probe_read"),
    (BPF_FUNC_probe_read_kernel, "probe_read_kernel"),
    (BPF_FUNC_probe_read_user, "probe_read_user"),
    (BPF_FUNC_probe_read_user_str, "probe_read_user_str"),
    (BPF_FUNC_probe_read_kernel_str, "probe_read_kernel_str"),
    (BPF_FUNC_get_socket_cookie, "get_socket_cookie"),
    (BPF_FUNC_sk_storage_get, "sk_storage_get"),
    (BPF_FUNC_task_storage_get, "task_storage_get"),
    (BPF_FUNC_sk_storage_delete, "sk_storage_delete"),
    (BPF_FUNC_skc_to_tcp_sock, "skc_to_tcp_sock"),
    (BPF_FUNC_skc_to_unix_sock, "skc_to_unix_sock"),
    (BPF_FUNC_ringbuf_output, "ringbuf_output"),
    (BPF_FUNC_ringbuf_reserve, "ringbuf_reserve"),
    (BPF_FUNC_ringbuf_submit, "ringbuf_submit"),
    (BPF_FUNC_ringbuf_discard, "ringbuf_discard"),
    (BPF_FUNC_ringbuf_query, "ringbuf_query"),
    (BPF_FUNC_perf_event_output, "perf_event_output"),
];

/// What a program calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Callee {
    /// A helper, by its number (`enum bpf_func_id`).
    Helper(i32),
    /// Another function of the kernel, by its BTF id: the object does not say what it does.
    Kernel(i32),
}

/// `object` is the kernel part; empty in a plain `cargo build`.
pub(super) fn row(object: &[u8]) -> Row {
    if object.is_empty() {
        return Row::ok(NAME, "none: this program was built without its kernel part");
    }
    let object = match Object::parse(object) {
        Ok(object) => object,
        Err(error) => return Row::missing(NAME, error.to_string(), "build the observer anew with `cargo xtask build`"),
    };
    let called = object.functions.values().flat_map(|function| callees(&function.instructions));
    judged(&called.collect())
}

fn judged(called: &BTreeSet<Callee>) -> Row {
    let mut names: Vec<String> = called.iter().map(|callee| name(*callee)).collect();
    names.sort_unstable();
    let names = names.join(", ");
    if called.iter().all(|callee| harmless(*callee).is_some()) {
        return Row::ok(NAME, format!("{names}; none writes to a process's memory or to packets"));
    }
    Row::missing(
        NAME,
        format!("{names}; the numbers are not among those known to write to no process and no packet"),
        "do not run this program: get it from where you trust, or build it with `cargo xtask build`",
    )
}

/// `BPF_JMP | BPF_CALL`; the source register tells helpers (0) and the kernel's functions (2) from the program's own
/// (1) (`include/uapi/linux/bpf.h`).
fn callees(instructions: &[bpf_insn]) -> impl Iterator<Item = Callee> {
    const CALL: u8 = 0x85;
    instructions.iter().filter(|instruction| instruction.code == CALL).filter_map(|call| match call.src_reg() {
        0 => Some(Callee::Helper(call.imm)),
        1 => None,
        _ => Some(Callee::Kernel(call.imm)),
    })
}

fn harmless(callee: Callee) -> Option<&'static str> {
    let Callee::Helper(number) = callee else { return None };
    HARMLESS.iter().find(|(helper, _)| *helper as i32 == number).map(|(_, name)| *name)
}

fn name(callee: Callee) -> String {
    match (harmless(callee), callee) {
        (Some(name), _) => name.to_owned(),
        (None, Callee::Helper(number)) => format!("helper {number}"),
        (None, Callee::Kernel(number)) => format!("kernel function {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn call(source: u8, imm: i32) -> bpf_insn {
        let mut instruction =
            bpf_insn { code: 0x85, _bitfield_align_1: [], _bitfield_1: Default::default(), off: 0, imm };
        instruction.set_src_reg(source);
        instruction
    }

    #[test]
    fn calls_of_helpers_and_of_the_kernel_are_told_from_the_programs_own() {
        let mut other = call(0, 1);
        other.code = 0x95;
        let instructions = [call(0, 14), call(1, -1), call(2, 777), other];
        assert_eq!(callees(&instructions).collect::<Vec<_>>(), [Callee::Helper(14), Callee::Kernel(777)]);
    }

    #[test]
    fn what_writes_elsewhere_or_is_not_known_fails_the_row() {
        let reads = [BPF_FUNC_map_lookup_elem, BPF_FUNC_probe_read_user].map(|helper| Callee::Helper(helper as i32));
        let row = judged(&reads.into());
        assert_eq!(row.verdict, Verdict::Ok);
        assert!(row.found.starts_with("map_lookup_elem, probe_read_user;"), "{}", row.found);
        for writer in [
            Callee::Helper(BPF_FUNC_probe_write_user as i32),
            Callee::Helper(BPF_FUNC_skb_store_bytes as i32),
            Callee::Helper(BPF_FUNC_override_return as i32),
            Callee::Helper(BPF_FUNC_send_signal as i32),
            Callee::Helper(BPF_FUNC_setsockopt as i32),
            Callee::Helper(i32::MAX),
            Callee::Kernel(1),
        ] {
            let row = judged(&reads.into_iter().chain([writer]).collect());
            assert_eq!(row.verdict, Verdict::Missing, "{writer:?}");
            assert!(row.found.contains(&name(writer)), "{}", row.found);
        }
    }

    #[test]
    fn without_a_kernel_part_nothing_is_called_and_rubbish_is_no_object() {
        assert_eq!(row(&[]).verdict, Verdict::Ok);
        assert_eq!(row(b"rubbish").verdict, Verdict::Missing);
    }
}
