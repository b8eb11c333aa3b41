//! TLS connections of watched processes: the plaintext that a library moves, and the sockets that its ciphertext goes
//! through.
//!
//! Where plaintext is read costs most, so that has two ways: at the library's functions, two probes a call ([`calls`]), or
//! in its record layer, one probe for what was moved ([`record_layer`]). Handshakes are at the functions in both.

mod callers;
pub mod calls;
pub mod ciphertext;
pub mod record_layer;
pub mod sessions;

use aya_ebpf::{EbpfContext, helpers::generated::bpf_get_attach_cookie};

/// What is known of a thread, kept by the kernel at the thread and freed with it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Thread {
    /// The call into a library that it is in.
    pub call: calls::Call,
    /// The socket that may have carried what is decrypted next, if nothing tells whose that is.
    pub seen: ciphertext::Seen,
    /// The connection whose ciphertext it sent last (`SSL *`).
    pub sender: u64,
}

/// The number that the agent gave the probe.
#[inline(always)]
fn cookie(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: takes the context of any probe.
    unsafe { bpf_get_attach_cookie(ctx.as_ptr()) }
}
