//! Which sockets carry ciphertext, and whose.

use observer_ebpf::record::direction;

use super::{
    Thread, callers, calls,
    sessions::{self, Session, Step},
};
use crate::{
    arch::Registers,
    buffers::{self, TlsRecord},
    maps::THREADS,
    sockets::Socket,
    task::{Current, Task},
};

/// What a socket carries.
pub mod carried {
    /// Nothing has told.
    pub const UNKNOWN: u8 = 0;
    /// HTTP in the clear, until a call into a TLS library moves something.
    pub const PLAIN: u8 = 1;
    /// A TLS connection's handshake, as far as is known.
    pub const HANDSHAKE: u8 = 2;
    /// A TLS connection's ciphertext.
    pub const CIPHERTEXT: u8 = 3;
}

/// Calls that are taken for ciphertext of a connection that was open before the observer came, until its plaintext shows
/// or there is no hope of that.
const SUSPECTED_MAX: u8 = 16;

/// The socket that moved something which may be ciphertext last.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Seen {
    /// Its cookie; 0 for none.
    pub socket: u64,
    /// Its role.
    pub role: u32,
    /// Which way that went.
    pub way: u32,
}

/// Whether what a socket of a process with a TLS library has moved is ciphertext: not to be looked at, then.
#[inline(always)]
pub fn is_ciphertext(socket: &mut Socket, current: Current, way: u8, result: i32) -> bool {
    let task = current.ids();
    if socket.carried == carried::PLAIN && !callers::is_marked(task.thread()) {
        return false;
    }
    if socket.carried == carried::CIPHERTEXT {
        if way == direction::SENT
            && let Some(thread) = THREADS.of_current()
        {
            thread.sender = socket.ssl;
        }
        return result > 0;
    }
    let Some(thread) = THREADS.of_current_or_new() else {
        return socket.carried == carried::HANDSHAKE && result > 0;
    };
    // A call that was never seen to end does not hold the socket calls of the functions that called it.
    if thread.call.function != 0 && Registers::of(current).stack() < thread.call.stack {
        moved_inside(socket, thread, current, way, result);
    }
    match socket.carried {
        carried::HANDSHAKE => {
            if way == direction::SENT {
                thread.sender = socket.ssl;
            }
            settle(socket, task);
            result > 0
        }
        carried::UNKNOWN if result > 0 => is_suspicious(socket, thread, current, way, result as u32),
        _ => false,
    }
}

/// Bytes inside a call are that connection's ciphertext. Nothing in them tells anything but an alert in a handshake.
#[inline(always)]
fn moved_inside(socket: &mut Socket, thread: &mut Thread, current: Current, way: u8, result: i32) {
    let task = current.ids();
    let call = &mut thread.call;
    call.socket = socket.cookie;
    call.role = u64::from(socket.stream.role);
    socket.ssl = call.ssl;
    socket.ssl_process = task.process();
    socket.carried = carried::HANDSHAKE;
    if result <= 0 || !calls::makes_handshake(call.function) {
        return;
    }
    if let Some(alert) = buffers::tls_alert(&buffers::locate(current), result as u32)
        && let Some(session) = calls::session_of(call, task)
        && session.established == 0
    {
        sessions::begin(session, call.began_ns, task);
        sessions::emit_step(session, task, Step::alert(way, alert));
    }
}

/// Behind the handshake there is nothing more to learn from the socket's calls.
#[inline(always)]
fn settle(socket: &mut Socket, task: Task) {
    if let Some(session) = sessions::known(socket.ssl, task)
        && session.established != 0
        && session.socket == socket.cookie
    {
        socket.carried = carried::CIPHERTEXT;
    }
}

/// A connection that was met in the middle: its ciphertext is held back until the plaintext shows whose it is. One that
/// begins under the eyes of the observer, outside of all calls, is of a library that is not probed, or not yet.
#[inline(always)]
fn is_suspicious(socket: &mut Socket, thread: &mut Thread, current: Current, way: u8, bytes: u32) -> bool {
    let source = buffers::locate(current);
    let record = buffers::tls_record(&source);
    match &record {
        Some(TlsRecord { content: buffers::TLS_HANDSHAKE, .. }) => socket.suspected = SUSPECTED_MAX,
        Some(_) if socket.suspected == 0 => socket.suspected = 1,
        Some(_) => {}
        None if socket.suspected == 0
            && (buffers::begins_a_request(&source) || buffers::begins_a_response(&source)) =>
        {
            socket.carried = carried::PLAIN;
            return false;
        }
        None => {}
    }
    if socket.suspected != 0
        && let Some(ssl) = sessions::claimed(socket.cookie)
    {
        socket.ssl = ssl;
        socket.ssl_process = current.ids().process();
        socket.carried = carried::CIPHERTEXT;
        thread.sender = ssl;
        return true;
    }
    if way == direction::SENT || ends_a_record(socket, record, bytes) {
        thread.seen = Seen { socket: socket.cookie, role: u32::from(socket.stream.role), way: u32::from(way) };
    }
    if socket.suspected == 0 || socket.suspected >= SUSPECTED_MAX {
        return false;
    }
    socket.suspected += 1;
    true
}

/// Whether so many bytes that were received may have brought a record's last ones. Else the plaintext that shows next is
/// another connection's, whose library had it in a buffer.
#[inline(always)]
fn ends_a_record(socket: &mut Socket, record: Option<TlsRecord>, bytes: u32) -> bool {
    let wanted = match record {
        _ if socket.missing != 0 => u32::from(socket.missing),
        Some(record) if bytes >= TlsRecord::HEADER => record.length,
        _ => return true,
    };
    socket.missing = wanted.saturating_sub(bytes) as u16;
    socket.missing == 0
}

/// A connection whose socket no call has shown: it was met in the middle, or its ciphertext goes through memory. The socket
/// that this thread used last, for something that may be ciphertext, is its socket.
#[inline(always)]
pub fn claim(thread: &mut Thread, ssl: u64, task: Task, way: u8) -> Option<&'static mut Session> {
    let seen = thread.seen;
    if ssl == 0 || seen.socket == 0 || seen.way != u32::from(way) {
        return None;
    }
    thread.seen.socket = 0;
    sessions::claim(seen.socket, ssl);
    sessions::meet(ssl, task, seen.socket, seen.role as u8)
}

/// A socket closed.
#[inline(always)]
pub fn forget(socket: &Socket) {
    if socket.ssl == 0 && socket.suspected == 0 {
        return;
    }
    sessions::forget(socket.cookie, socket.ssl, socket.ssl_process);
    if socket.suspected != 0 {
        sessions::forget_claim(socket.cookie);
    }
}
