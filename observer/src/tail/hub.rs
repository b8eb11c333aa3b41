//! From the pipeline to the readers, each at its own pace.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::broadcast::{Receiver, Sender, channel};

use super::entry::{Detail, Entry, Wanted};
use super::filter::Wish;
use crate::metrics::Registry;

/// Exchanges that wait for a reader; a slower one loses the oldest. Some 300 bytes each, 3 KiB at most, and all readers
/// share them.
pub const QUEUE: usize = 4096;

/// Readers at once; each takes a connection.
pub const READERS_MAX: usize = 16;

/// Lines are handed over in pieces of about so many bytes.
const PIECE_BYTES: usize = 16 * 1024;

/// There are [`READERS_MAX`] readers already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{READERS_MAX} readers listen already, as many as may; end one of them first")]
pub struct NoRoom;

/// Where exchanges come in and readers listen.
pub struct Hub {
    wanted: Wanted,
    state: Mutex<State>,
    lost: IntCounter,
}

#[derive(Default)]
struct State {
    /// There as long as there are readers.
    sender: Option<Sender<Arc<Entry>>>,
    readers: usize,
    readers_of_queries: usize,
    is_closed: bool,
}

impl Hub {
    /// Without readers. Registers `observer_tail_lost_total`.
    pub fn new(registry: &Registry) -> Arc<Hub> {
        let help = "Exchanges that readers of /tail were too slow for, added up over the readers";
        let lost = IntCounter::new("observer_tail_lost_total", help).expect("the metric's name is valid");
        registry.register(Box::new(lost.clone())).expect("each family is registered once");
        Arc::new(Hub { wanted: Wanted::default(), state: Mutex::default(), lost })
    }

    /// For the pipeline.
    pub fn wanted(&self) -> Wanted {
        self.wanted.clone()
    }

    /// Hands exchanges to whoever listens now; never waits for a reader.
    pub fn send(&self, entries: Vec<Entry>) {
        if entries.is_empty() {
            return;
        }
        let Some(sender) = self.lock().sender.clone() else { return };
        for entry in entries {
            // The last reader may just have left.
            let _ = sender.send(Arc::new(entry));
        }
    }

    /// Listens from now on.
    ///
    /// # Errors
    /// [`NoRoom`].
    pub fn listen(self: &Arc<Self>, wish: Wish) -> Result<Reader, NoRoom> {
        let mut state = self.lock();
        if state.readers >= READERS_MAX {
            return Err(NoRoom);
        }
        let entries = match &state.sender {
            Some(sender) => sender.subscribe(),
            None => {
                let (sender, entries) = channel(QUEUE);
                state.sender = (!state.is_closed).then_some(sender);
                entries
            }
        };
        state.readers += 1;
        state.readers_of_queries += usize::from(wish.with_query);
        self.wanted.set(state.detail());
        Ok(Reader { hub: Arc::clone(self), entries, wish })
    }

    /// Ends all streams.
    pub fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.sender = None;
        self.wanted.set(None);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn detail(&self) -> Option<Detail> {
        match (self.is_closed, self.readers, self.readers_of_queries) {
            (true, ..) | (_, 0, _) => None,
            (_, _, 0) => Some(Detail::Path),
            _ => Some(Detail::Query),
        }
    }
}

/// One who listens. Dropping it ends that.
pub struct Reader {
    hub: Arc<Hub>,
    entries: Receiver<Arc<Entry>>,
    wish: Wish,
}

