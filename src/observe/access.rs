//! The access line: one record a request, written by a thread of its own.
//!
//! A request never waits for the terminal, pipe or disk behind standard error: its line is made in a
//! buffer of its thread and copied to a bounded queue. When the queue is full the line is dropped and counted.
//! The proxy calls [`AccessLog::write`] once a request; the shell calls [`AccessLog::close`] at the end.

use std::cell::RefCell;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::line::{Format, Line, Paint};
use super::outcome::Outcome;
use crate::clock::Timestamp;

/// Bytes of lines that wait for the writer.
pub const QUEUE_LIMIT: usize = 4 * 1024 * 1024;
/// How long the writer gathers lines before it writes, so that a busy proxy makes few system calls.
const GATHER: Duration = Duration::from_millis(5);
/// With this many bytes the writer does not wait any longer.
const GATHERED: usize = 64 * 1024;
/// How long [`AccessLog::close`] waits for the last lines.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

/// What one request was. `None` is `null` in JSON and left out in text.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// When it ended.
    pub at: Timestamp,
    /// The route that claimed it.
    pub route: Option<&'a str>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// The client that proved itself.
    pub client: Option<&'a str>,
    /// The worker's `Countersign-Job`.
    pub job: Option<&'a str>,
    /// The method.
    pub method: &'a str,
    /// The path without its query, which may carry personal data and signatures.
    pub path: &'a str,
    /// The endpoint template; none in this version.
    pub endpoint: Option<&'a str>,
    /// The credential; several are separated by commas.
    pub credential: Option<&'a str>,
    /// The status that the worker got; none when it went away before.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// More about an error. Never holds a secret: made of our own words.
    pub error: Option<&'a str>,
    /// Body bytes from the worker.
    pub bytes_in: u64,
    /// Body bytes to the worker.
    pub bytes_out: u64,
    /// Microseconds spent in this process.
    pub proxy_us: u64,
    /// Microseconds spent waiting for the upstream.
    pub upstream_us: u64,
    /// How often the request was sent.
    pub attempts: u32,
    /// The trace id of `traceparent`, 32 hex digits.
    pub trace_id: Option<&'a str>,
}

impl Access<'_> {
    fn push(&self, out: &mut Vec<u8>, style: (Format, Paint)) {
        let mut line = Line::begin(out, style, self.at, "info", "access");
        line.maybe("route", self.route);
        line.maybe("tenant", self.tenant);
        line.maybe("client", self.client);
        line.maybe("job", self.job);
        line.text("method", self.method);
        line.text("path", self.path);
        line.maybe("endpoint", self.endpoint);
        line.maybe("credential", self.credential);
        match self.status {
            Some(status) => line.number("status", u64::from(status)),
            None => line.maybe("status", None),
        }
        line.text("outcome", self.outcome.as_str());
        line.maybe("error", self.error);
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.number("proxy_us", self.proxy_us);
        line.number("upstream_us", self.upstream_us);
        line.number("attempts", u64::from(self.attempts));
        line.maybe("trace_id", self.trace_id);
        line.end();
    }
}

/// Takes access lines. Clones share one queue and one writer.
#[derive(Clone)]
pub struct AccessLog {
    shared: Arc<Shared>,
}

struct Shared {
    style: (Format, Paint),
    queue: Mutex<Queue>,
    /// Told when the queue stops being empty, when it is long, and when it is closed.
    filled: Condvar,
    /// Told when the writer has ended.
    ended: Condvar,
    dropped: Counter,
}

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    state: State,
}

#[derive(Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Closing,
    Ended,
}

