//! The user whom the observer runs as.

use std::io;
use std::os::unix::fs::lchown;
use std::path::Path;

use caps::securebits::set_keepcaps;
use nix::unistd::{Gid, Uid, User, setgroups, setresgid, setresuid};

use super::{PrivilegeError, refused};

/// A user of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    user: Uid,
    group: Gid,
}

impl Account {
    /// The user of this name.
    ///
    /// # Errors
    /// There is none, or the caller is not root.
    pub fn named(name: &str) -> Result<Account, PrivilegeError> {
        let found = User::from_name(name).map_err(|errno| refused("look up the user", errno))?;
        let found = found.ok_or_else(|| PrivilegeError::NoUser(name.to_owned()))?;
        if !Uid::effective().is_root() {
            return Err(PrivilegeError::NotRoot);
        }
        Ok(Account { user: found.uid, group: found.gid })
    }

    /// Gives it a file or directory that it is to write later; links are not followed.
    pub fn own(&self, path: &Path) -> io::Result<()> {
        lchown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    /// Becomes this user, of its own group alone, with all permitted capabilities as before and none effective.
    pub(super) fn become_it(&self) -> Result<(), PrivilegeError> {
        set_keepcaps(true)?;
        setgroups(&[]).map_err(|errno| refused("leave root's groups", errno))?;
        setresgid(self.group, self.group, self.group).map_err(|errno| refused("change the group", errno))?;
        setresuid(self.user, self.user, self.user).map_err(|errno| refused("change the user", errno))?;
        Ok(set_keepcaps(false)?)
    }
}
