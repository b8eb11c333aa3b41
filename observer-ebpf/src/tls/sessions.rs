//! What is known of each TLS connection.

use observer_ebpf::{
    limits::PROTOCOL_BYTES,
    record::{Handshake, Header, handshake, kind, layer},
    tables::Loss,
};

use crate::{
    buffers::{self, Source},
    emit::{self, QUIETLY},
    maps::{self, RECORDS, SESSIONS},
    processes,
    sockets::Stream,
    task::Task,
    transfers::{self, Origin},
};

/// Names a TLS connection: an `SSL *` of a process. Of process 0 it is a socket's cookie, see [`claim`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Key {
    name: u64,
    process: u32,
    reserved: u32,
}

/// A TLS connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Session {
    /// Its socket's cookie.
    pub socket: u64,
    /// Its plaintext.
    pub stream: Stream,
    /// When its handshake began; 0 if that was not seen.
    pub began_ns: u64,
    /// Its handshake is done, or was before it was met.
    pub established: u64,
}

/// The connection's name.
#[inline(always)]
pub fn key(ssl: u64, task: Task) -> Key {
    Key { name: ssl, process: task.process(), reserved: 0 }
}

/// What is known of a connection.
#[inline(always)]
pub fn known(ssl: u64, task: Task) -> Option<&'static mut Session> {
    get(key(ssl, task))
}

/// Begins to follow a connection.
#[inline(always)]
pub fn meet(ssl: u64, task: Task, socket: u64, role: u8) -> Option<&'static mut Session> {
    put(key(ssl, task), Session { socket, stream: Stream::new(role), began_ns: 0, established: 0 })
}

/// Notes for the socket which connection it belongs to: its next call finds that.
#[inline(always)]
pub fn claim(socket: u64, ssl: u64) {
    let note = Session { socket: ssl, stream: Stream::new(0), began_ns: 0, established: 0 };
    put(claim_key(socket), note);
}

/// The connection that was noted for a socket.
#[inline(always)]
pub fn claimed(socket: u64) -> Option<u64> {
    get(claim_key(socket)).map(|note| note.socket)
}

/// A socket closed: its connection's name may be given to another one.
#[inline(always)]
pub fn forget(socket: u64, ssl: u64, process: u32) {
    let key = Key { name: ssl, process, reserved: 0 };
    if ssl != 0 && get(key).is_some_and(|session| session.socket == socket) {
        // Another processor may have been faster.
        let _ = SESSIONS.remove(key);
    }
}

/// A socket closed for which a connection may have been noted.
#[inline(always)]
pub fn forget_claim(socket: u64) {
    // Most have none.
    let _ = SESSIONS.remove(claim_key(socket));
}

/// Plaintext was moved.
#[inline(always)]
pub fn moved(session: &mut Session, task: Task, way: u8, moved: i32, source: Source) {
    // Early data comes before the handshake is done.
    if session.began_ns == 0 {
        session.established = 1;
    }
    let source = if moved == 0 || session.stream.counted_only != 0 { Source::none() } else { source };
    let bits = processes::bits(task.process());
    let header = emit::timeless_header_of(kind::DATA, bits, task, session.socket, &mut session.stream);
    let origin = Origin { layer: layer::TLS, unseen_bytes: 0 };
    transfers::record_of(&mut session.stream, header, origin, way, moved, &source);
}

/// A handshake's first step.
#[inline(always)]
pub fn begin(session: &mut Session, began_ns: u64, task: Task) {
    if session.began_ns == 0 {
        session.began_ns = began_ns;
        emit_step(session, task, Step::of(handshake::BEGUN));
    }
}

/// A step of a handshake.
pub struct Step {
    what: u8,
    way: u8,
    alert: u8,
    protocol: u64,
    length: u32,
}

impl Step {
    /// One that says all by itself.
    #[inline(always)]
    pub fn of(what: u8) -> Self {
        Step { what, way: 0, alert: 0, protocol: 0, length: 0 }
    }

    /// An alert with this description.
    #[inline(always)]
    pub fn alert(way: u8, alert: u8) -> Self {
        Step { way, alert, ..Step::of(handshake::ALERT) }
    }

    /// The protocol agreed on; its name lies in the user's memory.
    #[inline(always)]
    pub fn protocol(protocol: u64, length: u32) -> Self {
        Step { protocol, length, ..Step::of(handshake::ALPN) }
    }
}

/// Tells of a step.
#[inline(always)]
pub fn emit_step(session: &mut Session, task: Task, step: Step) {
    let bits = processes::bits(task.process());
    let header: Header = emit::header_of(kind::HANDSHAKE, bits, task, session.socket, &mut session.stream);
    let mut protocol = [0; PROTOCOL_BYTES];
    let length = if step.length < PROTOCOL_BYTES as u32 { step.length } else { PROTOCOL_BYTES as u32 };
    if length > 0 && !buffers::read_bytes(protocol.as_mut_ptr(), length, step.protocol) {
        maps::lost(Loss::CopyFailed);
        return;
    }
    let Some(mut entry) = RECORDS.reserve::<Handshake>(0) else {
        maps::lost(Loss::RingFull);
        return;
    };
    entry.write(Handshake {
        header,
        began_ns: session.began_ns,
        what: step.what,
        direction: step.way,
        alert: step.alert,
        protocol_bytes: length as u8,
        protocol,
        reserved: 0,
    });
    entry.submit(QUIETLY);
}

#[inline(always)]
fn claim_key(socket: u64) -> Key {
    Key { name: socket, process: 0, reserved: 0 }
}

#[inline(always)]
fn get(key: Key) -> Option<&'static mut Session> {
    // SAFETY: an entry is not freed while the program runs, and a connection is in one thread's hands.
    SESSIONS.get_ptr_mut(key).map(|session| unsafe { &mut *session })
}

#[inline(always)]
fn put(key: Key, session: Session) -> Option<&'static mut Session> {
    if SESSIONS.insert(key, session, 0).is_err() {
        maps::lost(Loss::SocketStateFull);
        return None;
    }
    get(key)
}
