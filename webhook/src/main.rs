//! The webhook's process.

use std::process::ExitCode;

use anyhow::Context;
use backout_model::identity::Deployers;
use backout_runtime::{shutdown, telemetry, tls};
use backout_webhook::{Args, configuration::configuration};
use clap::Parser;
use tokio_util::sync::CancellationToken;

fn main() -> ExitCode {
    tls::install_crypto();
    let args = Args::parse();
    let outcome = if args.print_configuration { print(&args) } else { serve(args) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("backout-webhook: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(args: &Args) -> anyhow::Result<()> {
    let configuration = configuration(&Deployers::new(&args.deployers)?);
    println!("{}", serde_json::to_string_pretty(&configuration)?);
    Ok(())
}

#[tokio::main]
async fn serve(args: Args) -> anyhow::Result<()> {
    telemetry::init(args.log_format, &args.log)?;
    let signals = shutdown::Signals::register().context("signals cannot be caught")?;
    let token = CancellationToken::new();
    shutdown::supervise(signals, token.clone(), Box::pin(backout_webhook::run(args, token))).await??;
    Ok(())
}
