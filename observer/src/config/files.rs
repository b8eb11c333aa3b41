//! Reading configuration files, and keeping in mind which were read so that a change of any is noticed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::nginx::glob;

/// A larger file is refused before it is parsed.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// The files and folders that a configuration was read from, as they were then.
#[derive(Debug, Default)]
pub struct Files {
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

/// What changes when a file is written or replaced, or a folder gets or loses an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Files {
    /// Whether any of them is not what it was.
    pub fn have_changed(&self) -> bool {
        self.seen.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }

    /// A file's text.
    pub fn read(&mut self, path: &Path) -> Result<String, ConfigError> {
        let bytes = self.bytes(path)?;
        String::from_utf8(bytes).map_err(|error| ConfigError::Read {
            file: path.display().to_string(),
            source: io::Error::other(error.utf8_error()),
        })
    }

    /// A file's text, bytes that are none replaced.
    pub fn read_lossy(&mut self, path: &Path) -> Result<String, ConfigError> {
        Ok(String::from_utf8_lossy(&self.bytes(path)?).into_owned())
    }

    /// The files whose names match a pattern.
    pub fn matching(&mut self, pattern: &Path) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        let found = glob::files(pattern, &mut folders);
        folders.iter().for_each(|folder| self.see(folder));
        found
    }

    fn bytes(&mut self, path: &Path) -> Result<Vec<u8>, ConfigError> {
        // Before it is read: a change meanwhile is then noticed afterwards.
        self.see(path);
        let file = path.display().to_string();
        let bytes = read_limited(path).map_err(|source| ConfigError::Read { file: file.clone(), source })?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(ConfigError::TooLarge { file, limit: MAX_FILE_BYTES });
        }
        Ok(bytes)
    }

    fn see(&mut self, path: &Path) {
        self.seen.push((path.to_owned(), Stamp::of(path)));
    }
}

impl Stamp {
    /// None where there is nothing.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

fn read_limited(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than the limit tells a file that is too large from one that just fits.
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_written_replaced_removed_or_made_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        let read = || {
            let mut files = Files::default();
            let _ = files.read(&path);
            files
        };
        let absent = read();
        assert!(!absent.have_changed());
        fs::write(&path, "one").unwrap();
        assert!(absent.have_changed(), "made");
        let written = read();
        assert!(!written.have_changed());
        fs::write(&path, "longer").unwrap();
        assert!(written.have_changed(), "written");
        let before = read();
        let other = folder.path().join("b.conf");
        fs::write(&other, "LONGER").unwrap();
        fs::rename(&other, &path).unwrap();
        assert!(before.have_changed(), "replaced");
        let before = read();
        fs::remove_file(&path).unwrap();
        assert!(before.have_changed(), "removed");
    }

    #[test]
    fn a_new_file_that_a_pattern_names_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        // The kernel's times move on in steps of milliseconds.
        File::open(folder.path()).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        let mut files = Files::default();
        assert!(files.matching(&folder.path().join("*.conf")).is_empty());
        assert!(!files.have_changed());
        fs::write(folder.path().join("a.conf"), "").unwrap();
        assert!(files.have_changed());
    }
}
