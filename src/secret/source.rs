//! The one loop over the secrets directory: events, polling and reading become updates.
//!
//! Used by `reload` alone. It also tells when the configuration file was touched, because both
//! share one inotify instance. Reading runs on a blocking thread; [`Source::next`] may be
//! dropped at any point and called again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::dir::{self, Depth, Reader, Stat, passed, remarks_at_start};
use super::set::SecretSet;
use super::wanted::Wanted;
use super::watch::{Gathered, Mode, Shared, Subject, Touch, Watch, WatchError};

/// Of so many polls one reads every file.
const FULL_EVERY: u32 = 60;
/// After lost events everything is read, but not more often than this.
const FULL_AT_MOST: Duration = Duration::from_secs(60);
/// First and longest wait before something unsettled is looked at again.
const SOON: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Between two readings there is at least so much time.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// What one look at a file costs, about; entering a directory costs [`FOLDER`] times as much. Counted and not measured,
/// so that a busy machine does not make polls rare.
const LOOK: Duration = Duration::from_micros(2);
const FOLDER: u32 = 4;
/// Between two polls there is at least so many times what one costs: where every directory sends events, polling is a
/// net that costs next to nothing however many files there are ...
const REST_WITH_EVENTS: u32 = 250;
/// ... and where some do not, it takes a twentieth of one processor at most.
const REST_WITHOUT_EVENTS: u32 = 20;
/// How often one job reads again because new directories came under watch.
const ROUNDS: usize = 3;

/// How to learn of changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// File events beside polling.
    pub events: Events,
    /// How often to look without an event; `None`: never.
    pub poll: Option<Duration>,
    /// A file to watch beside the secrets: `proxy.toml`.
    pub config: Option<PathBuf>,
}

/// Whether file events are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Events {
    /// If they can be had.
    Auto,
    /// `watch = "poll"`
    Off,
}

/// What happened.
#[derive(Debug)]
pub enum Update {
    /// A new generation.
    Secrets(SecretSet),
    /// The configuration file may have changed; its text decides.
    ConfigTouched,
    /// Something to be logged once.
    Warning(Warning),
}

