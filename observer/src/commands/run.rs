//! `observer run`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use super::signals::{self, Held};
use crate::agent::{self, Inbox, Sink, Stop};
use crate::capture::{Capture, realtime_offset_ns};
use crate::cli::{RunArgs, SurfaceArgs};
use crate::event::Event;
use crate::exposition::auth::Auth;
use crate::exposition::health::{Health, Rounds};
use crate::exposition::listen;
use crate::exposition::plugins::Plugins;
use crate::exposition::server::{self, Access, Bound, Limits, Pages, Readiness};
use crate::exposition::snapshot::Snapshots;
use crate::host::memory;
use crate::host::selector::Selection;
use crate::kong_admin::KongAdmin;
use crate::metrics::{self, ConfigAges, KongNode, MAX_GATEWAYS, MAX_SERVICES, MAX_STATUSES, OTHER, ProcessMetrics};
use crate::pipeline::{Counting, Following, Reconfiguration};
use crate::priority;
use crate::privileges::{self, Account};
use crate::progress::during;
use crate::reload::{self, InUse, Message, Outlets};
use crate::resolver;
use crate::shards;
use crate::tail::Hub;

/// Threads that serve: a scrape is encoded on one while another answers.
const SERVING_THREADS: usize = 2;

/// Runs until SIGINT or SIGTERM.
///
/// What takes root comes first: addresses, files, the kernel part. Then it is given up, and only then are threads
/// started and strangers' bytes read.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let signals = Held::hold(signals::ENDING.into_iter().chain([Signal::SIGHUP]))?;
    let surface = &args.surface;
    if !surface.insecure {
        listen::check_exposed(&surface.listen, &surface.allow, surface.auth_file.is_some())?;
    }
    let account = args.privileges.account()?;
    let in_use = super::load(&args.config)?;
    let plugins = Arc::new(plugins(surface, &in_use, account.as_ref())?);
    let mut counting = super::counting(&args.config, &in_use, realtime_offset_ns());
    let registry = counting.metrics().registry().clone();
    let (snapshots, tail) = (Snapshots::new(counting.metrics().view()), Hub::new(&registry));
    counting.tell(tail.wanted());
    registry.register(Box::new(ProcessMetrics::default())).context("cannot tell of the observer's own process")?;
    metrics::register_info(&registry, &surface.labels);
    let auth = surface.auth_file.as_deref().map(|file| Auth::open(file, &registry)).transpose()?;
    let access = Access { allow: surface.allow.clone(), trusted: surface.trust_proxy.clone() };
    let listeners = server::bind(&surface.listen, &access)?;
    let selection = Selection::new(args.gateways.gateways.clone());
    let capture = during("attaching the kernel part", || Capture::start(selection.clone()))?;
    let usual_priority = priority::raise();
    privileges::give_up(account.as_ref())?;

    let (readiness, is_ready) = watch::channel(Readiness::Waiting("the first look at the host".into()));
    let rounds = Rounds::default();
    let pages = Pages {
        registry,
        readiness: is_ready,
        health: Health::new(rounds.clone()),
        text: super::text_options(&args.config),
        dialects: args.config.dialects.iter().map(|spoken| spoken.dialect).collect(),
        auth: auth.map(Arc::new),
        snapshots,
        tail: Arc::clone(&tail),
        plugins: Arc::clone(&plugins),
    };
    let wanted = Wanted::of(&counting);
    let threads = usize::from(args.threads.threads);
    let following =
        shards::following(counting, threads, keep_nothing).context("cannot start the pipeline's threads")?;
    let switched = Switched { following, threads, plugins, tail, rounds, seen: 0, has_told_limit: false };
    let observer = Observer::start(capture, selection, switched, readiness)?;
    usual_priority.restore();
    privileges::keep_reading_files()?;
    serving_threads()?.block_on(async {
        observer.follow(background(in_use, super::kong_admin(&args.config), wanted)?);
        serve(listeners, pages, observer, signals).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is enabled, and the services that can be. Its state is to be written by `account`.
fn plugins(surface: &SurfaceArgs, in_use: &InUse, account: Option<&Account>) -> Result<Plugins> {
    let services = in_use.sourced.config().service_keys();
    let plugins = Plugins::open(surface.state_dir.as_deref(), surface.start_disabled, services)?;
    if let Some(account) = account {
        plugins.give_to(account)?;
    }
    Ok(plugins)
}

/// They read strangers' bytes, with no privilege left.
fn serving_threads() -> Result<Runtime> {
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    threads.worker_threads(SERVING_THREADS).enable_all().on_thread_start(keep_nothing);
    threads.build().context("cannot start the serving threads")
}

fn keep_nothing() {
    if let Err(error) = privileges::keep_nothing() {
        log::error!("a thread that reads strangers' bytes keeps its privileges: {error}");
    }
}

/// The pipeline's thread.
struct Observer {
    thread: JoinHandle<()>,
    inbox: Sender<Inbox>,
    end: oneshot::Receiver<Result<()>>,
    stop: Stop,
}

impl Observer {
    /// Starts it; it begins when it gets its inbox.
    fn start(
        capture: Capture,
        selection: Selection,
        mut sink: Switched,
        readiness: watch::Sender<Readiness>,
    ) -> Result<Observer> {
        let (stop, (inbox, given), (ended, end)) = (Stop::default(), channel(), oneshot::channel());
        let thread = thread::Builder::new().name("pipeline".into()).spawn({
            let stop = stop.clone();
            move || {
                let Ok(inbox) = given.recv() else { return };
                let ready = || drop(readiness.send(Readiness::Ready));
                // The server may have ended first.
                let _ = ended.send(agent::observe(capture, &selection, &inbox, &mut sink, &stop, ready));
            }
        })?;
        Ok(Observer { thread, inbox, end, stop })
    }

    fn follow(&self, inbox: Inbox) {
        // A thread that has ended tells why by its result.
        let _ = self.inbox.send(inbox);
    }
}

/// Until a signal, or until the pipeline ends by itself.
async fn serve(listeners: Vec<Bound>, pages: Pages, observer: Observer, signals: Held) -> Result<()> {
    let Observer { thread, mut end, stop, .. } = observer;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    signals.release()?;
    let mut result = None;
    let tail = Arc::clone(&pages.tail);
    let shutdown = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            early = &mut end => result = early.ok(),
        }
        stop.ask();
        tail.close();
    };
    for listener in &listeners {
        log::info!("serving {listener}");
    }
    server::serve(listeners, pages, Limits::default(), shutdown).await?;
    let result = match result {
        Some(result) => result,
        None => end.await.unwrap_or(Ok(())),
    };
    thread.join().map_err(|_| anyhow::anyhow!("the pipeline's thread panicked; its message is above"))?;
    result
}

