//! Asking the watcher to do something.

use std::process::ExitCode;

use anyhow::bail;
use backout_model::release::Order;
use kube::ResourceExt as _;

use crate::{
    TROUBLE,
    args::Output,
    cluster::{Asked, Cluster},
};

pub(crate) async fn run(
    cluster: &Cluster,
    release: Option<&str>,
    order: &Order,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let release = cluster.find(release).await?;
    let name = release.name_any();
    let Asked::Answered(release, answer) = cluster.ask(release, order).await? else {
        bail!("you may not change release {name}");
    };
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&release.status)?),
        Output::Text if answer.refused => eprintln!("refused: {}", answer.message),
        Output::Text => println!("release {name}: {}", answer.message),
    }
    Ok(if answer.refused { ExitCode::from(TROUBLE) } else { ExitCode::SUCCESS })
}
