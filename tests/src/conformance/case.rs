//! What a case is, and how its numbers are known.

use std::fmt;

/// How a case's numbers are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Bytes on the sockets tell everything: equal to the byte.
    Visible,
    /// A named rule tells what no byte does: equal, and `observer_inferred_total{rule}` grows by so many.
    Inferred(&'static str, usize),
    /// Nothing tells `$request_length`: the agent's is a lower bound, and `observer_uncertain_total{reason}` grows by
    /// so many. Everything else is equal.
    Undecidable(&'static str, usize),
    /// No class of numbers but of loss: so many exchanges are not counted but told of in
    /// `observer_exchanges_unobserved_total{reason}`, and what is counted is a lower bound.
    Unobserved(&'static str, usize),
}

/// What a case expects.
#[derive(Debug, Clone)]
pub struct Case {
    pub(super) name: String,
    pub(super) class: Class,
    pub(super) lines: usize,
    pub(super) statuses: Vec<u16>,
    pub(super) refused_from: usize,
    pub(super) waits_for_disk: bool,
}

impl Case {
    /// A case that bytes tell, with one line in the log.
    pub fn visible(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            class: Class::Visible,
            lines: 1,
            statuses: Vec::new(),
            refused_from: usize::MAX,
            waits_for_disk: false,
        }
    }

    /// A case in which `rule` decides once, with one line in the log.
    pub fn inferred(name: impl Into<String>, rule: &'static str) -> Self {
        Self { class: Class::Inferred(rule, 1), ..Self::visible(name) }
    }

    /// A case of which something is uncertain for `reason`, with one line in the log.
    pub fn undecidable(name: impl Into<String>, reason: &'static str) -> Self {
        Self { class: Class::Undecidable(reason, 1), ..Self::visible(name) }
    }

    /// A case that the agent cannot follow to its end for `reason`, once.
    pub fn unobserved(name: impl Into<String>, reason: &'static str) -> Self {
        Self { class: Class::Unobserved(reason, 1), ..Self::visible(name) }
    }

    /// So many lines in the log.
    pub fn lines(mut self, lines: usize) -> Self {
        self.lines = lines;
        self
    }

    /// nginx writes a file within a pass of its event loop: how long it waited for the disk nothing tells, so the pass may
    /// have lasted as long as the client waited.
    pub fn waits_for_disk(mut self) -> Self {
        self.waits_for_disk = true;
        self
    }

    /// The rule or the default is used so often.
    pub fn times(mut self, uses: usize) -> Self {
        self.class = match self.class {
            Class::Visible => Class::Visible,
            Class::Inferred(rule, _) => Class::Inferred(rule, uses),
            Class::Undecidable(reason, _) => Class::Undecidable(reason, uses),
            Class::Unobserved(reason, _) => Class::Unobserved(reason, uses),
        };
        self
    }

    /// nginx logs these statuses, in this order: the case is what its name says.
    pub fn statuses(mut self, statuses: &[u16]) -> Self {
        self.statuses = statuses.to_vec();
        self.lines = statuses.len();
        self
    }

    /// nginx refuses the head, so no route is looked for: the agent counts the status alone.
    pub fn refused(mut self) -> Self {
        self.refused_from = 0;
        self
    }

    /// The same, for all but the first request.
    pub fn refused_behind(mut self) -> Self {
        self.refused_from = 1;
        self
    }
}

impl Class {
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Class::Visible => "(a) visible",
            Class::Inferred(..) => "(b) inferred",
            Class::Undecidable(..) => "(c) undecidable",
            Class::Unobserved(..) => "    not seen whole",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Class::Visible => self.kind().to_owned(),
            Class::Inferred(name, _) | Class::Undecidable(name, _) | Class::Unobserved(name, _) => {
                format!("{}, {name}", self.kind())
            }
        };
        f.pad(&text)
    }
}