/// What the pipeline asks of those who look after names and configuration.
struct Wanted {
    names: Vec<String>,
    ages: ConfigAges,
    node: Option<KongNode>,
}

impl Wanted {
    fn of(counting: &Counting) -> Wanted {
        let (names, metrics) = (counting.names().map(str::to_owned).collect(), counting.metrics());
        Wanted { names, ages: metrics.config_ages(), node: metrics.kong_node() }
    }
}

/// Starts what asks for names and looks after the configuration.
fn background(in_use: InUse, kong_admin: Option<KongAdmin>, wanted: Wanted) -> Result<Inbox> {
    let (sender, notices) = channel();
    let (resolver, first_names) = resolver::start(wanted.names, sender.clone());
    let outlets = Outlets { notices: sender, resolver: resolver.clone(), ages: wanted.ages };
    let messages = reload::start(in_use, outlets);
    if let Some(kong_admin) = kong_admin {
        if let Some(node) = wanted.node {
            kong_admin.clone().tell(node);
        }
        kong_admin.watch(messages.clone());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while hangup.recv().await.is_some() && messages.send(Message::Asked).is_ok() {} });
    Ok(Inbox { notices, first_names, resolver })
}

/// A pipeline that counts what is enabled when an event is taken.
struct Switched {
    following: Box<dyn Following + Send>,
    threads: usize,
    plugins: Arc<Plugins>,
    tail: Arc<Hub>,
    rounds: Rounds,
    /// The switch's version.
    seen: u64,
    has_told_limit: bool,
}

impl Sink for Switched {
    fn take(&mut self, event: &Event<'_>) {
        if let Some(enabled) = self.plugins.switch().changed(&mut self.seen) {
            self.following.counting_mut().enable(enabled);
        }
        self.following.handle(event);
    }

    fn reconfigure(&mut self, mut new: Reconfiguration) {
        self.plugins.know(std::mem::take(&mut new.services));
        self.following.reconfigure(new);
        log::info!("a new configuration is in use");
    }

    fn round(&mut self) -> Result<()> {
        self.rounds.add();
        self.following.publish();
        let counting = self.following.counting_mut();
        if !self.has_told_limit && counting.metrics().limited() > 0 {
            self.has_told_limit = true;
            log::warn!(
                "a limit of series is reached ({MAX_SERVICES} services, {MAX_STATUSES} statuses of each, {MAX_GATEWAYS} \
                 gateways): the rest counts as \"{OTHER}\", as much as observer_series_limited_total says"
            );
        }
        self.tail.send(counting.take_entries());
        for process in counting.take_unread_processes() {
            log::warn!(
                "process {process} speaks TLS that cannot be read: its TLS library's functions were not found, or had no \
                 probes yet; its connections are counted in observer_tls_unreadable_connections"
            );
        }
        Ok(())
    }

    fn gateways(&self) -> Option<usize> {
        Some(self.following.counting().gateways())
    }

    fn resident_bytes_max(&self) -> u64 {
        memory::resident_bytes_max(self.threads)
    }
}
