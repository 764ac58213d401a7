//! The demo: a cluster, Backout in it, and the stories one after the other.

mod abroad;
mod foreign;
mod images;
mod preflight;

use std::{
    io::{Write as _, stdout},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, builder::NonEmptyStringValueParser};
use serde_json::Value;

pub use self::images::Images;
use self::images::Override;
use crate::{
    Backout, BackoutOptions, Cluster, Options, Site, User,
    components::Component,
    stories::{self, Quiet, Report, Screen, Stage, Tell},
};

/// Starts a Kubernetes cluster on loopback addresses, installs Backout, and shows what it does.
///
/// With --context it shows the same on a cluster of yours, where Backout is installed, and removes what it made.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo demo")]
pub struct Args {
    /// Print one JSON object per story instead of telling it.
    #[arg(long)]
    json: bool,

    /// Leave the cluster running afterwards, to play with; Ctrl-C ends it.
    #[arg(long)]
    keep: bool,

    /// Play on the cluster of this context of your kubeconfig, with Backout installed there.
    ///
    /// The kubeconfig is the one of KUBECONFIG, else ~/.kube/config, and is only read. Its user must have the rights of an
    /// administrator: alice and the autoscaler of the stories are impersonated. The demo makes namespaces with names of
    /// their own, a kind of custom resource and a cluster role, and removes all of it in the end, also when it fails and on
    /// Ctrl-C. The policy of its namespaces is set by their annotations. The clients are the kubectl and Helm that this
    /// project builds, not those in your PATH.
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "keep")]
    context: Option<String>,

    /// Another image for the stories on a cluster of yours, such as ready=my.registry/pause:3.10; may be repeated.
    ///
    /// The meanings: `ready` runs without arguments and is ready at once (registry.k8s.io/pause:3.10); `missing` does not
    /// exist (a tag of the repository of `ready` that is not there); the program of `crash` ends at once, again and again
    /// (docker.io/library/hello-world:latest); `no-command` lacks the program /opt/first/serve (as `ready`).
    #[arg(long = "image", value_name = "MEANING=IMAGE", requires = "context")]
    images: Vec<Override>,
}

/// Tells the stories. The exit status is 0 only if everything told was true.
pub fn run(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The demo cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let screen = Screen::default();
    let tell: &dyn Tell = if args.json { &Quiet } else { &screen };
    let outcome = runtime.block_on(async {
        match &args.context {
            Some(context) => abroad::play(context, Images::real(&args.images), tell, args.json).await,
            None => play(args, tell).await,
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(args: &Args, tell: &dyn Tell) -> Result<()> {
    let (cluster, backout) = tokio::select! {
        told = start_and_tell(tell, args.json) => told?,
        _ = tokio::signal::ctrl_c() => {
            anyhow::bail!("it was interrupted; everything it had started has ended");
        }
    };
    if args.keep {
        invite(&cluster).await?;
        tokio::signal::ctrl_c().await?;
    }
    drop(backout);
    cluster.stop().await
}

async fn start_and_tell(tell: &dyn Tell, json: bool) -> Result<(Cluster, Backout)> {
    let begin = Instant::now();
    let cluster = Cluster::start(Options::default()).await?;
    let backout =
        Backout::install(&cluster, BackoutOptions { leader_elect: true, ..BackoutOptions::default() })
            .await?;
    definitions(&cluster).await?;
    tell.title(&format!(
        "A Kubernetes cluster with Backout in it is up after {:.0} s.\n\
         The clients below are the real ones, and know nothing of Backout.",
        begin.elapsed().as_secs_f64()
    ));
    let stage = Stage { cluster: &cluster, backout: Some(&backout), tell, suffix: String::new() };
    let told = all(&stage, json).await;
    if let Err(error) = told {
        let logs = cluster.keep_for_inspection();
        return Err(error.context(logs));
    }
    tell.title(&format!(
        "All told was checked against the API server. {:.0} s.",
        begin.elapsed().as_secs_f64()
    ));
    Ok((cluster, backout))
}

/// The kind of custom resource that the stories use.
pub async fn definitions(cluster: &Cluster) -> Result<()> {
    define(cluster, "apply").await
}

async fn define<C: Site>(site: &C, verb: &str) -> Result<()> {
    let setting = site.setting();
    let text = std::fs::read_to_string(setting.files.join("widgets.yaml"))?;
    let mut objects: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    for object in &mut objects {
        for (label, value) in &setting.labels {
            object["metadata"]["labels"][label] = value.as_str().into();
        }
    }
    let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    site.kubectl().stdin(list.to_string()).run(&[verb, "-f", "-"]).await?.success()?;
    let established = ["wait", "--for=condition=Established", "crd/widgets.demo.example", "--timeout=30s"];
    site.kubectl().run(&established).await?.success().map(drop)
}

async fn all<C: Site>(stage: &Stage<'_, C>, json: bool) -> Result<()> {
    print(&stories::shop(stage).await.context("story 1 or 2")?, json)?;
    print(&[stories::failed_install(stage).await.context("story 3")?], json)?;
    print(&stories::helm(stage).await.context("story 4")?, json)?;
    print(&[stories::autoscaler(stage).await.context("story 5")?], json)
}

fn print(reports: &[Report], json: bool) -> Result<()> {
    for report in reports.iter().filter(|_| json) {
        writeln!(stdout(), "{}", serde_json::to_string(report)?)?;
    }
    ensure!(reports.iter().all(|report| report.exact), "not every object is as it was before, see above");
    Ok(())
}

async fn invite(cluster: &Cluster) -> Result<()> {
    let kubectl = cluster.components().path(Component::Kubectl);
    println!(
        "The cluster stays up until Ctrl-C. In another terminal:\n\n    \
         export KUBECONFIG={}\n    export PATH={}:$PATH\n    \
         kubectl get releases -A\n    \
         kubectl -n shop set image deployment/shop shop=registry.example/missing:3   # and watch it come back\n    \
         kubectl -n shop get release shop --watch\n",
        cluster.kubeconfig(User::Admin).await?.display(),
        kubectl.parent().unwrap_or(&kubectl).display(),
    );
    Ok(())
}
