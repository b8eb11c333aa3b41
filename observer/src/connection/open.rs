//! The open exchanges of a connection.

use std::collections::VecDeque;

use crate::exchange::Exchange;

/// Oldest first. Nearly always there is one at most, so that it has a place of its own, and an idle connection keeps no
/// memory for it.
#[derive(Debug, Default)]
pub(super) struct Open {
    first: Option<Box<Exchange>>,
    behind: VecDeque<Box<Exchange>>,
}

impl Open {
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.behind.len()
    }

    pub fn front(&self) -> Option<&Exchange> {
        self.first.as_deref()
    }

    pub fn front_mut(&mut self) -> Option<&mut Exchange> {
        self.first.as_deref_mut()
    }

    pub fn back(&self) -> Option<&Exchange> {
        self.behind.back().or(self.first.as_ref()).map(|last| &**last)
    }

    pub fn back_mut(&mut self) -> Option<&mut Exchange> {
        self.behind.back_mut().or(self.first.as_mut()).map(|last| &mut **last)
    }

    /// The one of this number on its connection.
    pub fn numbered(&self, number: u64) -> Option<&Exchange> {
        let first = self.first.as_deref()?;
        match number.checked_sub(first.id.number)? {
            0 => Some(first),
            behind => self.behind.get(usize::try_from(behind).ok()? - 1).map(|open| &**open),
        }
    }

    /// The one of this number on its connection, to change.
    pub fn numbered_mut(&mut self, number: u64) -> Option<&mut Exchange> {
        let first = self.first.as_deref_mut()?;
        match number.checked_sub(first.id.number)? {
            0 => Some(first),
            behind => self.behind.get_mut(usize::try_from(behind).ok()? - 1).map(|open| &mut **open),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Exchange> {
        self.first.iter().chain(&self.behind).map(|open| &**open)
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Exchange> {
        self.first.iter_mut().chain(&mut self.behind).map(|open| &mut **open)
    }

    pub fn push_back(&mut self, exchange: Box<Exchange>) {
        match &self.first {
            None => self.first = Some(exchange),
            Some(_) => self.behind.push_back(exchange),
        }
    }

    pub fn pop_front(&mut self) -> Option<Box<Exchange>> {
        let first = self.first.take();
        if !self.behind.is_empty() {
            self.first = self.behind.pop_front();
        }
        first
    }

    /// Takes out those behind so many.
    pub fn drain_behind(&mut self, kept: usize) -> impl Iterator<Item = Box<Exchange>> {
        let first = if kept == 0 { self.first.take() } else { None };
        let kept_behind = kept.saturating_sub(1).min(self.behind.len());
        first.into_iter().chain(self.behind.drain(kept_behind..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ExchangeId;

    fn open(numbers: std::ops::Range<u64>) -> Open {
        let mut open = Open::default();
        numbers.for_each(|number| open.push_back(Box::new(Exchange::new(ExchangeId { socket: 1, number }, 0))));
        open
    }

    fn numbers(open: &Open) -> Vec<u64> {
        open.iter().map(|exchange| exchange.id.number).collect()
    }

    #[test]
    fn exchanges_come_out_as_they_came_in() {
        let mut open = open(5..8);
        assert_eq!((open.len(), numbers(&open)), (3, vec![5, 6, 7]));
        assert_eq!((open.front().unwrap().id.number, open.back().unwrap().id.number), (5, 7));
        for number in 5..8 {
            assert_eq!(open.numbered(number).unwrap().id.number, number);
            assert_eq!(open.numbered_mut(number).unwrap().id.number, number);
        }
        assert!(open.numbered(4).is_none() && open.numbered(8).is_none());
        for number in 5..8 {
            assert_eq!(open.pop_front().unwrap().id.number, number);
            assert!(open.numbered(number).is_none());
        }
        assert!(open.is_empty() && open.pop_front().is_none() && open.back().is_none());
    }

    #[test]
    fn those_behind_some_are_taken_out() {
        for kept in 0..5 {
            let mut open = open(0..3);
            let taken: Vec<u64> = open.drain_behind(kept).map(|exchange| exchange.id.number).collect();
            let (stay, go): (Vec<u64>, Vec<u64>) = (0..3).partition(|&number| (number as usize) < kept);
            assert_eq!((numbers(&open), taken), (stay, go), "{kept}");
        }
    }
}
