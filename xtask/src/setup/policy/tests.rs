use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic;
use std::process::Command;

use tempfile::TempDir;

use super::*;

const OWN: &str = "#!/bin/sh\nexit 0\n";

fn host() -> (TempDir, Places) {
    let folder = TempDir::new().unwrap();
    let places = Places::new(folder.path(), folder.path());
    (folder, places)
}

fn host_with_policy() -> (TempDir, Places) {
    let (folder, places) = host();
    fs::write(&places.policy, OWN).unwrap();
    fs::set_permissions(&places.policy, fs::Permissions::from_mode(0o4751)).unwrap();
    (folder, places)
}

fn again(places: &Places) -> Places {
    let folder = places.policy.parent().unwrap();
    Places::new(folder, folder)
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o7777
}

fn names(folder: &TempDir) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    names.sort();
    names
}

fn assert_own_policy_alone(folder: &TempDir, places: &Places) {
    assert_eq!(names(folder), ["policy-rc.d"]);
    assert_eq!(fs::read_to_string(&places.policy).unwrap(), OWN);
    assert_eq!(mode(&places.policy), 0o4751);
}

#[test]
fn services_are_forbidden_by_a_script_that_exits_with_101() {
    let (_folder, places) = host_with_policy();
    let guard = Guard::new(again(&places)).unwrap();
    // Not run itself: a process that another test starts meanwhile may still have it open for writing.
    let mut shell = Command::new("sh");
    let status = shell.arg(&places.policy).status().unwrap();
    assert_eq!(status.code(), Some(101));
    drop(guard);
}

#[test]
fn the_hosts_policy_comes_back_with_content_and_mode() {
    let (folder, places) = host_with_policy();
    Guard::new(again(&places)).unwrap().lift().unwrap();
    assert_own_policy_alone(&folder, &places);
}

#[test]
fn a_linked_policy_comes_back_as_the_link() {
    let (folder, places) = host();
    symlink("/somewhere/else", &places.policy).unwrap();
    Guard::new(again(&places)).unwrap().lift().unwrap();
    assert_eq!(names(&folder), ["policy-rc.d"]);
    assert_eq!(fs::read_link(&places.policy).unwrap(), Path::new("/somewhere/else"));
}

#[test]
fn without_a_policy_before_there_is_none_after() {
    let (folder, places) = host();
    let guard = Guard::new(again(&places)).unwrap();
    assert_eq!(mode(&places.policy), 0o755);
    guard.lift().unwrap();
    assert!(names(&folder).is_empty());
}

#[test]
fn a_panic_restores_too() {
    let (folder, places) = host_with_policy();
    let panicked = panic::catch_unwind(|| {
        let _guard = Guard::new(again(&places)).unwrap();
        panic!("as an installation might");
    });
    assert!(panicked.is_err());
    assert_own_policy_alone(&folder, &places);
}

#[test]
fn every_state_that_a_killed_xtask_can_leave_is_put_right() {
    let complete = |places: &Places| places.forbid().unwrap();
    let drafted = |places: &Places| fs::write(&places.draft, "#!/bin").unwrap();
    let moved_aside = |places: &Places| {
        fs::write(&places.draft, FORBID).unwrap();
        rename_if_there(&places.policy, &places.aside).unwrap();
    };
    let leavings: [&dyn Fn(&Places); 3] = [&complete, &drafted, &moved_aside];
    for leave in leavings {
        let (folder, places) = host_with_policy();
        leave(&places);
        assert!(places.left_behind());
        places.restore().unwrap();
        assert_own_policy_alone(&folder, &places);

        let (folder, places) = host();
        leave(&places);
        assert!(places.left_behind());
        places.restore().unwrap();
        assert!(names(&folder).is_empty());
    }
}

#[test]
fn a_foreign_policy_alone_is_not_a_leaving() {
    let (folder, places) = host_with_policy();
    assert!(!places.left_behind());
    places.restore().unwrap();
    assert_own_policy_alone(&folder, &places);
}

#[test]
fn the_lock_holds_while_apt_get_has_it() {
    let (_folder, places) = host();
    let guard = Guard::new(again(&places)).unwrap();
    let inherited = guard.lock().unwrap();
    drop(guard);
    let other = open_lock(&places.lock).unwrap();
    assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
    drop(inherited);
    other.try_lock().unwrap();
}