/// What the operator should know; no part of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// About reading.
    #[error(transparent)]
    Reading(#[from] dir::Warning),
    /// About events.
    #[error(transparent)]
    Watching(#[from] WatchError),
    /// About files found at start.
    #[error("{0}")]
    AtStart(String),
}

/// Reads and watches one secrets directory.
pub struct Source {
    engine: Arc<Mutex<Engine>>,
    shared: Arc<Shared>,
    poll: Option<Duration>,
    running: Option<JoinHandle<Done>>,
    backlog: VecDeque<Update>,
    next_poll: Option<Instant>,
    soon: Option<Instant>,
    /// Of the poll that runs.
    polling: bool,
    patience: Duration,
    polls: u32,
    last_full: Instant,
}

/// What lives on the blocking thread.
struct Engine {
    reader: Reader,
    watch: Watch,
    config: Option<(PathBuf, Option<Stat>)>,
    said: Option<WatchError>,
}

/// Something for the engine to do.
struct Job {
    gathered: Gathered,
    depth: Option<Depth>,
}

/// What came out of a job.
#[derive(Default)]
struct Done {
    set: Option<SecretSet>,
    unsettled: bool,
    settles_in: Option<Duration>,
    /// About what a poll costs.
    cost: Duration,
    /// Whether every directory sends events.
    watched: bool,
    config: bool,
    warnings: Vec<Warning>,
}

impl Source {
    /// Watches, then reads for the first time. Blocks for as long as that reading takes; must be
    /// called within a tokio runtime. Warnings come out of [`Source::next`].
    pub fn start(reader: Reader, settings: Settings) -> (Self, SecretSet) {
        let (watch, warning) = match settings.events {
            Events::Auto => Watch::start(),
            Events::Off => (Watch::off(), None),
        };
        let shared = watch.shared();
        // A bare name such as `proxy.toml` has no directory that could be watched.
        let config = settings.config.map(|path| (std::path::absolute(&path).unwrap_or(path), None));
        let mut engine = Engine { reader, watch, config, said: None };
        engine.config_moved();
        let mut done = Done::default();
        done.warnings.extend(warning.map(Warning::Watching));
        engine.watch_the_way(&mut done);
        engine.reader.listen();
        engine.read(Depth::Full, &mut done);
        engine.rewatch(&mut done);
        done.warnings.extend(remarks_at_start(&engine.reader).into_iter().map(Warning::AtStart));
        done.set = None;
        (done.cost, done.watched) = (engine.cost(), engine.watch.is_complete());
        let set = engine.reader.current();
        let now = Instant::now();
        let mut source = Self {
            engine: Arc::new(Mutex::new(engine)),
            shared,
            poll: settings.poll,
            running: None,
            backlog: VecDeque::new(),
            next_poll: None,
            soon: None,
            polling: true,
            patience: SOON.0,
            polls: 0,
            last_full: now,
        };
        source.absorb(done, now);
        (source, set)
    }

    /// Waits for the next change. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Update {
        loop {
            if let Some(update) = self.backlog.pop_front() {
                return update;
            }
            if self.running.is_some() {
                self.finish().await;
                continue;
            }
            let now = Instant::now();
            match self.wake() {
                Some(at) if at <= now => {
                    let job = self.job(now);
                    self.begin(job);
                }
                Some(at) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(at.into()) => {}
                        () = self.shared.changed.notified() => {}
                    }
                }
                None => self.shared.changed.notified().await,
            }
        }
    }

    /// Reads every file now, as SIGHUP asks for, and says what is there.
    pub async fn read_all(&mut self) -> SecretSet {
        self.settle_running().await;
        let gathered = self.shared.take();
        self.begin(Job { gathered, depth: Some(Depth::Full) });
        self.finish().await;
        self.backlog.retain(|update| !matches!(update, Update::Secrets(_)));
        lock(&self.engine).reader.current()
    }

    /// Other names are wanted from now on: reads them and says what is there.
    pub async fn want(&mut self, wanted: Wanted) -> SecretSet {
        self.settle_running().await;
        lock(&self.engine).reader.want(wanted);
        self.read_all().await
    }

    /// What the last reading found; one that is under way is awaited.
    pub async fn current(&mut self) -> SecretSet {
        self.settle_running().await;
        lock(&self.engine).reader.current()
    }

    /// How changes are noticed, for the metric. Waits while a reading is under way.
    pub fn mode(&self) -> Mode {
        lock(&self.engine).watch.mode()
    }

    async fn settle_running(&mut self) {
        if self.running.is_some() {
            self.finish().await;
        }
    }

    /// When something is to be done without a further event.
    fn wake(&self) -> Option<Instant> {
        let (secrets, config) = self.shared.due();
        [secrets, config, self.next_poll, self.soon].into_iter().flatten().min()
    }

    /// What is to be done now.
    fn job(&mut self, now: Instant) -> Job {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let (secrets, _) = self.shared.due();
        let polled = is_due(self.next_poll);
        let mut depth = (polled || is_due(secrets) || is_due(self.soon)).then_some(Depth::Changed);
        if polled {
            self.polls += 1;
            (self.polling, self.next_poll) = (true, None);
        }
        // A burst for the secrets that is not over yet stays gathered; one job takes all the same.
        let gathered = self.shared.take();
        if gathered.secrets.due().is_some() {
            depth = depth.or(Some(Depth::Changed));
            self.patience = SOON.0;
        }
        let lost = gathered.overflow && now.saturating_duration_since(self.last_full) >= FULL_AT_MOST;
        if depth.is_some() && (lost || (polled && self.polls.is_multiple_of(FULL_EVERY))) {
            depth = Some(Depth::Full);
            self.last_full = now;
        }
        self.soon = None;
        Job { gathered, depth }
    }

    fn begin(&mut self, job: Job) {
        let engine = self.engine.clone();
        self.running = Some(tokio::task::spawn_blocking(move || lock(&engine).work(job)));
    }

    async fn finish(&mut self) {
        let Some(running) = &mut self.running else { return };
        // A panic while reading costs one reading: the next poll or event tries again.
        let done = running.await.unwrap_or_default();
        self.running = None;
        self.absorb(done, Instant::now());
    }

    fn absorb(&mut self, done: Done, now: Instant) {
        self.backlog.extend(done.warnings.into_iter().map(Update::Warning));
        if std::mem::take(&mut self.polling) {
            self.next_poll = self.poll.map(|every| now + pause(every, done.cost, done.watched));
        }
        if done.config {
            self.backlog.push_back(Update::ConfigTouched);
        }
        if done.unsettled {
            let rest = done.settles_in.unwrap_or(self.patience).min(self.patience);
            self.soon = Some(now + rest.max(LEAST_PAUSE));
            self.patience = (self.patience * 2).min(SOON.1);
        } else {
            self.patience = SOON.0;
        }
        if let Some(set) = done.set {
            self.backlog.retain(|update| !matches!(update, Update::Secrets(_)));
            self.backlog.push_back(Update::Secrets(set));
        }
    }
}

