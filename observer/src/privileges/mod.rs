//! Least privilege: what the agent gives up once its programs are attached, before it looks at strangers' bytes.
//!
//! Capabilities belong to threads. [`give_up`] runs before any other thread is started, so that all of them begin with
//! what is left; each kind of thread then gives up what it alone does not need.

mod capabilities;
mod filter;
#[cfg(test)]
mod tests;
mod user;

use caps::errors::CapsError;
use nix::sys::prctl;

pub use capabilities::{LATER, Reason};
pub use user::Account;

/// Why privileges could not be given up.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// `--user` names nobody.
    #[error("there is no user {0:?} on this host; make it with `useradd --system --no-create-home {0}`")]
    NoUser(String),
    /// `--user` without the right to change to another one.
    #[error("only root can become another user; run the observer as root, or leave out --user")]
    NotRoot,
    /// The kernel's answer.
    #[error("cannot {what}: {reason}; report this with the output of `observer check`")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        reason: String,
    },
}

/// For the thread that is to start all others: becomes `account` where one is given, and keeps of the capabilities
/// those in [`LATER`]. From then on no program can be executed and none loaded into the kernel, no other user of this
/// host can look into this process's memory, and the system calls are those of the filter.
///
/// # Errors
/// The kernel refuses. A kernel without system call filters is no error but a warning in the log.
pub fn give_up(account: Option<&Account>) -> Result<(), PrivilegeError> {
    capabilities::clear_bounding();
    if let Some(account) = account {
        account.become_it()?;
    }
    capabilities::keep(LATER)?;
    prctl::set_no_new_privs().map_err(|errno| refused("set no_new_privs", errno))?;
    prctl::set_dumpable(false).map_err(|errno| refused("become undumpable", errno))?;
    filter::install()
}

/// For the thread that follows the gateways, after its first look at the host: entering network namespaces is over. Perf's
/// events in user programs take CAP_SYS_ADMIN, too: those who will need more of them keep it.
///
/// # Errors
/// The kernel refuses.
pub fn end_of_first_scan(needs_events: bool) -> Result<(), PrivilegeError> {
    capabilities::drop_where(|reason| needs_events || !reason.is_for_first_scan)
}

/// For threads that read the observer's own files, and for all that they start.
///
/// # Errors
/// The kernel refuses.
pub fn keep_reading_files() -> Result<(), PrivilegeError> {
    capabilities::drop_where(|reason| reason.reads_files)
}

/// For threads that look names up as programs in other namespaces do, once they are where they stay.
///
/// # Errors
/// The kernel refuses.
pub fn keep_reading_processes() -> Result<(), PrivilegeError> {
    use caps::Capability::{CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE};
    capabilities::drop_where(|reason| matches!(reason.capability, CAP_DAC_READ_SEARCH | CAP_SYS_PTRACE))
}

/// For threads that serve strangers: nothing is left.
///
/// # Errors
/// The kernel refuses.
pub fn keep_nothing() -> Result<(), PrivilegeError> {
    capabilities::drop_where(|_| false)
}

fn refused(what: &'static str, reason: impl ToString) -> PrivilegeError {
    PrivilegeError::Refused { what, reason: reason.to_string() }
}

impl From<CapsError> for PrivilegeError {
    fn from(error: CapsError) -> Self {
        refused("change capabilities", error)
    }
}
