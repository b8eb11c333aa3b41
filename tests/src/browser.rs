//! Headless Chromium, driven by its DevTools protocol over a pair of named pipes: JSON messages that end with a zero byte.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::Process;
use crate::wait::until;

/// What a busy host may take for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What a page may take until it shows what a test waits for.
const SHOW_LIMIT: Duration = Duration::from_secs(30);

/// Debian's Chromium without a window.
const PROGRAM: &str = "chromium-headless-shell";

/// It runs as root, which its sandbox does not. No name is looked up and no other host asked, whatever it wants of its own.
const ARGUMENTS: [&str; 9] = [
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// A running browser with one page. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    process: Process,
    orders: File,
    messages: Receiver<Value>,
    session: Option<String>,
    last_id: u64,
    login: Option<(String, String)>,
    asked: Vec<String>,
    complaints: Vec<String>,
    _folder: TempDir,
}

impl Browser {
    /// Starts one with an empty page.
    pub fn start() -> Result<Self> {
        let folder = TempDir::new()?;
        for pipe in ["orders", "answers"] {
            mkfifo(&folder.path().join(pipe), Mode::from_bits_truncate(0o600))?;
        }
        // The protocol is spoken on descriptors 3 and 4, which a shell can open and safe Rust cannot.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg("exec \"$@\" 3<orders 4>answers").arg("sh").arg(PROGRAM).args(ARGUMENTS);
        shell.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let process = Process::spawn(shell.current_dir(folder.path()))?;
        let orders = File::options().write(true).open(folder.path().join("orders"))?;
        let messages = read(File::open(folder.path().join("answers"))?);
        let mut browser = Self {
            process,
            orders,
            messages,
            session: None,
            last_id: 0,
            login: None,
            asked: Vec::new(),
            complaints: Vec::new(),
            _folder: folder,
        };
        browser.attach()?;
        Ok(browser)
    }

