//! Calls into a TLS library: the plaintext that they move, and the socket that their ciphertext goes through.

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_attach_cookie};
use observer_ebpf::{
    limits::PROTOCOL_BYTES,
    record::{Handshake, Header, direction, handshake, kind, layer},
    tables::{Loss, function},
};

use crate::{
    arch::{ProbeRegisters, Registers},
    buffers::{self, Source},
    emit::{self, QUIETLY, Task},
    maps::{self, CALLS, RECORDS, SESSIONS},
    processes,
    sockets::{self, Sock, Socket, Stream},
    transfers::{self, Origin},
};

/// The call that a thread is in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// One of [`function`]; 0 outside.
    function: u64,
    /// The first argument, an `SSL *`.
    ssl: u64,
    /// The second.
    buffer: u64,
    /// The third.
    length: u64,
    /// The fourth.
    moved: u64,
    /// The stack pointer where the probe sits: what is called from there is below.
    stack: u64,
    /// When it began, of a handshake.
    began_ns: u64,
    /// The cookie of the socket that moved bytes inside, or 0.
    socket: u64,
    /// That socket's role.
    role: u64,
}

/// Names a TLS connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Key {
    ssl: u64,
    process: u32,
    reserved: u32,
}

/// A TLS connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Session {
    /// Its socket's cookie.
    socket: u64,
    /// Its plaintext.
    stream: Stream,
    /// When its handshake began; 0 if that was not seen.
    began_ns: u64,
    /// Its handshake is done, or was before it was met.
    established: u64,
}

/// A function begins. Others of the library may be called from within it, such as a handshake from a read: those are
/// part of it.
#[inline(always)]
pub fn entered(ctx: &impl EbpfContext) -> u32 {
    let registers = ProbeRegisters::of(ctx);
    let (function, stack) = (cookie(ctx), registers.stack());
    let Some(call) = CALLS.of_current_or_new() else {
        maps::lost(Loss::SocketStateFull);
        return 0;
    };
    if call.function != 0 && !moves_plaintext(function) && stack < call.stack {
        return 0;
    }
    *call = Call {
        function,
        ssl: registers.argument::<0>(),
        buffer: registers.argument::<1>(),
        length: registers.argument::<2>(),
        moved: registers.argument::<3>(),
        stack,
        began_ns: if function == function::HANDSHAKE { emit::now_ns() } else { 0 },
        socket: 0,
        role: 0,
    };
    0
}

/// A function ends.
#[inline(always)]
pub fn left(ctx: &impl EbpfContext) -> u32 {
    let function = cookie(ctx);
    let Some(call) = CALLS.of_current() else {
        return 0;
    };
    if call.function != function {
        return 0;
    }
    call.function = 0;
    let result = ProbeRegisters::of(ctx).result();
    match function {
        function::HANDSHAKE => shake_hands(call, result as i32),
        function::ALPN => agree(call),
        function::SHUTDOWN | function::PEEK => {}
        _ => transfer(call, function, result),
    }
    0
}

/// A socket moved bytes, or met its end, in a watched process: inside a call its bytes are that connection's ciphertext.
#[inline(always)]
pub fn moved_inside(sk: Sock, socket: &mut Socket, task: Task) {
    let Some(call) = CALLS.of_current() else {
        return;
    };
    // A call that was never seen to end does not hold the socket calls of the functions that called it.
    if call.function == 0 || Registers::current().stack() >= call.stack {
        return;
    }
    call.socket = sockets::cookie(sk);
    call.role = u64::from(socket.stream.role);
    socket.ssl = call.ssl;
    socket.ssl_process = task.process();
    socket.encrypted = 1;
}

/// Bytes of ciphertext: nothing in them tells anything but an alert in a handshake.
#[inline(always)]
pub fn ciphertext(task: Task, way: u8, bytes: u32) {
    let Some(call) = CALLS.of_current() else {
        return;
    };
    if call.function != function::HANDSHAKE {
        return;
    }
    if let Some(alert) = buffers::tls_alert(&buffers::locate(), bytes)
        && let Some(session) = session_of(call, task)
        && session.established == 0
    {
        begin(session, call, task);
        emit_step(session, task, Step { what: handshake::ALERT, way, alert, protocol: 0, length: 0 });
    }
}

/// A socket closed: its connection's name may be given to another one.
#[inline(always)]
pub fn forget(sk: Sock, socket: &Socket) {
    if socket.ssl == 0 {
        return;
    }
    let key = Key { ssl: socket.ssl, process: socket.ssl_process, reserved: 0 };
    // SAFETY: one value is compared.
    let is_own = unsafe { SESSIONS.get(key) }.is_some_and(|session| session.socket == sockets::cookie(sk));
    if is_own {
        // Another processor may have been faster.
        let _ = SESSIONS.remove(key);
    }
}

