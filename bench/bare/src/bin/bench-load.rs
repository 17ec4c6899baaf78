//! The load that wrk cannot make: at a fixed rate (latency counted from the moment its clock lets a request go, whatever those
//! before it are doing), of an exact number of requests, and through CONNECT with TLS inside.
//!
//!     bench-load --to 127.0.0.1:8080 --host NAME [--path /] [--header 'K: V'] [--post BYTES] [--connections N]
//!                [--tls | --connect] [--ca FILE]
//!                --rate PER-SECOND --seconds N  |  --seconds N  |  --requests N [--warm N]
//!
//! With `--requests` it opens all connections, sends the warm-up, prints `ready`, waits for a line, sends exactly so many
//! requests, prints the result, and waits for another line before it closes anything. The result is one line of JSON.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bare::{Failure, Words, client_config};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio_rustls::TlsConnector;

/// The largest head of an answer; more is an error.
const HEAD: usize = 64 * 1024;
/// How long an answer may take. One that takes longer is an error.
const PATIENCE: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// What is sent, and how to get there.
struct Plan {
    to: String,
    host: String,
    request: Vec<u8>,
    connect: bool,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What came of it. Latencies are in microseconds.
#[derive(Default)]
struct Tally {
    latencies: RefCell<Vec<u32>>,
    errors: Cell<u64>,
    first_error: RefCell<Option<String>>,
}

/// Where the next request comes from.
enum Source {
    /// Due ones, put there by the clock's thread.
    Queue { due: RefCell<VecDeque<Instant>>, more: Notify, over: Cell<bool> },
    /// As soon as the one before is answered: so many more, or until a moment.
    Closed { left: Cell<u64>, until: Option<Instant> },
}

impl Source {
    fn closed(left: u64, until: Option<Instant>) -> Rc<Self> {
        Rc::new(Self::Closed { left: Cell::new(left), until })
    }

    /// When the next request was due; `None` when there is none any more.
    async fn next(&self) -> Option<Instant> {
        match self {
            Self::Closed { left, until } => {
                let now = Instant::now();
                let go = left.get() > 0 && until.is_none_or(|until| now < until);
                left.set(left.get().saturating_sub(1));
                go.then_some(now)
            }
            Self::Queue { due, more, over } => loop {
                if let Some(at) = due.borrow_mut().pop_front() {
                    return Some(at);
                }
                if over.get() {
                    more.notify_one(); // the next one that waits ends as well
                    return None;
                }
                more.notified().await;
            },
        }
    }
}

async fn open(plan: &Plan) -> Result<Box<dyn Stream>, Failure> {
    let mut stream = TcpStream::connect(&plan.to).await?;
    stream.set_nodelay(true)?;
    if plan.connect {
        stream.write_all(format!("CONNECT {0}:443 HTTP/1.1\r\nHost: {0}:443\r\n\r\n", plan.host).as_bytes()).await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await?); // the first byte behind it is TLS
        }
        if head.get(9..12) != Some(b"200") {
            return Err(format!("CONNECT: {}", String::from_utf8_lossy(&head)).into());
        }
    }
    Ok(match &plan.tls {
        None => Box::new(stream),
        Some((tls, name)) => Box::new(tls.connect(name.clone(), stream).await?),
    })
}

/// One request and its whole answer, which must be a 200 with a length.
async fn exchange(stream: &mut dyn Stream, request: &[u8], buffer: &mut Vec<u8>) -> Result<(), Failure> {
    stream.write_all(request).await?;
    stream.flush().await?;
    buffer.clear();
    let end = loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err("closed before the end of a head".into());
        }
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if buffer.len() > HEAD {
            return Err("a head without an end".into());
        }
    };
    let head = std::str::from_utf8(&buffer[..end])?;
    if head.get(9..12) != Some("200") {
        return Err(head.lines().next().unwrap_or_default().to_owned().into());
    }
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.ok_or("an answer without Content-Length")?.1.trim().parse()?;
    let mut left = length.checked_sub(buffer.len() - end).ok_or("more than the answer's length")?;
    while left > 0 {
        buffer.clear();
        let read = stream.read_buf(buffer).await?;
        left = left.checked_sub(read).filter(|_| read > 0).ok_or("closed within a body, or more than its length")?;
    }
    Ok(())
}

/// One connection's turn: requests until the source has no more. Gives the connection back, so that it stays open.
async fn work(
    plan: Rc<Plan>,
    source: Rc<Source>,
    tally: Rc<Tally>,
    held: Option<Box<dyn Stream>>,
) -> Option<Box<dyn Stream>> {
    let (mut held, mut buffer) = (held, Vec::with_capacity(16 * 1024));
    while let Some(due) = source.next().await {
        let turn = async {
            let stream = match held.take() {
                Some(stream) => stream,
                None => open(&plan).await?,
            };
            exchange(&mut **held.insert(stream), &plan.request, &mut buffer).await
        };
        let failure = match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(())) => {
                tally.latencies.borrow_mut().push(u32::try_from(due.elapsed().as_micros()).unwrap_or(u32::MAX));
                continue;
            }
            Ok(Err(failure)) => failure.to_string(),
            Err(_) => format!("no answer in {PATIENCE:?}"),
        };
        held = None;
        tally.errors.set(tally.errors.get() + 1);
        tally.first_error.borrow_mut().get_or_insert(failure);
    }
    held
}