impl Reader {
    /// The next lines, each a JSON object and a newline, when there are some; none at the end.
    pub async fn lines(&mut self) -> Option<Vec<u8>> {
        let mut lines = Vec::new();
        while lines.is_empty() {
            match self.entries.recv().await {
                Ok(entry) => self.add(&entry, &mut lines),
                Err(RecvError::Lagged(lost)) => self.add_lost(lost, &mut lines),
                Err(RecvError::Closed) => return None,
            }
        }
        while lines.len() < PIECE_BYTES {
            match self.entries.try_recv() {
                Ok(entry) => self.add(&entry, &mut lines),
                Err(TryRecvError::Lagged(lost)) => self.add_lost(lost, &mut lines),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some(lines)
    }

    fn add(&self, entry: &Entry, lines: &mut Vec<u8>) {
        if !self.wish.filter.passes(entry) {
            return;
        }
        let before = lines.len();
        // Another reader may have asked for what this one has not.
        let written = if entry.query.is_some() && !self.wish.with_query {
            serde_json::to_writer(&mut *lines, &Entry { query: None, ..entry.clone() })
        } else {
            serde_json::to_writer(&mut *lines, entry)
        };
        match written {
            Ok(()) => lines.push(b'\n'),
            // Nothing in an entry refuses to be written.
            Err(_) => lines.truncate(before),
        }
    }

    fn add_lost(&self, lost: u64, lines: &mut Vec<u8>) {
        self.hub.lost.inc_by(lost);
        lines.extend_from_slice(format!("{{\"lost\":{lost}}}\n").as_bytes());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let overrun = self.entries.len().saturating_sub(QUEUE);
        self.hub.lost.inc_by(overrun as u64);
        let mut state = self.hub.lock();
        state.readers -= 1;
        state.readers_of_queries -= usize::from(self.wish.with_query);
        if state.readers == 0 {
            state.sender = None;
        }
        self.hub.wanted.set(state.detail());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::Line;

    fn hub() -> Arc<Hub> {
        Hub::new(&Registry::new())
    }

    fn entries(numbers: std::ops::Range<u64>) -> Vec<Entry> {
        numbers.map(|request_ms| Entry { request_ms, query: Some("q".into()), ..Entry::default() }).collect()
    }

    fn wish(query: &str) -> Wish {
        Wish::from_query(query).unwrap()
    }

    async fn next(reader: &mut Reader) -> Vec<Line> {
        let text = String::from_utf8(reader.lines().await.unwrap()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn only_what_somebody_listens_for_is_wanted() {
        let hub = hub();
        let wanted = hub.wanted();
        assert_eq!(wanted.detail(), None);
        let paths = hub.listen(wish("")).unwrap();
        assert_eq!(wanted.detail(), Some(Detail::Path));
        let queries = hub.listen(wish("with_query=1")).unwrap();
        assert_eq!(wanted.detail(), Some(Detail::Query));
        drop(queries);
        assert_eq!(wanted.detail(), Some(Detail::Path));
        drop(paths);
        assert_eq!((wanted.detail(), hub.lock().sender.is_none()), (None, true));
    }

    #[test]
    fn there_is_a_limit_of_readers() {
        let hub = hub();
        let mut readers: Vec<Reader> = (0..READERS_MAX).map(|_| hub.listen(wish("")).unwrap()).collect();
        assert_eq!(hub.listen(wish("")).err(), Some(NoRoom));
        readers.pop();
        assert!(hub.listen(wish("")).is_ok());
    }

    #[tokio::test]
    async fn each_reader_gets_what_it_asked_for() {
        let hub = hub();
        let mut all = hub.listen(wish("with_query=1")).unwrap();
        let mut slow = hub.listen(wish("slower_than_ms=1")).unwrap();
        hub.send(entries(0..3));
        let lines = next(&mut all).await;
        assert_eq!(lines, entries(0..3).into_iter().map(|entry| Line::Entry(Box::new(entry))).collect::<Vec<_>>());
        let expected = Entry { request_ms: 2, ..Entry::default() };
        assert_eq!(next(&mut slow).await, [Line::Entry(Box::new(expected))], "nobody gets a query unasked");
    }

    #[tokio::test]
    async fn what_a_slow_reader_loses_is_told_and_counted_and_keeps_nobody_up() {
        let hub = hub();
        let (mut slow, mut quick) = (hub.listen(wish("")).unwrap(), hub.listen(wish("")).unwrap());
        let more = QUEUE as u64 + 10;
        for number in 0..more {
            hub.send(entries(number..number + 1));
            assert_eq!(next(&mut quick).await.len(), 1);
        }
        let lines = next(&mut slow).await;
        assert_eq!(lines[0], Line::Lost { lost: 10 });
        let Line::Entry(first) = &lines[1] else { panic!("{lines:?}") };
        assert_eq!((first.request_ms, hub.lost.get()), (10, 10));
        let mut left = QUEUE - (lines.len() - 1);
        while left > 0 {
            left -= next(&mut slow).await.len();
        }
        // One that leaves without having looked has lost what was overwritten.
        hub.send(entries(0..more));
        drop(slow);
        assert_eq!(hub.lost.get(), 20);
    }

    #[tokio::test]
    async fn streams_end_when_the_hub_is_closed() {
        let hub = hub();
        let mut reader = hub.listen(wish("")).unwrap();
        hub.close();
        assert_eq!(reader.lines().await, None);
        assert_eq!(hub.listen(wish("")).unwrap().lines().await, None);
        assert_eq!(hub.wanted().detail(), None);
    }
}
