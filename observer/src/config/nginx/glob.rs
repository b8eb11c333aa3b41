//! File names by pattern, as `include` takes them (glob(7): `*`, `?` and `[...]`, none of which matches a leading dot).

use std::fs;
use std::path::{Path, PathBuf};

/// Whether `pattern` names files by pattern.
pub fn is_pattern(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// The files that `pattern` names, in byte order. `looked_at` gets the folders whose contents decided it.
pub fn files(pattern: &Path, looked_at: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str().to_string_lossy();
        if !is_pattern(&part) {
            found.iter_mut().for_each(|path| path.push(&*part));
            continue;
        }
        found = found.iter().flat_map(|folder| entries(folder, &part, looked_at)).collect();
    }
    found.retain(|path| path.exists());
    found.sort_unstable();
    found
}

fn entries(folder: &Path, pattern: &str, looked_at: &mut Vec<PathBuf>) -> Vec<PathBuf> {
    looked_at.push(folder.to_owned());
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| matches(pattern, name)).map(|name| folder.join(name)).collect()
}

fn matches(pattern: &str, name: &str) -> bool {
    name.starts_with('.') == pattern.starts_with('.') && rest_matches(pattern, name)
}

fn rest_matches(pattern: &str, name: &str) -> bool {
    let mut letters = pattern.chars();
    let Some(first) = letters.next() else { return name.is_empty() };
    let pattern = letters.as_str();
    if first == '*' {
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        return { ends }.any(|at| rest_matches(pattern, &name[at..]));
    }
    let mut letters = name.chars();
    let Some(letter) = letters.next() else { return false };
    let name = letters.as_str();
    match (first, pattern.split_once(']')) {
        ('?', _) => rest_matches(pattern, name),
        ('[', Some((class, pattern))) => is_in(class, letter) && rest_matches(pattern, name),
        _ => first == letter && rest_matches(pattern, name),
    }
}

/// Whether `letter` is in the class `a-z0`, or not in `!a-z0`.
fn is_in(class: &str, letter: char) -> bool {
    let (class, is_wanted) = match class.strip_prefix(['!', '^']) {
        Some(class) => (class, false),
        None => (class, true),
    };
    let letters: Vec<char> = class.chars().collect();
    let mut rest = &letters[..];
    while let [first, after @ ..] = rest {
        let is_match = match after {
            ['-', last, after @ ..] => {
                rest = after;
                (*first..=*last).contains(&letter)
            }
            _ => {
                rest = after;
                *first == letter
            }
        };
        if is_match {
            return is_wanted;
        }
    }
    !is_wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_a_shell_has_it() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", false),
            ("*.conf", "a.conf.bak", false),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[0-9][!a-c]*", "1d", true),
            ("[0-9][!a-c]*", "1b", false),
            ("*a*b*", "xaybz", true),
            ("[ab", "[ab", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_come_sorted_from_every_folder_that_fits() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b/x.conf", "a/z.conf", "a/y.conf", "a/y.txt"] {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let mut looked_at = Vec::new();
        let found = files(&root.path().join("*/*.conf"), &mut looked_at);
        let names = ["a/y.conf", "a/z.conf", "b/x.conf"].map(|name| root.path().join(name));
        assert_eq!(found, names);
        looked_at.sort_unstable();
        assert_eq!(looked_at, [root.path().to_owned(), root.path().join("a"), root.path().join("b")]);
    }
}