type Held = Vec<Option<Box<dyn Stream>>>;

async fn round(plan: &Rc<Plan>, source: &Rc<Source>, tally: &Rc<Tally>, held: Held) -> Held {
    let start = |one| spawn_local(work(Rc::clone(plan), Rc::clone(source), Rc::clone(tally), one));
    let tasks: Vec<JoinHandle<_>> = held.into_iter().map(start).collect();
    let mut back = Held::new();
    for task in tasks {
        back.push(task.await.unwrap_or_default());
    }
    back
}

/// Each connection is opened and used once, so that none is opened while it counts.
async fn warm(plan: &Rc<Plan>, tally: &Rc<Tally>, connections: usize, more: u64) -> Held {
    let mut held = Held::new();
    for _ in 0..connections {
        held.push(work(Rc::clone(plan), Source::closed(1, None), Rc::clone(tally), None).await);
    }
    round(plan, &Source::closed(more, None), tally, held).await
}

/// A thread that sleeps until each moment and says so: tokio's timer knows milliseconds only.
#[allow(clippy::disallowed_methods)] // it has its own thread
fn clock(rate: u64, count: u64) -> mpsc::UnboundedReceiver<Instant> {
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let (begin, step) = (Instant::now(), Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX));
        for turn in 0..count {
            let due = begin + step * u32::try_from(turn).unwrap_or(u32::MAX);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // The sleep's own lateness is this program's, not the proxy's: the request is due now.
            if sender.send(Instant::now()).is_err() {
                return;
            }
        }
    });
    receiver
}

fn report(tally: &Tally, seconds: f64) -> String {
    let mut all = tally.latencies.borrow_mut();
    all.sort_unstable();
    let at = |share: f64| {
        all.get(((all.len() as f64 * share) as usize).min(all.len().saturating_sub(1))).copied().unwrap_or(0)
    };
    let error = tally.first_error.borrow().clone().unwrap_or_default().replace(['"', '\\', '\r', '\n'], " ");
    format!(
        r#"{{"requests":{},"errors":{},"seconds":{seconds:.4},"p50":{},"p90":{},"p99":{},"p999":{},"error":"{error}"}}"#,
        all.len(),
        tally.errors.get(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
    )
}

async fn run(words: &Words, plan: Rc<Plan>) -> Result<(), Failure> {
    let connections = usize::try_from(words.number("connections", 32)?)?;
    let (seconds, exact) = (words.number("seconds", 0)?, words.number("requests", 0)?);
    let tally = Rc::new(Tally::default());
    let held = warm(&plan, &tally, connections, words.number("warm", 0)?).await;
    tally.latencies.borrow_mut().clear(); // errors of the warm-up count, its latencies do not
    let wait = || std::io::stdin().read_line(&mut String::new());
    if exact > 0 {
        println!("ready");
        wait()?;
    }
    let begin = Instant::now();
    let source = match words.number("rate", 0)? {
        0 if exact > 0 => Source::closed(exact, None),
        0 => Source::closed(u64::MAX, Some(begin + Duration::from_secs(seconds))),
        rate => {
            let source =
                Rc::new(Source::Queue { due: RefCell::default(), more: Notify::new(), over: Cell::new(false) });
            let (mut fired, filled) = (clock(rate, rate * seconds), Rc::clone(&source));
            spawn_local(async move {
                let Source::Queue { due, more, over } = &*filled else { return };
                while let Some(at) = fired.recv().await {
                    due.borrow_mut().push_back(at);
                    more.notify_one();
                }
                over.set(true);
                more.notify_one();
            });
            source
        }
    };
    let held = round(&plan, &source, &tally, held).await;
    println!("{}", report(&tally, begin.elapsed().as_secs_f64()));
    if exact > 0 {
        wait()?;
    }
    drop(held);
    Ok(())
}

fn main() -> Result<(), Failure> {
    let words = Words::read()?;
    let host = words.needed("host")?.to_owned();
    let body = usize::try_from(words.number("post", 0)?)?;
    let method = if body > 0 { "POST" } else { "GET" };
    let mut request = format!("{method} {} HTTP/1.1\r\nHost: {host}\r\n", words.value("path").unwrap_or("/"));
    if let Some(header) = words.value("header") {
        request += &format!("{header}\r\n");
    }
    if body > 0 {
        request += &format!("Content-Length: {body}\r\n");
    }
    let mut request = (request + "\r\n").into_bytes();
    request.extend(std::iter::repeat_n(b'a', body));
    let connect = words.value("connect").is_some();
    let tls = match connect || words.value("tls").is_some() {
        false => None,
        true => Some((
            TlsConnector::from(Arc::clone(&client_config(&words, b"http/1.1")?)),
            ServerName::try_from(host.clone())?,
        )),
    };
    let plan = Rc::new(Plan { to: words.needed("to")?.to_owned(), host, request, connect, tls });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, run(&words, plan))
}
