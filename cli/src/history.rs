//! The last revisions.

use std::process::ExitCode;

use backout_model::release::{Past, Release};
use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::{args::Output, cluster::Cluster, render};

pub(crate) async fn run(
    cluster: &Cluster,
    release: Option<&str>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let release = cluster.find(release).await?;
    match output {
        Output::Json => {
            let history = release.status.as_ref().map(|status| &status.history);
            println!("{}", serde_json::to_string_pretty(&history)?);
        }
        Output::Text => {
            for line in lines(&release, Timestamp::now()) {
                println!("{line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(release: &Release, now: Timestamp) -> Vec<String> {
    let status = release.status.clone().unwrap_or_default();
    let home = release.namespace().unwrap_or_default();
    if status.history.is_empty() {
        return vec![format!("{home}/{}: no revision was decided yet", release.name_any())];
    }
    let head = ["REVISION", "OUTCOME", "ENDED", "TOOK", "OBJECTS", "BY", "CAUSE"];
    let head = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<_> =
        std::iter::once(head).chain(status.history.iter().map(|past| row(past, &home, now))).collect();
    render::table(&rows)
}

fn outcome(past: &Past) -> String {
    let outcome = past.outcome.as_str();
    match (past.undone, past.half_undone) {
        (true, _) => format!("{outcome}, undone later"),
        (_, true) => format!("{outcome}, half undone"),
        _ => outcome.to_owned(),
    }
}

fn row(past: &Past, home: &str, now: Timestamp) -> Vec<String> {
    let took = past.opened_at.as_ref().zip(past.ended_at.as_ref());
    let took =
        took.map(|(from, to)| render::time(SignedDuration::from_secs(to.0.duration_since(from.0).as_secs())));
    let cause = past.failure.as_ref().map(|failure| match failure.object.kind.as_str() {
        "" => failure.reason.clone(),
        _ => format!("{} {}", failure.reason, render::object(&failure.object, home)),
    });
    vec![
        past.revision.to_string(),
        outcome(past),
        render::ago(past.ended_at.as_ref(), now),
        took.unwrap_or_default(),
        past.objects.to_string(),
        render::author(&past.author),
        cause.unwrap_or_default(),
    ]
}
