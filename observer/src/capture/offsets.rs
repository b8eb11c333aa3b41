//! Where the running kernel keeps the fields that the kernel part loads.

use observer_ebpf::tables::Offsets;

use crate::host::btf::{Btf, BtfError, member_offset};

/// Reads the offsets from the kernel's BTF.
pub fn read(btf: &Btf) -> Result<Offsets, BtfError> {
    let of = |structure, member| member_offset(btf, structure, member);
    Ok(Offsets {
        family: of("sock_common", "skc_family")?,
        state: of("sock_common", "skc_state")?,
        remote_v4: of("sock_common", "skc_daddr")?,
        local_v4: of("sock_common", "skc_rcv_saddr")?,
        remote_port: of("sock_common", "skc_dport")?,
        local_port: of("sock_common", "skc_num")?,
        remote_v6: of("sock_common", "skc_v6_daddr")?,
        local_v6: of("sock_common", "skc_v6_rcv_saddr")?,
        net: of("sock_common", "skc_net.net")?,
        net_inode: of("net", "ns.inum")?,
        protocol: of("sock", "sk_protocol")?,
        kind: of("sock", "sk_type")?,
        error: of("sock", "sk_err")?,
        copied: of("tcp_sock", "copied_seq")?,
        unix_address: of("unix_sock", "addr")?,
        unix_peer: of("unix_sock", "peer")?,
        unix_length: of("unix_address", "len")?,
        unix_name: of("unix_address", "name")?,
        task_id: of("task_struct", "pid")?,
        task_group: of("task_struct", "tgid")?,
        task_status: task_status(btf)?,
        shutdown: of("sock", "sk_shutdown")?,
    })
}

/// Only x86 tells a 32-bit system call there.
#[cfg(target_arch = "x86_64")]
fn task_status(btf: &Btf) -> Result<u32, BtfError> {
    member_offset(btf, "task_struct", "thread_info.status")
}

#[cfg(not(target_arch = "x86_64"))]
fn task_status(_: &Btf) -> Result<u32, BtfError> {
    Ok(0)
}
