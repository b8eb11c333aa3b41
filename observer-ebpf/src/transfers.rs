//! Bytes that a call moved: counted, and the first of each turn sampled.

use core::ffi::c_void;

use aya_ebpf::programs::BtfTracePointContext;
use observer_ebpf::{
    limits::{REQUEST_TURN_BYTES, RESPONSE_HEAD_BYTES, RESPONSE_TURN_BYTES, SAMPLE_SIZES, UNSENT_BYTES},
    record::{Data, Header, call, direction, kind, layer, role},
    tables::{Loss, process},
};

use crate::{
    buffers::{self, Source},
    datagrams, emit,
    maps::{self, offset},
    processes,
    sockets::{self, Sock, Socket, Stream},
    task::Current,
    tls::ciphertext,
    verifier::forget,
};

const SAMPLE_MAX: u32 = SAMPLE_SIZES[SAMPLE_SIZES.len() - 1];
const EAGAIN: i32 = 11;
/// include/net/sock.h
const RCV_SHUTDOWN: u8 = 1;
const MSG_PEEK: i32 = 0x2;
const MSG_TRUNC: i32 = 0x20;
const MSG_ERRQUEUE: i32 = 0x2000;

/// The body of both transfer tracepoints.
#[inline(always)]
pub fn moved(ctx: &BtfTracePointContext, way: u8) -> i32 {
    let (result, flags) = (ctx.arg::<i32>(1), ctx.arg::<i32>(2));
    if result == -EAGAIN || flags & (MSG_PEEK | MSG_ERRQUEUE) != 0 {
        return 0;
    }
    let current = Current::get();
    let task = current.ids();
    let bits = processes::bits(task.process());
    if bits & process::WATCHED == 0 {
        return 0;
    }
    let sk: Sock = ctx.arg::<*const c_void>(0);
    let known = match sockets::known(sk) {
        Some(socket) => Some(socket),
        None => sockets::meet(ctx, sk, sockets::role_of(sk)),
    };
    let Some(socket) = known else {
        return 0;
    };
    if socket.ignored != 0 {
        if way == direction::RECEIVED && result > 0 {
            datagrams::received(sk, socket, bits, current, result as u32);
        }
        return 0;
    }
    if socket.announced == 0 {
        emit::opened(sk, socket, bits, task, sockets::state(sk));
    }
    if bits & process::TLS != 0 && ciphertext::is_ciphertext(socket, current, way, result) {
        return 0;
    }
    record(sk, socket, bits, current, way, result, flags);
    0
}

/// Where a record's bytes come from.
#[derive(Clone, Copy)]
pub struct Origin {
    /// One of [`layer`].
    pub layer: u8,
    /// See [`Data::unseen_bytes`].
    pub unseen_bytes: u32,
}

/// A layer's next record of bytes moved, which gets its time here, and the stream brought up to date.
#[inline(always)]
pub fn record_of(stream: &mut Stream, header: Header, origin: Origin, way: u8, result: i32, source: &Source) {
    let bytes = if result > 0 { result as u32 } else { 0 };
    let offset = if way == direction::RECEIVED {
        let offset = stream.received;
        stream.received += u64::from(bytes);
        offset
    } else {
        let offset = stream.sent;
        stream.sent += u64::from(bytes);
        offset
    };
    let (wanted, is_response) = take(stream, way, bytes, source);
    let wanted = forget(wanted, header.socket);
    let data = Data {
        header,
        offset,
        result,
        sample_bytes: wanted,
        direction: way,
        call: source.call,
        tail_bytes: 0,
        layer: origin.layer,
        unseen_bytes: origin.unseen_bytes,
        tail: [0; 8],
    };
    // The programs at a TLS library are loaded without the type information that the search needs.
    let is_long = is_response && wanted > RESPONSE_HEAD_BYTES && origin.layer == layer::SOCKET;
    if is_long && buffers::emit_head(data, bytes, source) {
        stream.budget = 0;
        return;
    }
    if buffers::emit(data, bytes, carries_responses(stream.role, way), source) {
        stream.counted_only = 1;
    }
}

