//! TCP state changes: connects, accepts, listens and closes.

use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{
    record::{StateChange, kind, role},
    tables::{Loss, port, process, runs},
};

use crate::{
    emit::{self, QUIETLY},
    maps::{self, RECORDS, STATE_RUNS, offset},
    processes,
    sockets::{self, Sock, Socket},
    task::Task,
    tls::ciphertext,
    transfers,
};

// include/net/tcp_states.h
const TCP_ESTABLISHED: u8 = 1;
const TCP_SYN_SENT: u8 = 2;
const TCP_SYN_RECV: u8 = 3;
const TCP_FIN_WAIT1: u8 = 4;
const TCP_CLOSE: u8 = 7;
const TCP_LAST_ACK: u8 = 9;
const TCP_LISTEN: u8 = 10;
// include/net/sock.h
const SHUTDOWN_MASK: u8 = 3;

/// `inet_sock_set_state`.
#[inline(always)]
pub fn changed(ctx: &BtfTracePointContext) -> i32 {
    set_running(1);
    follow(ctx);
    set_running(0);
    0
}

/// The kernel leaves a program out within itself, and a packet may come in the midst of a connect or a close: its changes
/// are followed here.
#[inline(always)]
pub fn changed_within(ctx: &BtfTracePointContext) -> i32 {
    let (Some(is_running), Some(taken_over)) =
        (STATE_RUNS.get_ptr_mut(runs::IS_RUNNING), STATE_RUNS.get_ptr_mut(runs::TAKEN_OVER))
    else {
        return 0;
    };
    // SAFETY: this processor's own.
    unsafe {
        if *is_running == 0 {
            return 0;
        }
        *taken_over += 1;
    }
    follow(ctx);
    0
}

#[inline(always)]
fn set_running(value: u64) {
    if let Some(is_running) = STATE_RUNS.get_ptr_mut(runs::IS_RUNNING) {
        // SAFETY: this processor's own; volatile, for who interrupts.
        unsafe { is_running.write_volatile(value) };
    }
}

/// Only connect and listen happen in the task that called for them; the others may interrupt any.
#[inline(always)]
fn follow(ctx: &BtfTracePointContext) {
    let sk: Sock = ctx.arg::<*const core::ffi::c_void>(0);
    let (old, new) = (ctx.arg::<i32>(1) as u8, ctx.arg::<i32>(2) as u8);
    if !sockets::is_tcp(sk) {
        return;
    }
    match (old, new) {
        (_, TCP_SYN_SENT) => connecting(ctx, sk),
        (TCP_SYN_RECV, TCP_ESTABLISHED) => accepted(ctx, sk),
        (_, TCP_LISTEN) => listening(ctx, sk),
        // A new connection still bears its listener's cookie here (`inet_csk_clone_lock`).
        (_, TCP_SYN_RECV) => {}
        _ => {
            if let Some(socket) = known_or_accepted(ctx, sk)
                && socket.ignored == 0
            {
                if new == TCP_ESTABLISHED {
                    sockets::begin_receiving(sk, socket);
                }
                emit_change(sk, socket, old, new);
                let is_closed = sockets::load::<u8>(sk, offset!(shutdown)) == SHUTDOWN_MASK;
                socket.was_reset = u8::from(new == TCP_CLOSE && old != TCP_SYN_SENT && !is_closed);
            }
        }
    }
}

/// What had arrived on a connection before its peer reset it can still be read: it is over when the watched process has
/// closed it, which changes its state no more.
#[inline(always)]
pub fn destroyed(ctx: &BtfTracePointContext) -> i32 {
    let sk: Sock = ctx.arg::<*const core::ffi::c_void>(0);
    if let Some(socket) = sockets::known(sk) {
        if socket.was_reset != 0 {
            emit_change(sk, socket, TCP_CLOSE, TCP_CLOSE);
        }
        ciphertext::forget(socket);
    }
    0
}

/// A connection that was open and idle before the observer came is known to the agent by its scan, and here by its port.
#[inline(always)]
fn known_or_accepted(ctx: &BtfTracePointContext, sk: Sock) -> Option<&'static mut Socket> {
    if let Some(socket) = sockets::known(sk) {
        return Some(socket);
    }
    if sockets::port_bits(sockets::local_port(sk)) & port::LISTENING == 0 {
        return None;
    }
    sockets::meet(ctx, sk, role::ACCEPTED)
}

#[inline(always)]
fn connecting(ctx: &BtfTracePointContext, sk: Sock) {
    let task = Task::current();
    let bits = processes::bits(task.process());
    if bits & process::WATCHED != 0
        && let Some(socket) = sockets::meet(ctx, sk, role::CONNECTED)
    {
        emit::opened(sk, socket, bits, task, TCP_SYN_SENT);
    }
}

#[inline(always)]
fn accepted(ctx: &BtfTracePointContext, sk: Sock) {
    if sockets::port_bits(sockets::local_port(sk)) & port::LISTENING != 0
        && let Some(socket) = sockets::meet(ctx, sk, role::ACCEPTED)
    {
        sockets::begin_receiving(sk, socket);
        emit::opened(sk, socket, 0, Task::NONE, TCP_ESTABLISHED);
    }
}

#[inline(always)]
fn listening(ctx: &BtfTracePointContext, sk: Sock) {
    let task = Task::current();
    let local_port = sockets::local_port(sk);
    let mut bits = processes::bits(task.process());
    if bits & process::WATCHED == 0 && sockets::port_bits(local_port) & port::SELECTED != 0 {
        bits = process::WATCHED | process::KEEP_ON_EXEC;
        processes::watch(task.process(), bits);
    }
    if bits & process::WATCHED == 0 {
        return;
    }
    sockets::mark_listening(local_port);
    if let Some(socket) = sockets::meet(ctx, sk, role::LISTENING) {
        emit::opened(sk, socket, bits, task, TCP_LISTEN);
    }
}

#[inline(always)]
fn emit_change(sk: Sock, socket: &mut Socket, old: u8, new: u8) {
    // No receive is under way where the gateway itself closes; other changes may interrupt one. What was received of
    // ciphertext is not followed.
    let is_followed = socket.carried < ciphertext::carried::HANDSHAKE && socket.suspected == 0;
    let is_closing = is_followed && matches!(new, TCP_FIN_WAIT1 | TCP_LAST_ACK);
    let header = emit::header(kind::STATE, 0, Task::NONE, socket);
    let Some(mut entry) = RECORDS.reserve::<StateChange>(0) else {
        maps::lost(Loss::RingFull);
        return;
    };
    let mut change = StateChange {
        header,
        old,
        new,
        local_port: sockets::local_port(sk),
        error: sockets::load::<i32>(sk, offset!(error)),
        local: [0; 16],
        shutdown: sockets::load::<u8>(sk, offset!(shutdown)),
        reserved: [0; 3],
        unseen_bytes: if is_closing { transfers::unseen(sk, socket, 0) } else { 0 },
    };
    sockets::local_address(sk, &mut change.local);
    entry.write(change);
    entry.submit(QUIETLY);
}
