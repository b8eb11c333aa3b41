//! `observer run`.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::agent::{self, Inbox, Sink, Stop};
use crate::capture::realtime_offset_ns;
use crate::cli::RunArgs;
use crate::event::Event;
use crate::exposition::auth::Auth;
use crate::exposition::listen;
use crate::exposition::plugins::{Plugins, Switch};
use crate::exposition::server::{self, Access, Limits, Pages, Readiness};
use crate::host::selector::Selection;
use crate::kong_admin::KongAdmin;
use crate::metrics::ProcessMetrics;
use crate::pipeline::{Pipeline, Reconfiguration};
use crate::reload::{self, InUse, Message, Outlets};
use crate::resolver;

/// Threads that serve: a scrape is encoded on one while another answers.
const SERVING_THREADS: usize = 2;

/// Runs until SIGINT or SIGTERM.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let surface = &args.surface;
    if !surface.insecure {
        listen::check_exposed(&surface.listen, &surface.allow, surface.auth_file.is_some())?;
    }
    let in_use = super::load(&args.config)?;
    let services = in_use.sourced.config().services.iter().map(|service| Arc::clone(&service.name)).collect();
    let plugins = Plugins::open(surface.state_dir.as_deref(), surface.start_disabled, services)?;
    let pipeline = super::pipeline(&args.config, &in_use, realtime_offset_ns());
    let selection = Selection::new(args.gateways.gateways.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the serving threads")?;
    runtime.block_on(serve(args, selection, in_use, pipeline, Arc::new(plugins)))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(
    args: &RunArgs,
    selection: Selection,
    in_use: InUse,
    pipeline: Pipeline,
    plugins: Arc<Plugins>,
) -> Result<()> {
    let surface = &args.surface;
    let registry = pipeline.metrics().registry();
    registry.register(Box::new(ProcessMetrics::default())).context("cannot tell of the observer's own process")?;
    let auth = surface.auth_file.as_deref().map(|file| Auth::open(file, registry)).transpose()?;
    let access = Access { allow: surface.allow.clone(), trusted: surface.trust_proxy.clone() };
    let listeners = server::bind(&surface.listen, &access).await?;
    let (readiness, is_ready) = watch::channel(Readiness::Waiting("the kernel part to be attached".into()));
    let pages = Pages {
        registry: registry.clone(),
        readiness: is_ready,
        text: super::text_options(&args.config),
        dialects: args.config.dialects.iter().map(|spoken| spoken.dialect).collect(),
        auth: auth.map(Arc::new),
        plugins: Arc::clone(&plugins),
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let inbox = background(in_use, super::kong_admin(&args.config), &pipeline)?;

    let stop = Stop::default();
    let (ended, mut end) = oneshot::channel();
    let observing = thread::Builder::new().name("pipeline".into()).spawn({
        let stop = stop.clone();
        let pipeline = Switched { pipeline, switch: Arc::clone(plugins.switch()), seen: 0 };
        move || {
            // The server may have ended first.
            let _ = ended.send(observe(&selection, &inbox, pipeline, &stop, || {
                let _ = readiness.send(Readiness::Ready);
            }));
        }
    })?;
    let mut result = None;
    let shutdown = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            early = &mut end => result = early.ok(),
        }
        stop.ask();
    };
    for listener in &listeners {
        log::info!("serving {listener}");
    }
    server::serve(listeners, pages, Limits::default(), shutdown).await;
    let result = match result {
        Some(result) => result,
        None => end.await.unwrap_or(Ok(())),
    };
    observing.join().map_err(|_| anyhow::anyhow!("the pipeline's thread panicked; its message is above"))?;
    result
}

/// Starts what asks for names and looks after the configuration.
fn background(in_use: InUse, kong_admin: Option<KongAdmin>, pipeline: &Pipeline) -> Result<Inbox> {
    let (sender, notices) = channel();
    let names = pipeline.names().map(str::to_owned).collect();
    let (resolver, first_names) = resolver::start(names, sender.clone());
    let outlets = Outlets { notices: sender, resolver, ages: pipeline.metrics().config_ages() };
    let messages = reload::start(in_use, outlets);
    if let Some(kong_admin) = kong_admin {
        kong_admin.watch(messages.clone());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move { while hangup.recv().await.is_some() && messages.send(Message::Asked).is_ok() {} });
    Ok(Inbox { notices, first_names })
}

fn observe(
    selection: &Selection,
    inbox: &Inbox,
    mut pipeline: Switched,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<()> {
    agent::observe(selection, inbox, &mut pipeline, stop, ready)
}

/// A pipeline that counts what is enabled when an event is taken.
struct Switched {
    pipeline: Pipeline,
    switch: Arc<Switch>,
    /// The switch's version.
    seen: u64,
}

impl Sink for Switched {
    fn take(&mut self, event: &Event<'_>) {
        if let Some(enabled) = self.switch.changed(&mut self.seen) {
            self.pipeline.enable(enabled);
        }
        self.pipeline.take(event);
    }

    fn reconfigure(&mut self, new: Reconfiguration) {
        Sink::reconfigure(&mut self.pipeline, new);
    }

    fn round(&mut self) -> Result<()> {
        self.pipeline.round()
    }

    fn gateways(&self) -> Option<usize> {
        Sink::gateways(&self.pipeline)
    }
}

impl Sink for Pipeline {
    fn take(&mut self, event: &Event<'_>) {
        self.handle(event);
    }

    fn reconfigure(&mut self, new: Reconfiguration) {
        Pipeline::reconfigure(self, new);
        log::info!("a new configuration is in use");
    }

    fn round(&mut self) -> Result<()> {
        self.publish();
        Ok(())
    }

    fn gateways(&self) -> Option<usize> {
        Some(Pipeline::gateways(self))
    }
}
