//! The machine that a table came from.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use super::json::Json;
use crate::job;

/// What a reader needs to know to judge the numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    kernel: String,
    processor: String,
    processors: usize,
    agent: String,
    unix_time: u64,
}

impl Machine {
    /// This one.
    pub fn here(agent: &Path) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let version = job::answer(Command::new(agent).arg("--version")).unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: model(&read("/proc/cpuinfo")).unwrap_or("unknown").to_owned(),
            processors: thread::available_parallelism().map_or(0, usize::from),
            agent: version.lines().next().unwrap_or_default().to_owned(),
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        }
    }

    /// In one line.
    pub fn describe(&self) -> String {
        let Self { kernel, processor, processors, agent, .. } = self;
        format!("{agent}; Linux {kernel}, {processors} processors, {processor}")
    }

    /// For the file.
    pub fn json(&self) -> Json {
        Json::object([
            ("kernel", self.kernel.as_str().into()),
            ("processor", self.processor.as_str().into()),
            ("processors", (self.processors as f64).into()),
            ("agent", self.agent.as_str().into()),
            ("unix_time", (self.unix_time as f64).into()),
        ])
    }
}

/// x86 names its model; arm64 does not.
fn model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_processor_names_the_model() {
        assert_eq!(model("processor\t: 0\nmodel name\t: A: 2 GHz\nmodel name\t: B\n"), Some("A: 2 GHz"));
        assert_eq!(model("processor\t: 0\n"), None);
    }
}
