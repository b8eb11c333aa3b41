//! The whole pipeline: a gateway's doings in, the page out.
//!
//! Whatever comes, the identity holds. Seen whole, the page does not depend on how bytes were cut into calls. Seen with
//! gaps, no status is counted more often than seen whole.

mod pieces;
mod script;
mod world;

use crate::told::Told;
use script::Step;
use world::{Way, play};

/// Takes a script: its first byte chooses the length of pieces.
pub fn run(data: &[u8]) {
    let Some((&length, rest)) = data.split_first() else { return };
    let script = script::of(rest);
    let whole = play(&script, Way::Whole);
    assert_eq!(whole.open(), 0, "all connections ended");
    let pieces = play(&script, Way::Pieces(1 + usize::from(length)));
    is_equal_in_pieces(&script, &whole, &pieces);
    let told = play(&script, Way::AsTold);
    // What is out of step even when seen whole tells nothing of what gaps may do.
    if whole.unobserved() == 0 && !script.iter().any(|step| matches!(step, Step::Odd(_))) {
        counts_no_more(&script, &whole, &told);
    }
}

/// A connection that is out of step is in step again with a call that begins like a request, and the status of an answer
/// without a head is read from its first call: there the calls matter.
fn is_equal_in_pieces(script: &[Step], whole: &Told, pieces: &Told) {
    if whole.infers("http_0_9") {
        return;
    }
    if whole.unobserved() > 0 {
        return counts_no_more(script, whole, pieces);
    }
    let (more, less) = (pieces.lines_beyond(whole), whole.lines_beyond(pieces));
    assert!(more.is_empty() && less.is_empty(), "in pieces: {more:#?} for {less:#?}: {}", text_of(script));
}

fn counts_no_more(script: &[Step], whole: &Told, told: &Told) {
    let whole = whole.statuses();
    for (status, count) in told.statuses() {
        let limit = whole.get(status).copied().unwrap_or(0);
        assert!(count <= limit, "{status}: {count} counted, {limit} were there: {}", text_of(script));
    }
}

fn text_of(script: &[Step]) -> String {
    script.iter().map(|step| format!("\n{step:?}")).collect()
}
