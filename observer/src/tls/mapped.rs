//! The files that a process executes code from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use procfs::process::{MMPermissions, MMapPath, Process};

/// Names a file whatever became of its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId {
    device: (i32, i32),
    inode: u64,
}

/// A file that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Which file.
    pub id: FileId,
    /// Its path as the process's maps show it, for people.
    pub shown: PathBuf,
    /// A way to it that works for deleted and replaced files and in other mount namespaces.
    pub link: PathBuf,
}

/// The files that the process executes code from, each once. None where the process is gone or may not be read.
pub fn mapped_files(process: u32) -> Vec<Mapped> {
    let maps = i32::try_from(process).ok().and_then(|pid| Process::new(pid).ok()?.maps().ok());
    let mut files = BTreeMap::new();
    for map in maps.iter().flatten() {
        let MMapPath::Path(path) = &map.pathname else { continue };
        if map.inode == 0 || !map.perms.contains(MMPermissions::EXECUTE) {
            continue;
        }
        let id = FileId { device: map.dev, inode: map.inode };
        let (from, to) = map.address;
        files.entry(id).or_insert_with(|| Mapped {
            id,
            shown: path.clone(),
            link: format!("/proc/{process}/map_files/{from:x}-{to:x}").into(),
        });
    }
    files.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_program_is_among_the_files() {
        let program = std::env::current_exe().unwrap();
        let files = mapped_files(std::process::id());
        assert!(files.iter().any(|file| file.shown == program), "{files:?}");
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        assert_eq!(mapped_files(u32::MAX), []);
    }
}
