//! The built program as a process of its own, with all that it says.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::Scratch;
use super::wait::until;

/// A running `countersign run`; killed when dropped.
pub(crate) struct Program {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// Starts it on the `proxy.toml` of a scratch directory.
    pub(crate) fn run(scratch: &Scratch, words: &[&str]) -> Self {
        Self::run_in(scratch, words, &[])
    }

    /// With these variables in its environment.
    pub(crate) fn run_in(scratch: &Scratch, words: &[&str], environment: &[(&str, &std::path::Path)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
            .args(["run", "--log-format", "json"])
            .args(words)
            .current_dir(scratch.path(""))
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let outputs: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for output in outputs {
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            });
        }
        Self { child, lines }
    }

    /// All that it has said, one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The lines that have this in them.
    pub(crate) fn lines_with(&self, part: &str) -> Vec<String> {
        self.lines().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// Waits until it has said this.
    pub(crate) async fn said(&self, part: &str) {
        until(part, async || !self.lines_with(part).is_empty()).await;
    }

    /// The address of its listener of this kind (`proxy`, `admin`, `route`).
    pub(crate) async fn address(&self, kind: &str) -> SocketAddr {
        let find = || {
            self.lines().iter().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find_map(|line| {
                let found = line["msg"] == "listening" && line["kind"] == kind;
                found.then(|| line["address"].as_str().unwrap().parse().unwrap())
            })
        };
        until("the address of a listener", async || find().is_some()).await;
        find().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// The exit status, once it ends.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        let child = Mutex::new(&mut self.child);
        until("the end of the program", async || child.lock().unwrap().try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap().code()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
