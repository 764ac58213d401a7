//! What a revision changed.

use std::process::ExitCode;

use anyhow::bail;
use backout_model::{
    evidence::Evidence,
    release::{Order, Release},
};
use kube::ResourceExt as _;

use crate::{
    args::Output,
    changes,
    cluster::{Asked, Cluster},
    render,
};

pub(crate) async fn run(
    cluster: &Cluster,
    release: Option<&str>,
    revision: Option<u64>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let release = cluster.find(release).await?;
    let secret = match kept(&release, revision) {
        Some(secret) => secret,
        None => told(cluster, &release, revision).await?,
    };
    let diff = cluster.evidence(&secret).await?;
    match output {
        Output::Json => println!(
            "{}",
            serde_json::to_string_pretty(
                &serde_json::json!({"revision": diff.revision, "changes": diff.changes, "notes": diff.notes})
            )?
        ),
        Output::Text => lines(&release, &diff).iter().for_each(|line| println!("{line}")),
    }
    Ok(ExitCode::SUCCESS)
}

/// The evidence about a revision that failed has it.
fn kept(release: &Release, revision: Option<u64>) -> Option<String> {
    let status = release.status.as_ref()?;
    let of = revision.unwrap_or(status.revision);
    status.history.iter().find(|past| past.revision == of)?.evidence.clone()
}

async fn told(cluster: &Cluster, release: &Release, revision: Option<u64>) -> anyhow::Result<String> {
    let name = release.name_any();
    let Asked::Answered(_, answer) = cluster.ask(release.clone(), &Order::Diff { of: revision }).await?
    else {
        bail!("you may not ask for what release {name} changed");
    };
    if answer.refused {
        bail!("{}", answer.message);
    }
    Ok(answer.message)
}

fn lines(release: &Release, diff: &Evidence) -> Vec<String> {
    let home = release.namespace().unwrap_or_default();
    let mut lines = vec![format!("{home}/{}: revision {} changed", release.name_any(), diff.revision)];
    if diff.changes.is_empty() {
        lines.push("  nothing".to_owned());
    }
    lines.extend(changes::lines(&diff.changes));
    lines.extend(diff.notes.iter().flat_map(|note| render::wrapped(note, "  ", render::width())));
    lines
}
