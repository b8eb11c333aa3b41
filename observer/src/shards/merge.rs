//! What came to light on several threads, counted in the order of the events.

use super::batch::Batch;
use crate::pipeline::{Counting, Facts};

/// Counts all facts, and takes each event of everyone's behind the facts that came of it.
pub fn count(facts: &mut [Facts], everyones: &mut Batch, counting: &mut Counting) {
    let mut sources: Vec<_> = facts.iter_mut().map(Facts::drain).collect();
    let mut take_until = |event: Option<u32>, counting: &mut Counting| {
        loop {
            let marks = sources.iter().enumerate().filter_map(|(at, source)| Some((source.as_slice().first()?.0, at)));
            let Some((mark, at)) = marks.min() else { return };
            if event.is_some_and(|event| mark.event > event) {
                return;
            }
            // What one event tells one shard is one after the other.
            let source = &mut sources[at];
            while source.as_slice().first().is_some_and(|(next, _)| *next == mark)
                && let Some((_, fact)) = source.next()
            {
                counting.take(fact);
            }
        }
    };
    everyones.drain(|index, event| {
        take_until(Some(index), counting);
        counting.handle(event);
    });
    take_until(None, counting);
    drop(sources);
    facts.iter_mut().for_each(Facts::shrink);
}
