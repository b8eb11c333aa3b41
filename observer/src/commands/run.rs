//! `observer run`.

use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::agent::{self, Inbox, Sink, Stop};
use crate::capture::realtime_offset_ns;
use crate::cli::RunArgs;
use crate::event::Event;
use crate::exposition::server::{self, Limits, Pages, Readiness};
use crate::exposition::text;
use crate::host::selector::Selection;
use crate::kong_admin::KongAdmin;
use crate::pipeline::{Pipeline, Reconfiguration};
use crate::reload::{self, InUse, Message, Outlets};
use crate::resolver;

/// Threads that serve: a scrape is encoded on one while another answers.
const SERVING_THREADS: usize = 2;

/// Runs until SIGINT or SIGTERM.
pub fn run(args: &RunArgs) -> Result<ExitCode> {
    let in_use = super::load(&args.config)?;
    let pipeline = super::pipeline(&args.config, &in_use, realtime_offset_ns());
    let selection = Selection::new(args.gateways.gateways.clone());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(SERVING_THREADS)
        .enable_all()
        .build()
        .context("cannot start the serving threads")?;
    runtime.block_on(serve(args, selection, in_use, pipeline))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(args: &RunArgs, selection: Selection, in_use: InUse, pipeline: Pipeline) -> Result<()> {
    let listeners = server::bind(&args.listen).await?;
    let (readiness, is_ready) = watch::channel(Readiness::Waiting("the kernel part to be attached".into()));
    let pages = Pages {
        registry: pipeline.metrics().registry().clone(),
        readiness: is_ready,
        text: text::Options { own_metrics: !args.config.no_own_metrics },
    };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let inbox = background(in_use, super::kong_admin(&args.config), &pipeline)?;

    let stop = Stop::default();
    let (ended, mut end) = oneshot::channel();
    let observing = thread::Builder::new().name("pipeline".into()).spawn({
        let stop = stop.clone();
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
    for address in &args.listen {
        log::info!("serving http://{address}/metrics");
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
    mut pipeline: Pipeline,
    stop: &Stop,
    ready: impl FnOnce(),
) -> Result<()> {
    agent::observe(selection, inbox, &mut pipeline, stop, ready)
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