thread_local! {
    /// The line under construction of this thread, used again for every request.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Starts the writer towards standard error; `dropped` counts lines that found the queue full.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn to_stderr(format: Format, dropped: Counter) -> std::io::Result<Self> {
        Self::start((format, super::log::paint_for_stderr()), dropped, std::io::stderr())
    }

    fn start(style: (Format, Paint), dropped: Counter, sink: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared =
            Arc::new(Shared { style, queue: Mutex::default(), filled: Condvar::new(), ended: Condvar::new(), dropped });
        let writer = shared.clone();
        std::thread::Builder::new().name("access-log".into()).spawn(move || writer.run(sink))?;
        Ok(Self { shared })
    }

    /// Queues one line. Never waits for the writer.
    pub fn write(&self, access: &Access<'_>) {
        SCRATCH.with_borrow_mut(|line| {
            line.clear();
            access.push(line, self.shared.style);
            self.shared.offer(line);
        });
    }

    /// Writes what is queued and ends the writer. Blocks for at most 2 s; later lines are dropped.
    pub fn close(&self) {
        let mut queue = self.shared.queue();
        if queue.state == State::Open {
            queue.state = State::Closing;
        }
        self.shared.filled.notify_one();
        let wait = self.shared.ended.wait_timeout_while(queue, CLOSE_LIMIT, |queue| queue.state != State::Ended);
        drop(wait.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock; a poisoned queue is a whole one.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.state != State::Open || queue.bytes.len() + line.len() > QUEUE_LIMIT {
            drop(queue);
            self.dropped.inc();
            return;
        }
        let before = queue.bytes.len();
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        let after = queue.bytes.len();
        drop(queue);
        if before == 0 || (before < GATHERED && after >= GATHERED) {
            self.filled.notify_one();
        }
    }

    /// The writer: takes everything that is queued, writes it in one go, and so on until closed.
    fn run(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            let (lines, state) = self.take(&mut batch);
            if !batch.is_empty() && sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
                self.dropped.inc_by(lines);
            }
            if state != State::Open {
                break;
            }
        }
        self.queue().state = State::Ended;
        self.ended.notify_all();
    }

    /// Waits for lines and swaps them for the written, now empty, batch.
    fn take(&self, batch: &mut Vec<u8>) -> (u64, State) {
        batch.clear();
        let empty = |queue: &mut Queue| queue.bytes.is_empty() && queue.state == State::Open;
        let queue = self.filled.wait_while(self.queue(), empty).unwrap_or_else(PoisonError::into_inner);
        let few = |queue: &mut Queue| queue.bytes.len() < GATHERED && queue.state == State::Open;
        let (mut queue, _) = self.filled.wait_timeout_while(queue, GATHER, few).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut queue.bytes, batch);
        let state = if queue.state == State::Open { State::Open } else { State::Closing };
        (std::mem::take(&mut queue.lines), state)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn access() -> Access<'static> {
        Access {
            at: Timestamp { seconds: 1_795_510_800, nanos: 123_000_000 },
            route: Some("orders"),
            tenant: Some("m1"),
            client: None,
            job: None,
            method: "GET",
            path: "/v2/orders",
            endpoint: None,
            credential: Some("partner-key"),
            status: Some(200),
            outcome: Outcome::Success,
            error: None,
            bytes_in: 0,
            bytes_out: 512,
            proxy_us: 87,
            upstream_us: 20_345,
            attempts: 1,
            trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        }
    }

    /// Keeps what was written; waits for a go-ahead before the first write when it has a gate.
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        gate: Option<mpsc::Receiver<()>>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if let Some(gate) = self.gate.take() {
                let _ = gate.recv();
            }
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(format: Format, accesses: &[Access<'_>]) -> String {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Sink { written: written.clone(), gate: None };
        let log = AccessLog::start((format, Paint::Plain), Counter::default(), sink).unwrap();
        accesses.iter().for_each(|access| log.write(access));
        log.close();
        let bytes = written.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_line_has_the_documented_fields_in_order() {
        assert_eq!(
            written(Format::Json, &[access()]),
            concat!(
                r#"{"ts":"2026-11-24T09:00:00.123Z","level":"info","msg":"access","route":"orders","tenant":"m1","client":null,"#,
                r#""job":null,"method":"GET","path":"/v2/orders","endpoint":null,"credential":"partner-key","status":200,"#,
                r#""outcome":"2xx","error":null,"bytes_in":0,"bytes_out":512,"proxy_us":87,"upstream_us":20345,"attempts":1,"#,
                r#""trace_id":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
                "\n"
            )
        );
        assert_eq!(
            written(Format::Text, &[Access { trace_id: None, ..access() }]),
            "2026-11-24T09:00:00.123Z info  access route=orders tenant=m1 method=GET path=/v2/orders \
             credential=partner-key status=200 outcome=2xx bytes_in=0 bytes_out=512 proxy_us=87 upstream_us=20345 attempts=1\n"
        );
    }

    #[test]
    fn a_hostile_path_stays_in_its_line() {
        let hostile = Access { path: "/a\n{\"forged\":1}\x1b[2J", status: None, ..access() };
        let out = written(Format::Json, &[hostile, access()]);
        assert_eq!(out.lines().count(), 2);
        let line: serde_json::Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
        assert_eq!(line["path"], "/a\n{\"forged\":1}\x1b[2J");
        assert_eq!(line["status"], serde_json::Value::Null);
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_never_time() {
        let (go, gate) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let dropped = Counter::default();
        let sink = Sink { written: written.clone(), gate: Some(gate) };
        let log = AccessLog::start((Format::Json, Paint::Plain), dropped.clone(), sink).unwrap();
        let mut line = Vec::new();
        access().push(&mut line, (Format::Json, Paint::Plain));
        let offered = 3 * QUEUE_LIMIT / line.len(); // one batch with the writer, one queue full, one too many
        (0..offered).for_each(|_| log.write(&access()));
        assert!(dropped.get() > 0);
        go.send(()).unwrap();
        log.close();
        let kept = written.lock().unwrap().iter().filter(|b| **b == b'\n').count();
        assert_eq!(kept as u64 + dropped.get(), offered as u64);
        log.write(&access());
        assert_eq!(kept as u64 + dropped.get(), offered as u64 + 1, "a closed log drops and counts");
    }
}
