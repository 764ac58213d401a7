//! Why a revision failed, on one screen, the likely cause first.

mod seen;

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use backout_model::{
    evidence::Evidence,
    release::{Aside, Past, Phase, Release},
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use crate::{args::Output, cluster::Cluster, render};

pub(crate) async fn run(
    cluster: &Cluster,
    release: Option<&str>,
    revision: Option<u64>,
    all: bool,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let release = cluster.find(release).await?;
    let past = find(&release, revision)?;
    let evidence = match &past.evidence {
        Some(secret) => cluster.evidence(secret).await.map_err(|error| error.to_string()),
        None => Err("none was stored".to_owned()),
    };
    match output {
        Output::Json => {
            let evidence = evidence.ok();
            let both = serde_json::json!({"revision": past, "evidence": evidence});
            println!("{}", serde_json::to_string_pretty(&both)?);
        }
        Output::Text => {
            for line in lines(&release, &past, evidence, all, Timestamp::now()) {
                println!("{line}");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The revision that is asked for, or the last one that failed; one that is being rolled back is no history yet.
fn find(release: &Release, revision: Option<u64>) -> anyhow::Result<Past> {
    let status = release.status.clone().unwrap_or_default();
    let name = release.name_any();
    if status.phase == Some(Phase::RollingBack) && revision.is_none_or(|it| it == status.revision) {
        return Ok(Past {
            revision: status.revision,
            outcome: Phase::RollingBack,
            pack: None,
            undone: false,
            half_undone: false,
            author: status.author.unwrap_or_default(),
            objects: 0,
            opened_at: status.opened_at,
            decided_at: status.decided_at,
            ended_at: None,
            failure: status.failure,
            evidence: status.evidence,
            unrestored: status.unrestored,
        });
    }
    let past = match revision {
        Some(revision) => {
            status.history.into_iter().find(|past| past.revision == revision).with_context(|| {
                format!("revision {revision} of {name} is not in its history (kubectl backout history)")
            })?
        }
        None => match status.history.into_iter().find(|past| past.failure.is_some()) {
            Some(past) => past,
            None => bail!("no revision of {name} has failed"),
        },
    };
    if past.failure.is_none() {
        bail!("revision {} of {name} did not fail: it {}", past.revision, render::outcome(past.outcome));
    }
    Ok(past)
}

fn lines(
    release: &Release,
    past: &Past,
    evidence: Result<Evidence, String>,
    all: bool,
    now: Timestamp,
) -> Vec<String> {
    let width = render::width().min(120);
    let home = release.namespace().unwrap_or_default();
    let failure = past.failure.clone().unwrap_or_default();
    let mut lines = vec![
        format!(
            "{home}/{}: revision {} {}, {}",
            release.name_any(),
            past.revision,
            render::outcome(past.outcome),
            render::ago(past.decided_at.as_ref(), now)
        ),
        format!("  by {}", render::author(&past.author)),
        String::new(),
        format!("Cause: {}", failure.reason),
    ];
    if !failure.object.kind.is_empty() {
        lines.push(format!("  {}", render::object(&failure.object, &home)));
    }
    lines.extend(render::wrapped(&failure.message, "  ", width));
    match evidence {
        Ok(evidence) => seen::tell(&mut lines, &evidence, all, width),
        Err(why) => {
            section(&mut lines, "Seen before anything was touched", failure.evidence.iter().cloned(), width);
            lines.push(format!("  (there is no more to show: {why})"));
        }
    }
    let left = past
        .unrestored
        .iter()
        .map(|left| format!("{}: {}", render::object(&left.object, &home), left.reason));
    section(&mut lines, "Not restored", left, width);
    let aside = release.status.as_ref().and_then(|status| status.aside.as_ref());
    if let Some(aside) = aside.filter(|aside| aside.revision == past.revision) {
        let Aside { namespace, pod, until, .. } = aside;
        let left = render::time(until.0.duration_since(now));
        let told = format!(
            "Kept for you to look into, for {left} more: pod {pod}. kubectl debug -n {namespace} -it {pod}"
        );
        lines.push(String::new());
        lines.extend(render::wrapped(&told, "", width));
    }
    lines.push(String::new());
    lines.extend(render::wrapped(next(past), "", width));
    lines
}

fn section(lines: &mut Vec<String>, title: &str, items: impl Iterator<Item = String>, width: usize) {
    let items: Vec<_> = items.collect();
    if items.is_empty() {
        return;
    }
    lines.extend([String::new(), format!("{title}:")]);
    for item in items {
        let mut wrapped = render::wrapped(&item, "    ", width).into_iter();
        lines.extend(wrapped.next().map(|first| format!("  - {}", first.trim_start())));
        lines.extend(wrapped);
    }
}

fn next(past: &Past) -> &'static str {
    match past.outcome {
        Phase::RolledBack => "Next: mend the cause and deploy again; the state before this revision is back.",
        Phase::RollingBack => "Next: it is being rolled back; follow it with kubectl backout status -w.",
        Phase::Held | Phase::Notified if past.half_undone => {
            "Next: its rollback was stopped amid. kubectl backout rollback finishes it; or deploy again."
        }
        Phase::Held | Phase::Notified => {
            "Next: it is left as it is. Mend it in place and kubectl backout resume, or kubectl backout rollback, or \
             deploy again."
        }
        _ => "",
    }
}
