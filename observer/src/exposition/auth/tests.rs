use std::fs;
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;
use warp::http::HeaderName;

use super::*;

struct Case {
    _dir: TempDir,
    auth: Auth,
    registry: Registry,
    admin: Token,
    metrics: Token,
}

fn case() -> Case {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let admin = add(&file, "ann", Role::Admin).unwrap();
    let metrics = add(&file, "prometheus", Role::Metrics).unwrap();
    let registry = Registry::new();
    let auth = Auth::open(&file, &registry).unwrap();
    Case { _dir: dir, auth, registry, admin, metrics }
}

impl Case {
    fn check(&self, name: &str, value: &str, needed: Role) -> Result<(), Denied> {
        let mut headers = HeaderMap::new();
        headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        self.auth.check(&headers, needed)
    }
}

fn basic(user: &str, token: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{token}")))
}

#[test]
fn a_token_is_taken_in_three_ways() {
    let case = case();
    let token = case.metrics.reveal();
    for (name, value) in [
        ("Kong-Admin-Token", token.to_owned()),
        ("Authorization", format!("Bearer {token}")),
        ("authorization", format!("bearer {token}")),
        ("Authorization", basic("prometheus", token)),
    ] {
        assert_eq!(case.check(name, &value, Role::Metrics), Ok(()), "{name}: {value}");
        assert_eq!(case.check(name, &value, Role::Admin), Err(Denied::Forbidden), "{name}: {value}");
    }
    assert_eq!(case.check("Kong-Admin-Token", case.admin.reveal(), Role::Admin), Ok(()));
    assert_eq!(case.check("Kong-Admin-Token", case.admin.reveal(), Role::Metrics), Ok(()));
}

#[test]
fn wrong_and_missing_tokens_are_told_apart_and_counted() {
    let case = case();
    let token = case.admin.reveal();
    for (name, value, denied) in [
        ("X-Token", token.to_owned(), Denied::Missing),
        ("Cookie", token.to_owned(), Denied::Missing),
        ("Authorization", token.to_owned(), Denied::Missing),
        ("Authorization", format!("Digest {token}"), Denied::Missing),
        ("Kong-Admin-Token", format!("Bearer {token}"), Denied::Unknown),
        ("Kong-Admin-Token", String::new(), Denied::Unknown),
        ("Kong-Admin-Token", token[1..].to_owned(), Denied::Unknown),
        ("Kong-Admin-Token", token.to_ascii_uppercase(), Denied::Unknown),
        ("Authorization", "Bearer wrong".to_owned(), Denied::Unknown),
        ("Authorization", "Basic !!!".to_owned(), Denied::Unknown),
        // Another user's token.
        ("Authorization", basic("prometheus", token), Denied::Unknown),
        ("Authorization", basic("", token), Denied::Unknown),
    ] {
        assert_eq!(case.check(name, &value, Role::Metrics), Err(denied), "{name}: {value}");
    }
    assert_eq!(case.auth.check(&HeaderMap::new(), Role::Metrics), Err(Denied::Missing));
    let families = case.registry.gather();
    let counts: Vec<_> = families[0].numbers().map(|(labels, value)| (labels.value("reason"), value)).collect();
    assert_eq!(families[0].name, "observer_auth_failures_total");
    assert_eq!(counts, [("forbidden".into(), 0.0), ("missing".into(), 5.0), ("unknown".into(), 8.0)]);
}

#[test]
fn the_file_holds_no_token_and_opens_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let token = add(&file, "ann", Role::Admin).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(token.reveal()));
    assert_eq!(text, format!("ann admin {}\n", token.digest()));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn a_new_token_takes_the_place_of_the_old_and_leaves_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let old = add(&file, "ann", Role::Admin).unwrap();
    let mut text = fs::read_to_string(&file).unwrap();
    text.insert_str(0, "# who may\n\n");
    fs::write(&file, text).unwrap();
    add(&file, "annabel", Role::Metrics).unwrap();
    let new = add(&file, "ann", Role::Metrics).unwrap();
    let users = Users::load(&file).unwrap();
    assert_eq!(users.with_token(old.reveal()), None);
    assert_eq!(users.with_token(new.reveal()).unwrap().role, Role::Metrics);
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# who may\n\nannabel metrics "), "{text}");
    assert_eq!(text.lines().count(), 4);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn modes_wider_than_the_owners_are_refused_with_the_command_that_mends_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    add(&file, "ann", Role::Admin).unwrap();
    for mode in [0o640, 0o604, 0o660, 0o700, 0o4600] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        for error in [Users::load(&file).unwrap_err(), add(&file, "bob", Role::Admin).err().unwrap()] {
            let command = format!("`chmod 0600 {}`", file.display());
            assert!(error.to_string().contains(&command), "{mode:o}: {error}");
        }
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Users::load(&file).is_ok());
}

#[test]
fn lines_that_cannot_be_used_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let digest = "0".repeat(64);
    for (line, hint) in [
        ("ann admin".to_owned(), "three words"),
        (format!("ann admin {digest} more"), "three words"),
        (format!("ann root {digest}"), "no role"),
        (format!("ann admin {}", &digest[1..]), "64 hexadecimal"),
        (format!("a:b admin {digest}"), "name"),
        (format!("bob admin {digest}"), "already"),
    ] {
        add(&file, "bob", Role::Metrics).unwrap();
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("{text}{line}\n")).unwrap();
        let error = Users::load(&file).unwrap_err().to_string();
        assert!(error.contains(hint) && error.contains(":2: "), "{line}: {error}");
        fs::remove_file(&file).unwrap();
    }
}

#[test]
fn names_that_basic_auth_or_the_file_cannot_hold_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", "a:b", "a b", "#a", "é", &"x".repeat(65)] {
        assert!(matches!(add(&dir.path().join("users"), name, Role::Admin), Err(AuthError::Name(_))), "{name}");
    }
}

#[test]
fn a_users_new_token_is_taken_while_running() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("users");
    let old = add(&file, "ann", Role::Admin).unwrap();
    let auth = Auth::open(&file, &Registry::new()).unwrap();
    let new = add(&file, "ann", Role::Admin).unwrap();
    let check = |token: &Token| {
        let mut headers = HeaderMap::new();
        headers.insert(TOKEN_HEADER, token.reveal().parse().unwrap());
        auth.check(&headers, Role::Admin)
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while check(&new).is_err() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(check(&old), Err(Denied::Unknown));
}
