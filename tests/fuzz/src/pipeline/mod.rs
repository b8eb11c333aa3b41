//! The whole pipeline: a gateway's doings in, the page out.
//!
//! Whatever comes, the identity holds. Seen whole, the page does not depend on how bytes were cut into calls. Seen with
//! gaps, no status is counted more often than seen whole.

mod calls;
mod pieces;
mod script;
mod traffic;
mod world;

use crate::told::Told;
use script::Step;
use world::{Way, play};

/// Takes a script: its first byte chooses the length of pieces.
pub fn run(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let script = script::of(rest);
    let (whole, traffic) = play(&script, Way::Whole);
    let (pieces, _) = play(&script, Way::Pieces(1 + usize::from(length)));
    let (told, _) = play(&script, Way::AsTold);
    assert_eq!(whole.open(), 0, "all connections ended");
    // A connection that is out of step is in step again with a call that begins like a request: there the calls matter.
    if !traffic.is_sound {
        return;
    }
    let (more, less) = (pieces.lines_beyond(&whole), whole.lines_beyond(&pieces));
    assert!(more.is_empty() && less.is_empty(), "in pieces: {more:#?} for {less:#?}: {}", text_of(&script));
    let is_odd = || script.iter().any(|step| matches!(step, Step::Odd(_)));
    if !traffic.has_tunnels && !is_odd() {
        counts_no_more(&script, &whole, &told);
    }
}

/// Statuses that rules infer where nothing was written: what is lost of upstreams may change what they go by.
const INFERRED: [&str; 4] = ["400", "408", "444", "499"];

fn counts_no_more(script: &[Step], whole: &Told, told: &Told) {
    let whole = whole.statuses();
    for (status, count) in told.statuses().into_iter().filter(|(status, _)| !INFERRED.contains(status)) {
        let limit = whole.get(status).copied().unwrap_or(0);
        assert!(count <= limit, "{status}: {count} counted, {limit} were there: {}", text_of(script));
    }
}

fn text_of(script: &[Step]) -> String {
    script.iter().map(|step| format!("\n{step:?}")).collect()
}
