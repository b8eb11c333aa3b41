//! A program in a pseudo-terminal, and what its user would see.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context, Result, ensure};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::unistd::ttyname;

use crate::process::signal_pid;
use crate::wait::{PATIENCE, until, until_true};

/// A terminal and the one program in it. Dropping it kills the program.
pub struct Terminal {
    child: Child,
    keyboard: File,
    name: PathBuf,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts `command` with the terminal for its input and outputs.
    pub fn run(command: &mut Command, columns: u16, lines: u16) -> Result<Self> {
        let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).context("no pseudo-terminal")?;
        let name = ttyname(&pair.slave)?;
        let end = || pair.slave.try_clone();
        command.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        let child = command.stdin(end()?).stdout(end()?).stderr(end()?).spawn()?;
        // The command keeps its ends: with them open, the program's end would not show.
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(lines, columns, 0)));
        let keyboard = File::from(pair.master);
        let (mut output, shown) = (keyboard.try_clone()?, Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // An error is the program's end (EIO).
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                lock(&shown).process(&bytes[..read]);
            }
        });
        Ok(Self { child, keyboard, name, screen })
    }

    /// Types keys, as bytes.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("type")
    }

    /// Another size, and the signal that tells of it.
    pub fn resize(&mut self, columns: u16, lines: u16) -> Result<()> {
        lock(&self.screen).screen_mut().set_size(lines, columns);
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let set = Command::new("stty").arg("-F").arg(&self.name).args(["cols", &columns, "rows", &lines]).status()?;
        ensure!(set.success(), "stty ended with {set}");
        self.signal(Signal::SIGWINCH)
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        signal_pid(self.child.id(), signal)
    }

    /// What stands on the screen: lines without the blanks at their ends.
    pub fn text(&self) -> String {
        lock(&self.screen).screen().contents()
    }

    /// Whether the program has put its own screen in front of the shell's.
    pub fn has_own_screen(&self) -> bool {
        lock(&self.screen).screen().alternate_screen()
    }

    /// Waits until the screen fits, and gives its text.
    pub fn until(&self, what: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
        until(what, PATIENCE, || Ok(Some(self.text()).filter(|text| fits(text))))
            .with_context(|| format!("on the screen:\n{}", self.text()))
    }

    /// Waits for the program's end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        until("the program ends", PATIENCE, || Ok(self.child.try_wait()?))
            .with_context(|| format!("on the screen:\n{}", self.text()))
    }

    /// Waits until the shell's screen is back.
    pub fn until_given_back(&self) -> Result<()> {
        until_true("the screen is given back", PATIENCE, || Ok(!self.has_own_screen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(screen: &Mutex<vt100::Parser>) -> MutexGuard<'_, vt100::Parser> {
    screen.lock().unwrap_or_else(PoisonError::into_inner)
}
