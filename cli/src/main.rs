//! `kubectl backout`: what became of a deploy, why, and what to do about it.

mod args;
mod ask;
mod changes;
mod cluster;
mod complete;
mod diff;
mod history;
mod render;
mod status;
mod why;

use std::process::ExitCode;

use backout_model::release::Order;
use clap::Parser as _;

use args::{Args, Command};
use cluster::Cluster;

/// A usage error, or the cluster did not answer.
const TROUBLE: u8 = 1;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // kubectl asks for completions in the words of cobra, its library.
    if std::env::args().nth(1).as_deref() == Some("__complete") {
        return complete::answer(std::env::args().skip(2).collect()).await;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(told) => {
            // clap's own exit status means something else here: that the revision failed.
            let _no_terminal_no_text = told.print();
            return if told.use_stderr() { ExitCode::from(TROUBLE) } else { ExitCode::SUCCESS };
        }
    };
    match run(args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(TROUBLE)
        }
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::connect(&args.connection).await?;
    let output = args.output;
    match args.command {
        Command::Status { release, watch, timeout } => {
            status::run(&cluster, release.as_deref(), watch, timeout, output).await
        }
        Command::Why { release, revision, all } => {
            why::run(&cluster, release.as_deref(), revision, all, output).await
        }
        Command::Diff { release, revision } => {
            diff::run(&cluster, release.as_deref(), revision, output).await
        }
        Command::History { release } => history::run(&cluster, release.as_deref(), output).await,
        Command::Hold { release } => ask::run(&cluster, release.as_deref(), &Order::Hold, output).await,
        Command::Resume { release } => ask::run(&cluster, release.as_deref(), &Order::Resume, output).await,
        Command::Rollback { release, to, only } => {
            let order = Order::Rollback { only, to };
            ask::run(&cluster, release.as_deref(), &order, output).await
        }
    }
}
