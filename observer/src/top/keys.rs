//! What a person has chosen to see, and the keys that change it.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::history::WINDOWS;
use super::rates::{Rates, Row};

/// Rows that a page key moves by.
const PAGE: usize = 10;

/// By what services are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Requests per second.
    #[default]
    Requests,
    /// Share of 5xx.
    Errors,
    /// The highest quantile of the latency that is shown.
    Latency,
    /// Bytes per second, both ways.
    Bandwidth,
    /// Failures per second.
    Failures,
    /// By name, from A on.
    Name,
}

/// Which latency is shown where there is room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// The gateway's own.
    Kong,
    /// The upstream's.
    Upstream,
    /// Both.
    Request,
}

/// What a key has led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Go on.
    Stay,
    /// Leave.
    Quit,
}

/// The state of the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    /// The order.
    pub sort: Sort,
    /// The other way round.
    pub is_reversed: bool,
    /// Only services with this in their names.
    pub filter: String,
    /// Keys go into the filter.
    pub is_typing: bool,
    /// What is shown does not change.
    pub is_paused: bool,
    /// Which latency.
    pub timing: Timing,
    /// Index of [`WINDOWS`].
    pub window: usize,
    /// The service that the bar is on.
    pub selected: Option<String>,
    /// That service alone.
    pub is_open: bool,
    /// The keys are explained.
    pub is_helping: bool,
    /// Why nothing new comes, if so.
    pub failure: Option<String>,
}

impl Default for Screen {
    fn default() -> Self {
        Screen {
            sort: Sort::default(),
            is_reversed: false,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            timing: Timing::Request,
            window: 0,
            selected: None,
            is_open: false,
            is_helping: false,
            failure: None,
        }
    }
}

impl Sort {
    const ALL: [Sort; 6] = [Sort::Requests, Sort::Errors, Sort::Latency, Sort::Bandwidth, Sort::Failures, Sort::Name];

    /// As the screen names it.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Requests => "requests",
            Sort::Errors => "5xx",
            Sort::Latency => "p99",
            Sort::Bandwidth => "bandwidth",
            Sort::Failures => "failures",
            Sort::Name => "name",
        }
    }

    fn next(self) -> Sort {
        Sort::ALL[(self as usize + 1) % Sort::ALL.len()]
    }
}

impl Timing {
    /// All, by the order of [`Row::latencies`].
    pub const ALL: [Timing; 3] = [Timing::Kong, Timing::Upstream, Timing::Request];

    /// As the screen names it.
    pub fn name(self) -> &'static str {
        match self {
            Timing::Kong => "kong",
            Timing::Upstream => "upstream",
            Timing::Request => "request",
        }
    }

    fn next(self) -> Timing {
        Timing::ALL[(self as usize + 1) % Timing::ALL.len()]
    }
}

impl Screen {
    /// Seconds that rates are of.
    pub fn window_seconds(&self) -> usize {
        WINDOWS[self.window % WINDOWS.len()]
    }

    /// The rows to show, in their order.
    pub fn rows<'a>(&self, rates: &'a Rates) -> Vec<&'a Row> {
        let filter = self.filter.to_lowercase();
        let mut rows: Vec<&Row> = rates.rows.iter().filter(|row| row.name.to_lowercase().contains(&filter)).collect();
        // They come by name, and stay so among equals.
        match self.sort {
            Sort::Name => {}
            Sort::Requests => descend(&mut rows, |row| row.requests),
            Sort::Errors => descend(&mut rows, |row| row.classes[4]),
            Sort::Latency => descend(&mut rows, |row| row.latencies[self.timing as usize].highest()),
            Sort::Bandwidth => descend(&mut rows, |row| row.ingress + row.egress),
            Sort::Failures => descend(&mut rows, |row| row.failures),
        }
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// The place of the bar among these rows: the first where the service is not there.
    pub fn place(&self, rows: &[&Row]) -> usize {
        let selected = self.selected.as_deref();
        rows.iter().position(|row| Some(row.name.as_str()) == selected).unwrap_or(0)
    }

    /// Takes a key.
    pub fn press(&mut self, key: KeyEvent, rates: &Rates) -> After {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return After::Quit;
        }
        if self.is_typing {
            self.type_key(key.code);
            return After::Stay;
        }
        if std::mem::take(&mut self.is_helping) {
            return After::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return After::Quit,
            KeyCode::Esc | KeyCode::Backspace | KeyCode::Left if self.is_open => self.is_open = false,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Right => self.open(rates),
            KeyCode::Char('?' | 'h') => self.is_helping = true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.sort = self.sort.next(),
            KeyCode::Char('r') => self.is_reversed = !self.is_reversed,
            KeyCode::Char('l') => self.timing = self.timing.next(),
            KeyCode::Char('w') => self.window = (self.window + 1) % WINDOWS.len(),
            KeyCode::Char('/') if !self.is_open => self.is_typing = true,
            KeyCode::Up | KeyCode::Char('k') => self.go(rates, |at, _| at.saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.go(rates, |at, _| at + 1),
            KeyCode::PageUp => self.go(rates, |at, _| at.saturating_sub(PAGE)),
            KeyCode::PageDown => self.go(rates, |at, _| at + PAGE),
            KeyCode::Home => self.go(rates, |_, _| 0),
            KeyCode::End => self.go(rates, |_, rows| rows),
            _ => {}
        }
        After::Stay
    }

    fn type_key(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Char(c) => self.filter.push(c),
            _ => {}
        }
    }

    fn open(&mut self, rates: &Rates) {
        let rows = self.rows(rates);
        if let Some(row) = rows.get(self.place(&rows)) {
            self.selected = Some(row.name.clone());
            self.is_open = true;
        }
    }

    fn go(&mut self, rates: &Rates, to: impl Fn(usize, usize) -> usize) {
        let rows = self.rows(rates);
        let last = rows.len().saturating_sub(1);
        let place = to(self.place(&rows), last).min(last);
        self.selected = rows.get(place).map(|row| row.name.clone());
    }
}

