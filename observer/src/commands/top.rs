//! `observer top`.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::runtime::Runtime;

use super::ask::{Agent, AskError};
use super::signals::{self, Held};
use crate::agent::Stop;
use crate::cli::TopArgs;
use crate::client::runtime;
use crate::snapshot::Snapshot;
use crate::top::{After, History, Rates, Screen, draw, table};

/// Between two looks at the agent.
const PERIOD: Duration = Duration::from_secs(1);

/// Keys are waited for so long before the agent's answers are looked at.
const KEY_WAIT: Duration = Duration::from_millis(50);

const PAGE: &str = "/snapshot";

/// Shows the live view until it is left, or prints it once.
pub fn top(args: &TopArgs) -> Result<ExitCode> {
    let mut agent = Agent::new(&args.agent)?;
    let runtime = runtime().context("cannot wait for the observer")?;
    // Before the screen is taken: an error belongs below the command.
    let first: Snapshot = runtime.block_on(agent.json(PAGE))?;
    if args.once {
        thread::sleep(args.interval);
        let second = runtime.block_on(agent.json(PAGE))?;
        print!("{}", table(&Rates::between(&first, &second)));
        return Ok(ExitCode::SUCCESS);
    }
    if !stdout().is_terminal() {
        bail!("the live view needs a terminal; use --once for a plain table");
    }
    // Else they would end it with the terminal as it is.
    let stop = Stop::default();
    Held::hold(signals::ENDING)?.stop_at_first(&stop);
    let (sender, answers) = channel();
    thread::spawn(move || ask_on(&runtime, agent, &sender));
    let mut terminal = ratatui::try_init().context("cannot use this terminal; try --once")?;
    let shown = show(&mut terminal, first, &answers, &stop);
    ratatui::try_restore().context("cannot give the terminal back; type `reset`")?;
    shown.context("cannot use this terminal; try --once")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks once a second until nobody takes the answers.
fn ask_on(runtime: &Runtime, mut agent: Agent, answers: &Sender<Result<Snapshot, AskError>>) {
    loop {
        thread::sleep(PERIOD);
        if answers.send(runtime.block_on(agent.json(PAGE))).is_err() {
            return;
        }
    }
}

/// Draws after each key, each answer and each new size, until told to quit or to stop.
fn show(
    terminal: &mut DefaultTerminal,
    first: Snapshot,
    answers: &Receiver<Result<Snapshot, AskError>>,
    stop: &Stop,
) -> std::io::Result<()> {
    let (mut history, mut screen) = (History::default(), Screen::default());
    history.add(first);
    let mut rates = history.rates(screen.window_seconds());
    let mut is_changed = true;
    while !stop.is_asked() {
        is_changed |= take(answers, &mut history, &mut screen);
        if is_changed {
            if !screen.is_paused {
                rates = history.rates(screen.window_seconds());
            }
            terminal.draw(|frame| draw(frame, rates.as_ref(), &screen))?;
        }
        is_changed = event::poll(KEY_WAIT)?;
        if is_changed
            && let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && screen.press(key, rates.as_ref().unwrap_or(&Rates::default())) == After::Quit
        {
            break;
        }
    }
    Ok(())
}

/// Whether an answer came.
fn take(answers: &Receiver<Result<Snapshot, AskError>>, history: &mut History, screen: &mut Screen) -> bool {
    let mut has_come = false;
    loop {
        match answers.try_recv() {
            Ok(Ok(snapshot)) => {
                screen.failure = None;
                history.add(snapshot);
            }
            Ok(Err(error)) => screen.failure = Some(error.to_string()),
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => return has_come,
        }
        has_come = true;
    }
}