    fn attach(&mut self) -> Result<()> {
        let target = self.call("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let attached =
            self.call("Target.attachToTarget", &json!({ "targetId": target["targetId"], "flatten": true }))?;
        self.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            self.call(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(())
    }

    /// Answers from now on whoever asks for user and password, once a request, as a person would.
    pub fn log_in(&mut self, user: &str, password: &str) -> Result<()> {
        self.login = Some((user.to_owned(), password.to_owned()));
        self.call("Fetch.enable", &json!({ "handleAuthRequests": true })).map(drop)
    }

    /// Goes to an address. It does not wait for what is there.
    pub fn open(&mut self, url: &str) -> Result<()> {
        let opened = self.call("Page.navigate", &json!({ "url": url }))?;
        ensure!(opened["errorText"].is_null(), "{url}: {opened}");
        Ok(())
    }

    /// The value of a script, in which promises are waited for. Error if it throws.
    pub fn evaluate(&mut self, script: &str) -> Result<Value> {
        let params = json!({ "expression": script, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", &params)?;
        ensure!(answer["exceptionDetails"].is_null(), "{script}: {}", answer["exceptionDetails"]);
        Ok(answer["result"]["value"].clone())
    }

    /// Evaluates until the value is true. Error after half a minute, with what the page says.
    pub fn until(&mut self, script: &str) -> Result<()> {
        let waited = until(script, SHOW_LIMIT, || {
            let shown = self.evaluate(script)? == Value::Bool(true);
            Ok(shown.then_some(()))
        });
        waited.or_else(|error| {
            let text = self.evaluate("document.body.innerText")?;
            bail!("{error:#}\ncomplaints: {:?}\nthe page: {text}", self.complaints)
        })
    }

    /// The text of an element as it is rendered.
    pub fn text(&mut self, selector: &str) -> Result<String> {
        let text = self.evaluate(&format!("document.querySelector({})?.innerText", json!(selector)))?;
        text.as_str().map(str::to_owned).with_context(|| format!("no element {selector}"))
    }

    /// The rows of a table's body, each with the texts of its cells.
    pub fn rows(&mut self, body: &str) -> Result<Vec<Vec<String>>> {
        let rows = "[...document.querySelector(BODY).rows].map((row) => [...row.cells].map((cell) => cell.innerText))";
        let rows = self.evaluate(&rows.replace("BODY", &json!(body).to_string()))?;
        Ok(serde_json::from_value(rows)?)
    }

    /// Makes the window this large and the page as for a screen of that size.
    pub fn resize(&mut self, width: u32, height: u32) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", &size).map(drop)
    }

    /// Sets a preference that style sheets ask for, such as `prefers-color-scheme`.
    pub fn prefer(&mut self, feature: &str, value: &str) -> Result<()> {
        let features = json!({ "features": [{ "name": feature, "value": value }] });
        self.call("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// Presses a key by its name (`Tab`, `Enter`).
    pub fn press(&mut self, key: &str) -> Result<()> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            _ => bail!("no test has pressed {key:?} so far; say here what its code is"),
        };
        let mut event =
            json!({ "type": "keyDown", "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
        self.call("Input.dispatchKeyEvent", &event)?;
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", &event).map(drop)
    }

    /// Types a text into what has the focus.
    pub fn type_text(&mut self, text: &str) -> Result<()> {
        self.call("Input.insertText", &json!({ "text": text })).map(drop)
    }

    /// What a screen reader is told: every node that is not ignored, as the protocol describes it.
    pub fn accessible_nodes(&mut self) -> Result<Vec<Value>> {
        let tree = self.call("Accessibility.getFullAXTree", &json!({}))?;
        let nodes = tree["nodes"].as_array().context("no nodes")?;
        Ok(nodes.iter().filter(|node| node["ignored"] == json!(false)).cloned().collect())
    }

    /// Writes the whole page to a PNG file.
    pub fn screenshot(&mut self, file: &Path) -> Result<()> {
        let size = &self.call("Page.getLayoutMetrics", &json!({}))?["cssContentSize"];
        let clip = json!({ "x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1 });
        let params = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.call("Page.captureScreenshot", &params)?;
        let png = BASE64_STANDARD.decode(shot["data"].as_str().context("no picture")?)?;
        fs::write(file, png).with_context(|| format!("write {}", file.display()))
    }

    /// The addresses that were asked for until now.
    pub fn asked(&mut self) -> Result<Vec<String>> {
        // Whatever was reported before the answer has been read with it.
        self.evaluate("0")?;
        Ok(self.asked.clone())
    }

    /// Errors and warnings until now: exceptions, the console's and the browser's own, such as of a violated policy.
    pub fn complaints(&mut self) -> Result<&[String]> {
        self.evaluate("0")?;
        Ok(&self.complaints)
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.send(method, params)?;
        loop {
            let message = self
                .messages
                .recv_timeout(ANSWER_LIMIT)
                .with_context(|| format!("no answer to {method}; the browser's stderr:\n{}", self.process.stderr()))?;
            if message["id"] == json!(id) {
                ensure!(message["error"].is_null(), "{method}: {}", message["error"]);
                return Ok(message["result"].clone());
            }
            self.note(&message)?;
        }
    }

    fn send(&mut self, method: &str, params: &Value) -> Result<u64> {
        self.last_id += 1;
        let mut order = json!({ "id": self.last_id, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let mut bytes = serde_json::to_vec(&order)?;
        bytes.push(0);
        self.orders
            .write_all(&bytes)
            .with_context(|| format!("{PROGRAM} does not listen; its stderr:\n{}", self.process.stderr()))?;
        Ok(self.last_id)
    }

    /// Takes an event in. The answers to what it sends nobody waits for.
    fn note(&mut self, event: &Value) -> Result<()> {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => self.asked.extend(params["request"]["url"].as_str().map(str::to_owned)),
            "Runtime.exceptionThrown" => self.complaints.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if params["type"] != "log" => self.complaints.push(params.to_string()),
            "Log.entryAdded" if params["entry"]["level"] != "verbose" => {
                self.complaints.push(params["entry"].to_string());
            }
            "Fetch.requestPaused" => {
                self.send("Fetch.continueRequest", &json!({ "requestId": params["requestId"] }))?;
            }
            "Fetch.authRequired" => {
                let (user, password) = self.login.clone().unwrap_or_default();
                let answer = json!({ "response": "ProvideCredentials", "username": user, "password": password });
                let answer = json!({ "requestId": params["requestId"], "authChallengeResponse": answer });
                self.send("Fetch.continueWithAuth", &answer)?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.session = None;
        if self.send("Browser.close", &json!({})).is_ok() {
            // One that does not go is killed with its handle.
            let _ = self.process.wait(Duration::from_secs(5));
        }
    }
}

/// Reads messages in the background until the browser ends.
fn read(answers: File) -> Receiver<Value> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(answers).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else { break };
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}
