//! The stories on a cluster of the user's own, which is afterwards as it was before.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

use super::{
    Images,
    foreign::{Foreign, MADE, RUN},
    preflight,
};
use crate::{
    Site,
    stories::{Stage, Tell},
};

/// The namespaces, each with the run's name at the end.
pub(super) const NAMESPACES: [&str; 5] = ["probe", "shop", "first", "web", "queue"];

/// More than the kubectl that removes things takes at most.
const REMOVAL: Duration = Duration::from_mins(6);

pub(super) async fn play(context: &str, images: Images, tell: &dyn Tell, json: bool) -> Result<()> {
    let begin = Instant::now();
    let mut interrupts = Interrupts::listen()?;
    let ready = async {
        let site = Foreign::find(context, images).await?;
        preflight::check(&site).await?;
        anyhow::Ok(site)
    };
    let site = tokio::select! {
        ready = ready => ready?,
        () = interrupts.next() => bail!("it was interrupted, and had made nothing yet"),
    };
    let stage = Stage { cluster: &site, backout: None, tell, suffix: format!("-{}", site.run) };
    let told = tokio::select! {
        told = tell_all(&stage, json) => match told {
            Err(error) => Err(anyhow!("{error:#}\n{}", seen(&stage).await)),
            Ok(()) => Ok(()),
        },
        () = interrupts.next() => Err(anyhow!("it was interrupted")),
    };
    tell.event("removing what the demo made");
    let removed = remove(&site).await;
    if removed.is_ok() {
        tell.claim("nothing that the demo made is left");
    }
    match (told, removed) {
        (Err(error), Err(left)) => Err(anyhow!("{error:#}\n{left:#}")),
        (Err(error), Ok(())) | (Ok(()), Err(error)) => Err(error),
        (Ok(()), Ok(())) => {
            let seconds = begin.elapsed().as_secs_f64();
            tell.title(&format!("All told was checked against the API server. {seconds:.0} s."));
            Ok(())
        }
    }
}

async fn tell_all(stage: &Stage<'_, Foreign>, json: bool) -> Result<()> {
    let site = stage.cluster;
    let soak = &site.setting().annotations[backout_model::names::POLICY_SOAK];
    stage.tell.title(&format!(
        "The cluster is that of the context {}, {}. The namespaces' names end in {};\n\
         their annotations ask for a soak of {soak}. The clients below are the real ones, and know nothing of Backout.",
        site.context, site.server, stage.suffix
    ));
    super::define(site, "create").await.context("the kind of resource that the stories use")?;
    preflight::asked(stage).await?;
    super::all(stage, json).await
}

/// What a person would look at first.
async fn seen(stage: &Stage<'_, Foreign>) -> String {
    let mut seen = String::new();
    for name in NAMESPACES.map(|name| format!("{name}{}", stage.suffix)) {
        let get = ["-n", &name, "get", "releases.backout.dev,pods,events"];
        let output = stage.cluster.kubectl().run(&get).await;
        if let Some(output) = output.ok().filter(|output| !output.stdout.is_empty()) {
            seen.extend([format!("\nnamespace {name}:\n"), output.stdout]);
        }
    }
    seen
}

/// Removes what bears the run's label, and looks whether anything is left.
async fn remove(site: &Foreign) -> Result<()> {
    let selector = format!("{RUN}={}", site.run);
    let removal = async {
        let delete = ["delete", MADE, "--selector", &selector, "--timeout=5m"];
        site.kubectl().run(&delete).await?.success()?;
        let get = ["get", MADE, "--selector", &selector, "--output=name"];
        let left = site.kubectl().run(&get).await?.success()?.stdout;
        ensure!(left.is_empty(), "there still are\n{left}");
        Ok(())
    };
    let removed =
        timeout(REMOVAL, removal).await.unwrap_or_else(|_| Err(anyhow!("the server does not answer")));
    removed.with_context(|| {
        format!("not all that the demo made is gone. Remove it by hand:\n{}\n", by_hand(site, &selector))
    })
}

/// What the user types to remove what bears this label.
pub(super) fn by_hand(site: &Foreign, selector: &str) -> String {
    format!("    kubectl --context '{}' delete {MADE} --selector {selector}", site.context)
}

/// What ends the demo before its time.
struct Interrupts([Signal; 3]);

impl Interrupts {
    fn listen() -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [first, second, third] = kinds.map(signal);
        Ok(Self([first?, second?, third?]))
    }

    async fn next(&mut self) {
        let [first, second, third] = &mut self.0;
        tokio::select! {
            _ = first.recv() => {}
            _ = second.recv() => {}
            _ = third.recv() => {}
        }
    }
}