#[inline(always)]
fn record(sk: Sock, socket: &mut Socket, bits: u8, current: Current, way: u8, result: i32, flags: i32) {
    let bytes = if result > 0 { result as u32 } else { 0 };
    let unseen_bytes = if way == direction::RECEIVED { unseen(sk, socket, bytes) } else { 0 };
    socket.stream.received += u64::from(unseen_bytes);
    let has_bytes = bytes > 0 || is_unsent_answer(&socket.stream, way, result);
    let source = if !has_bytes || flags & MSG_TRUNC != 0 || socket.stream.counted_only != 0 {
        Source::none()
    } else {
        buffers::locate(current)
    };
    if bytes > 0 {
        count_unsampled(&source);
    }
    let header = emit::timeless_header_of(kind::DATA, bits, current.ids(), socket.cookie, &mut socket.stream);
    record_of(&mut socket.stream, header, Origin { layer: layer::SOCKET, unseen_bytes }, way, result, &source);
}

/// Bytes that left the receive queue since the last receive without a call that this program sees: a `splice` out of
/// the socket, or a receive by a process that is not watched.
#[inline(always)]
pub fn unseen(sk: Sock, socket: &mut Socket, bytes: u32) -> u32 {
    let Some(copied) = sockets::copied(sk) else {
        return 0;
    };
    let unseen = copied.wrapping_sub(socket.copied).wrapping_sub(bytes);
    let first = socket.copied_known == 0;
    socket.copied = copied;
    socket.copied_known = 1;
    if first || unseen == 0 || unseen > u32::MAX / 2 {
        return 0;
    }
    // The sequence number counts a FIN as one byte, and a receive may take it together with the last bytes
    // (`tcp_recvmsg_locked`): the end of the stream is no byte unseen.
    unseen - u32::from(sockets::load::<u8>(sk, offset!(shutdown)) & RCV_SHUTDOWN != 0)
}

#[inline(always)]
fn count_unsampled(source: &Source) {
    match source.call {
        call::UNKNOWN => {
            maps::lost(Loss::UnsampledCall);
        }
        call::IO_URING => {
            maps::lost(Loss::IoUring);
        }
        call::COMPAT => {
            maps::lost(Loss::CompatCall);
        }
        _ => {}
    }
}

/// A client that has gone is answered all the same, as far as the gateway knows.
#[inline(always)]
fn is_unsent_answer(stream: &Stream, way: u8, result: i32) -> bool {
    result < 0 && way == direction::SENT && stream.role == role::ACCEPTED
}

#[inline(always)]
fn carries_responses(role: u8, way: u8) -> bool {
    (role == role::ACCEPTED) == (way == direction::SENT)
}

/// How many of the call's first bytes to sample, and whether they begin a response; takes them from the turn's budget.
#[inline(always)]
fn take(stream: &mut Stream, way: u8, bytes: u32, source: &Source) -> (u32, bool) {
    if bytes == 0 {
        return (if source.is_readable() { UNSENT_BYTES } else { 0 }, false);
    }
    let responses = carries_responses(stream.role, way);
    let is_new_turn = stream.turn != way;
    stream.turn = way;
    if !source.is_readable() {
        return (0, false);
    }
    // Answers to pipelined requests follow each other without a read between them.
    let begins_message = is_new_turn
        || (stream.budget < bytes
            && if responses { buffers::begins_a_response(source) } else { buffers::begins_a_request(source) });
    if begins_message {
        stream.budget = if responses { RESPONSE_TURN_BYTES } else { REQUEST_TURN_BYTES };
    }
    let budget = if begins_message && responses { SAMPLE_MAX } else { stream.budget };
    let wanted = if budget < bytes { budget } else { bytes };
    stream.budget = stream.budget.saturating_sub(wanted);
    (wanted, begins_message && responses)
}