impl Engine {
    fn work(&mut self, job: Job) -> Done {
        let mut done = Done { config: job.gathered.config.due().is_some(), ..Done::default() };
        for (touch, path) in &job.gathered.touches {
            match touch {
                Touch::Written => self.reader.written(path),
                Touch::Closed => self.reader.closed(path),
                Touch::Renamed => self.reader.renamed(path),
            }
        }
        done.config |= self.config_moved();
        if done.config || job.gathered.overflow || !job.gathered.lost.is_empty() {
            self.rewatch(&mut done);
        }
        if let Some(depth) = job.depth {
            self.read(depth, &mut done);
        }
        done.cost = self.cost();
        done.watched = self.watch.is_complete();
        done
    }

    /// Reads, and again when directories came under watch that were not before: what happened
    /// in them between reading and watching sent no event.
    fn read(&mut self, depth: Depth, done: &mut Done) {
        let mut depth = depth;
        for _ in 0..ROUNDS {
            let scan = self.reader.scan(depth, Instant::now());
            (done.unsettled, done.settles_in) = (scan.unsettled, scan.settles_in);
            done.warnings.extend(scan.warnings.into_iter().map(Warning::Reading));
            done.set = scan.set.or(done.set.take());
            if !scan.moved || !self.rewatch(done) || self.reader.was_quiet() {
                break;
            }
            depth = Depth::Changed;
        }
    }

    fn cost(&self) -> Duration {
        let (files, folders) = self.reader.size();
        LOOK * files.saturating_add(folders.saturating_mul(FOLDER))
    }

    /// Watches what is to be watched now; true when a directory is new.
    fn rewatch(&mut self, done: &mut Done) -> bool {
        let places = self.reader.places().collect();
        self.watch_also(places, done)
    }

    /// Before the first reading: the configuration, and the way to the secrets directory.
    fn watch_the_way(&mut self, done: &mut Done) {
        let places = passed(self.reader.dir());
        self.watch_also(places, done);
    }

    fn watch_also(&mut self, places: Vec<dir::Place>, done: &mut Done) -> bool {
        let secrets = places.into_iter().map(|place| (Subject::Secrets, place));
        let config = self.config.iter().flat_map(|(path, _)| passed(path)).map(|place| (Subject::Config, place));
        // The configuration first: where there are too many directories, the last ones are left to polling.
        let updated = self.watch.update(config.chain(secrets));
        if updated.warning.is_some() && updated.warning != self.said {
            self.said.clone_from(&updated.warning);
            done.warnings.extend(updated.warning.map(Warning::Watching));
        }
        updated.added
    }

    /// Whether the configuration file is another than when last asked.
    fn config_moved(&mut self) -> bool {
        let Some((path, seen)) = &mut self.config else { return false };
        let now = Stat::read(path);
        std::mem::replace(seen, now) != now
    }
}

/// How long until the next poll where one costs so much.
fn pause(every: Duration, cost: Duration, watched: bool) -> Duration {
    every.max(cost * if watched { REST_WITH_EVENTS } else { REST_WITHOUT_EVENTS })
}

fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
