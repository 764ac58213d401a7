//! The demo: a cluster, Backout in it, and the stories one after the other.

use std::{process::ExitCode, time::Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::{
    Backout, BackoutOptions, Cluster, Options, User,
    components::Component,
    stories::{self, Quiet, Report, Screen, Stage, Tell},
};

/// Starts a Kubernetes cluster on loopback addresses, installs Backout, and shows what it does.
#[derive(Clone, Copy, Debug, Parser)]
#[command(name = "cargo demo")]
pub struct Args {
    /// Print one JSON object per story instead of telling it.
    #[arg(long)]
    json: bool,

    /// Leave the cluster running afterwards, to play with; Ctrl-C ends it.
    #[arg(long)]
    keep: bool,
}

/// Tells the stories. The exit status is 0 only if everything told was true.
pub fn run(args: Args) -> ExitCode {
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The demo cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let (cluster, backout) = tokio::select! {
            played = play(args) => played?,
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
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn play(args: Args) -> Result<(Cluster, Backout)> {
    let begin = Instant::now();
    let screen = Screen::default();
    let tell: &dyn Tell = if args.json { &Quiet } else { &screen };
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
    let told = all(&stage, args.json).await;
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
    let file = Stage::file("widgets.yaml");
    cluster.kubectl().run(&["apply", "-f", &file]).await?.success()?;
    let established = ["wait", "--for=condition=Established", "crd/widgets.demo.example", "--timeout=30s"];
    cluster.kubectl().run(&established).await?.success()?;
    Ok(())
}

async fn all(stage: &Stage<'_>, json: bool) -> Result<()> {
    print(&stories::shop(stage).await.context("story 1 or 2")?, json)?;
    print(&[stories::failed_install(stage).await.context("story 3")?], json)?;
    print(&stories::helm(stage).await.context("story 4")?, json)?;
    print(&[stories::autoscaler(stage).await.context("story 5")?], json)
}

fn print(reports: &[Report], json: bool) -> Result<()> {
    for report in reports.iter().filter(|_| json) {
        println!("{}", serde_json::to_string(report)?);
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
