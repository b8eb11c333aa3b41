//! Calls of a TLS library's functions, from their beginning to their end.

use aya_ebpf::EbpfContext;
use observer_ebpf::{
    record::{direction, handshake},
    tables::{Loss, function},
};

use super::{
    Thread, callers, ciphertext, cookie,
    sessions::{self, Session, Step},
};
use crate::{
    arch::ProbeRegisters,
    buffers::{self, Source},
    emit,
    maps::{self, SESSIONS, THREADS},
    task::Task,
};

/// The call that a thread is in.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// One of [`function`]; 0 outside.
    pub function: u64,
    /// The first argument, an `SSL *`.
    pub ssl: u64,
    /// The second.
    buffer: u64,
    /// The third.
    length: u64,
    /// The fourth.
    moved: u64,
    /// The stack pointer where the probe sits: what is called from there is below.
    pub stack: u64,
    /// When it began, of a handshake.
    pub began_ns: u64,
    /// The cookie of the socket that moved bytes inside, or 0.
    pub socket: u64,
    /// That socket's role.
    pub role: u64,
}

/// A function begins. Others of the library may be called from within it, such as a handshake from a read: those are
/// part of it.
#[inline(always)]
pub fn entered(ctx: &impl EbpfContext) -> u32 {
    let registers = ProbeRegisters::of(ctx);
    let (function, stack) = (cookie(ctx), registers.stack());
    if function == function::FREE {
        // What is not there has been removed with its socket.
        let _ = SESSIONS.remove(sessions::key(registers.argument::<0>(), Task::current()));
        return 0;
    }
    let Some(thread) = THREADS.of_current_or_new() else {
        maps::lost(Loss::SocketStateFull);
        return 0;
    };
    callers::mark(Task::current().thread());
    let call = &mut thread.call;
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
        began_ns: if makes_handshake(function) { emit::now_ns() } else { 0 },
        socket: 0,
        role: 0,
    };
    0
}

/// A function ends.
#[inline(always)]
pub fn left(ctx: &impl EbpfContext) -> u32 {
    let function = cookie(ctx);
    let Some(thread) = THREADS.of_current() else {
        return 0;
    };
    if thread.call.function != function {
        return 0;
    }
    thread.call.function = 0;
    let result = ProbeRegisters::of(ctx).result();
    match function {
        function::HANDSHAKE => shake_hands(&thread.call, result as i32 == 1),
        function::EARLY_HANDSHAKE => shake_hands(&thread.call, false),
        function::ALPN => agree(&thread.call),
        // What it has read may be left for a call that makes none on the socket.
        function::PEEK => {
            let _ = session_of(&thread.call, Task::current());
        }
        function::SHUTDOWN => {}
        _ => transfer(thread, function, result),
    }
    0
}

/// Whether the function makes a handshake: what it sends and receives may be in the clear.
#[inline(always)]
pub fn makes_handshake(function: u64) -> bool {
    matches!(function, function::HANDSHAKE | function::EARLY_HANDSHAKE)
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
fn transfer(thread: &mut Thread, function: u64, result: u64) {
    let call = thread.call;
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
    let known = match session_of(&call, task) {
        None if moved > 0 => ciphertext::claim(thread, call.ssl, task, way),
        known => known,
    };
    let Some(session) = known else {
        if moved > 0 {
            maps::lost(Loss::TlsSocketUnknown);
        }
        return;
    };
    let source =
        if function == function::SENDFILE { Source::pages() } else { Source::plain(call.buffer, moved as u64) };
    sessions::moved(session, task, way, moved, source);
}

#[inline(always)]
fn shake_hands(call: &Call, is_done: bool) {
    let task = Task::current();
    let Some(session) = session_of(call, task) else {
        return;
    };
    if session.established != 0 {
        return;
    }
    sessions::begin(session, call.began_ns, task);
    if is_done {
        session.established = 1;
        sessions::emit_step(session, task, Step::of(handshake::DONE));
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
        sessions::emit_step(session, task, Step::protocol(protocol, length));
    }
}

/// The connection that a call is for. The socket that moved bytes inside is its socket, whatever the same pointer
/// stood for before.
#[inline(always)]
pub fn session_of(call: &Call, task: Task) -> Option<&'static mut Session> {
    let known = sessions::known(call.ssl, task);
    if let Some(session) = known
        && (call.socket == 0 || session.socket == call.socket)
    {
        return Some(session);
    }
    if call.socket == 0 {
        return None;
    }
    sessions::meet(call.ssl, task, call.socket, call.role as u8)
}
