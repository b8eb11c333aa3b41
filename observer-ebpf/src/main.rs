//! The kernel part: programs on the socket layer's tracepoints and on the life of processes.
//!
//! Each entry is one line over a shared body. Nothing here parses HTTP; it says which bytes moved, when, and what the
//! first ones were.
#![no_std]
#![no_main]
#![allow(missing_docs, reason = "the entry macros make public functions without them")]
#![allow(unsafe_code, reason = "kernel memory is reached through pointers that the verifier checks")]

mod arch;
mod buffers;
mod datagrams;
mod emit;
mod heads;
mod maps;
mod processes;
mod sockets;
mod states;
mod task;
mod task_storage;
mod tls;
mod transfers;
mod verifier;

use aya_ebpf::{
    macros::{btf_tracepoint, uprobe, uretprobe},
    programs::{BtfTracePointContext, ProbeContext, RetProbeContext},
};
use observer_ebpf::record::direction;

/// `trace_sock_recv_length(sk, ret, flags)`, at the end of every receive on a socket.
#[btf_tracepoint(function = "sock_recv_length")]
pub fn sock_recv_length(ctx: BtfTracePointContext) -> i32 {
    transfers::moved(&ctx, direction::RECEIVED)
}

/// `trace_sock_send_length(sk, ret, flags)`, at the end of every send on a socket.
#[btf_tracepoint(function = "sock_send_length")]
pub fn sock_send_length(ctx: BtfTracePointContext) -> i32 {
    transfers::moved(&ctx, direction::SENT)
}

/// `trace_inet_sock_set_state(sk, oldstate, newstate)`.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state(ctx: BtfTracePointContext) -> i32 {
    states::changed(&ctx)
}

/// The same, attached behind it: a packet that interrupts a run of the first must not find nobody there.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn inet_sock_set_state_within(ctx: BtfTracePointContext) -> i32 {
    states::changed_within(&ctx)
}

/// `trace_tcp_destroy_sock(sk)`, when nobody has the socket any more.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tcp_destroy_sock(ctx: BtfTracePointContext) -> i32 {
    states::destroyed(&ctx)
}

/// `trace_sched_process_fork(parent, child)`, in the parent.
#[btf_tracepoint(function = "sched_process_fork")]
pub fn sched_process_fork(ctx: BtfTracePointContext) -> i32 {
    processes::forked(&ctx)
}

/// `trace_sched_process_exec(p, old_pid, bprm)`, once the new program's name is set.
#[btf_tracepoint(function = "sched_process_exec")]
pub fn sched_process_exec(_: BtfTracePointContext) -> i32 {
    processes::executed()
}

/// `trace_sched_process_exit(p)`, for every thread.
#[btf_tracepoint(function = "sched_process_exit")]
pub fn sched_process_exit(_: BtfTracePointContext) -> i32 {
    processes::exited()
}

/// A function of a TLS library, where its arguments are still in their registers.
#[uprobe]
pub fn tls_entered(ctx: ProbeContext) -> u32 {
    tls::calls::entered(&ctx)
}

/// A function of a TLS library, where its result is in its register.
#[uprobe]
pub fn tls_left(ctx: ProbeContext) -> u32 {
    tls::calls::left(&ctx)
}

/// The same, behind its return: for functions without such a place.
#[uretprobe]
pub fn tls_returned(ctx: RetProbeContext) -> u32 {
    tls::calls::left(&ctx)
}

/// A TLS library's record layer, where it copies plaintext that was received.
#[uprobe]
pub fn tls_received(ctx: ProbeContext) -> u32 {
    tls::record_layer::received(&ctx)
}

/// A TLS library's record layer, where it has sent plaintext.
#[uprobe]
pub fn tls_sent(ctx: ProbeContext) -> u32 {
    tls::record_layer::sent(&ctx)
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Helpers for GPL-compatible programs are used.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
