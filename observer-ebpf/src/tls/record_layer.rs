//! Plaintext where a library's record layer has moved it: one probe for a piece, none for calls that moved nothing.

use aya_ebpf::EbpfContext;
use observer_ebpf::{
    record::{direction, handshake},
    tables::{Loss, place},
};

use super::{
    calls, ciphertext, cookie,
    sessions::{self, Session, Step},
};
use crate::{
    arch::ProbeRegisters,
    buffers::Source,
    maps::{self, THREADS},
    task::Task,
};

/// The content type of application data (RFC 8446, section 5.1).
const APPLICATION_DATA: u8 = 23;

/// `memcpy(void *to, const void *from, size_t)` is about to copy what was received. Locations: the connection, the
/// content type, whether it is a peek.
#[inline(always)]
pub fn received(ctx: &impl EbpfContext) -> u32 {
    let (registers, places) = (ProbeRegisters::of(ctx), cookie(ctx));
    let words = registers.all();
    let at = |index| registers.at(&words, place::location(places, index));
    let (Some(ssl), Some(content), Some(peek)) = (at(0), at(1), at(2)) else {
        maps::lost(Loss::CopyFailed);
        return 0;
    };
    if content as u8 != APPLICATION_DATA || peek as u32 != 0 {
        return 0;
    }
    moved(ssl, direction::RECEIVED, registers.argument::<1>(), registers.argument::<2>());
    0
}

/// `*written` was set. Locations: the buffer, how many bytes, the content type, the connection; the last two may be
/// unknown.
#[inline(always)]
pub fn sent(ctx: &impl EbpfContext) -> u32 {
    let (registers, places) = (ProbeRegisters::of(ctx), cookie(ctx));
    let words = registers.all();
    let at = |index| registers.at(&words, place::location(places, index));
    let is_known = |index| place::location(places, index) != place::UNKNOWN;
    let (Some(buffer), Some(bytes)) = (at(0), at(1)) else {
        maps::lost(Loss::CopyFailed);
        return 0;
    };
    if is_known(2) && at(2).is_some_and(|content| content as u8 != APPLICATION_DATA) {
        return 0;
    }
    // What was sent went through the thread's own hands just now.
    let (ssl, is_handshake) = if is_known(2) && is_known(3) {
        (at(3), false)
    } else {
        let thread = THREADS.of_current();
        let is_handshake = thread.as_ref().is_some_and(|thread| calls::makes_handshake(thread.call.function));
        (thread.map(|thread| thread.sender), is_handshake && !is_known(2))
    };
    if !is_handshake {
        moved(ssl.unwrap_or(0), direction::SENT, buffer, bytes);
    }
    0
}

#[inline(always)]
fn moved(ssl: u64, way: u8, buffer: u64, bytes: u64) {
    if bytes == 0 {
        return;
    }
    let task = Task::current();
    let session = match sessions::known(ssl, task) {
        Some(session) if session.established != 0 => Some(session),
        known => begin(known, ssl, task, way),
    };
    match session {
        Some(session) => sessions::moved(session, task, way, bytes as i32, Source::plain(buffer, bytes)),
        None => {
            maps::lost(Loss::TlsSocketUnknown);
        }
    }
}

/// A connection's first plaintext: its handshake is done, or so far done that the server takes early data.
#[inline(always)]
fn begin(known: Option<&'static mut Session>, ssl: u64, task: Task, way: u8) -> Option<&'static mut Session> {
    let thread = THREADS.of_current()?;
    let call = thread.call;
    let is_within = call.function != 0 && call.ssl == ssl;
    let session = if is_within { calls::session_of(&call, task) } else { known };
    let session = match session {
        Some(session) => session,
        None => ciphertext::claim(thread, ssl, task, way)?,
    };
    if is_within && calls::makes_handshake(call.function) {
        sessions::begin(session, call.began_ns, task);
    }
    if session.began_ns != 0 {
        sessions::emit_step(session, task, Step::of(handshake::DONE));
    }
    session.established = 1;
    Some(session)
}