#[inline(always)]
fn cookie(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: takes the context of any probe.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}

#[inline(always)]
fn moves_plaintext(function: u64) -> bool {
    function <= function::SENDFILE
}

#[inline(always)]
fn is_read(function: u64) -> bool {
    matches!(function, function::READ | function::READ_EX | function::READ_EARLY)
}

#[inline(always)]
fn transfer(call: &Call, function: u64, result: u64) {
    let moved = match function {
        function::READ | function::WRITE => result as i32,
        function::SENDFILE => result as i64 as i32,
        // 1 stands for bytes moved; of early data 2 does for the last ones.
        _ if result as i32 >= 1 => match buffers::read::<u64>(call.moved) {
            Some(moved) => moved as i32,
            None => {
                maps::lost(Loss::CopyFailed);
                return;
            }
        },
        _ => -1,
    };
    let way = if is_read(function) { direction::RECEIVED } else { direction::SENT };
    // A read of nothing is the end of the stream, as the peer's close_notify tells it.
    if moved < 0 || (moved == 0 && function != function::READ) {
        return;
    }
    let task = Task::current();
    let Some(session) = session_of(call, task) else {
        if moved > 0 {
            maps::lost(Loss::TlsSocketUnknown);
        }
        return;
    };
    session.established = 1;
    let source = if moved == 0 || session.stream.counted_only != 0 {
        Source::none()
    } else if function == function::SENDFILE {
        Source::pages()
    } else {
        Source::plain(call.buffer, moved as u64)
    };
    let header =
        emit::header_of(kind::DATA, processes::bits(task.process()), task, session.socket, &mut session.stream);
    let origin = Origin { layer: layer::TLS, unseen_bytes: 0 };
    transfers::record_of(&mut session.stream, header, origin, way, moved, &source);
}

#[inline(always)]
fn shake_hands(call: &Call, result: i32) {
    let task = Task::current();
    let Some(session) = session_of(call, task) else {
        return;
    };
    if session.established != 0 {
        return;
    }
    begin(session, call, task);
    if result == 1 {
        session.established = 1;
        emit_step(session, task, Step::of(handshake::DONE));
    }
}

/// A handshake's first step.
#[inline(always)]
fn begin(session: &mut Session, call: &Call, task: Task) {
    if session.began_ns == 0 {
        session.began_ns = call.began_ns;
        emit_step(session, task, Step::of(handshake::BEGUN));
    }
}

/// `SSL_get0_alpn_selected` told which protocol was agreed on.
#[inline(always)]
fn agree(call: &Call) {
    let task = Task::current();
    let (Some(protocol), Some(length)) = (buffers::read::<u64>(call.buffer), buffers::read::<u32>(call.length)) else {
        return;
    };
    if protocol != 0
        && length != 0
        && let Some(session) = session_of(call, task)
    {
        emit_step(session, task, Step { what: handshake::ALPN, way: 0, alert: 0, protocol, length });
    }
}

/// The connection that a call is for. The socket that moved bytes inside is its socket, whatever the same pointer
/// stood for before.
#[inline(always)]
fn session_of(call: &Call, task: Task) -> Option<&'static mut Session> {
    let key = Key { ssl: call.ssl, process: task.process(), reserved: 0 };
    if let Some(session) = SESSIONS.get_ptr_mut(key) {
        // SAFETY: the entry is not freed while the program runs, and a connection is in one thread's hands.
        let session = unsafe { &mut *session };
        if call.socket == 0 || session.socket == call.socket {
            return Some(session);
        }
    }
    if call.socket == 0 {
        return None;
    }
    let session = Session { socket: call.socket, stream: Stream::new(call.role as u8), began_ns: 0, established: 0 };
    if SESSIONS.insert(key, session, 0).is_err() {
        maps::lost(Loss::SocketStateFull);
        return None;
    }
    // SAFETY: as above.
    SESSIONS.get_ptr_mut(key).map(|session| unsafe { &mut *session })
}

struct Step {
    what: u8,
    way: u8,
    alert: u8,
    protocol: u64,
    length: u32,
}

impl Step {
    #[inline(always)]
    fn of(what: u8) -> Self {
        Step { what, way: 0, alert: 0, protocol: 0, length: 0 }
    }
}

#[inline(always)]
fn emit_step(session: &mut Session, task: Task, step: Step) {
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