fn descend(rows: &mut [&Row], by: impl Fn(&Row) -> f64) {
    rows.sort_by(|a, b| by(b).total_cmp(&by(a)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::rates::tests::snapshot;

    fn rates() -> Rates {
        let mut rates = Rates::between(&snapshot(1), &snapshot(2));
        rates.rows[0].requests = 5.0;
        rates
    }

    fn press(screen: &mut Screen, keys: &[KeyCode]) -> After {
        keys.iter().map(|key| screen.press(KeyEvent::from(*key), &rates())).last().unwrap()
    }

    fn names(screen: &Screen) -> Vec<String> {
        screen.rows(&rates()).iter().map(|row| row.name.clone()).collect()
    }

    #[test]
    fn services_are_sorted_and_reversed() {
        let mut screen = Screen::default();
        assert_eq!(names(&screen), ["users", "orders"], "by requests");
        press(&mut screen, &[KeyCode::Char('r')]);
        assert_eq!(names(&screen), ["orders", "users"]);
        press(&mut screen, &[KeyCode::Char('r'), KeyCode::Char('s')]);
        assert_eq!((screen.sort, names(&screen)), (Sort::Errors, vec!["users".to_owned(), "orders".to_owned()]));
        press(&mut screen, &[KeyCode::Char('s'); 4]);
        assert_eq!((screen.sort, names(&screen)), (Sort::Name, vec!["orders".to_owned(), "users".to_owned()]));
    }

    #[test]
    fn a_filter_is_typed_kept_and_cleared() {
        let mut screen = Screen::default();
        press(&mut screen, &[KeyCode::Char('/'), KeyCode::Char('O'), KeyCode::Char('q'), KeyCode::Backspace]);
        assert_eq!((names(&screen), screen.is_typing), (vec!["orders".to_owned()], true), "q is a letter here");
        press(&mut screen, &[KeyCode::Enter]);
        assert_eq!((screen.is_typing, screen.filter.as_str()), (false, "O"));
        press(&mut screen, &[KeyCode::Esc]);
        assert_eq!(names(&screen).len(), 2);
    }

    #[test]
    fn the_bar_stays_with_its_service_and_opens_it() {
        let mut screen = Screen::default();
        press(&mut screen, &[KeyCode::Down, KeyCode::Down, KeyCode::Down]);
        assert_eq!(screen.selected.as_deref(), Some("orders"), "the last one is the end");
        press(&mut screen, &[KeyCode::Char('r')]);
        assert_eq!(screen.place(&screen.rows(&rates())), 0);
        press(&mut screen, &[KeyCode::Enter]);
        assert!(screen.is_open);
        press(&mut screen, &[KeyCode::Esc]);
        assert_eq!((screen.is_open, press(&mut screen, &[KeyCode::Char('q')])), (false, After::Quit));
    }

    #[test]
    fn pause_window_and_latency_are_switched() {
        let mut screen = Screen::default();
        press(&mut screen, &[KeyCode::Char('p'), KeyCode::Char('w'), KeyCode::Char('l'), KeyCode::Char('?')]);
        assert!(screen.is_paused && screen.is_helping);
        assert_eq!((screen.window_seconds(), screen.timing), (1, Timing::Kong));
        assert_eq!(press(&mut screen, &[KeyCode::Char('q')]), After::Stay, "any key ends the help");
        let control_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(screen.press(control_c, &rates()), After::Quit);
    }
}
