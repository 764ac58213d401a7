//! Where the current revision stands, once or until it is decided.

use std::{io::Write as _, process::ExitCode, time::Duration};

use anyhow::bail;
use backout_model::release::{Order, Phase, Release, ReleaseStatus, Standing};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use tokio::time::{Instant, sleep};

use crate::{
    args::Output,
    cluster::{Asked, Cluster},
    render,
};

const FAILED: u8 = 2;
const UNDECIDED: u8 = 3;
/// How often a terminal is drawn anew.
const TICK: Duration = Duration::from_millis(500);
const BAR: usize = 30;

pub(crate) async fn run(
    cluster: &Cluster,
    release: Option<&str>,
    watch: bool,
    timeout: Option<Duration>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let release = cluster.find(release).await?;
    let mut release = match cluster.ask(release, &Order::Look).await? {
        Asked::Answered(release, _) => *release,
        Asked::MayNot(release) => {
            eprintln!(
                "You may not ask the watcher (patch releases.backout.dev): what follows may be older than your last apply."
            );
            *release
        }
    };
    let until = timeout.map(|timeout| Instant::now() + timeout);
    let mut screen = Screen::default();
    loop {
        let status = release.status.clone().unwrap_or_default();
        let is_over = status.phase.is_none_or(is_decided);
        let is_late = until.is_some_and(|until| Instant::now() >= until);
        if !watch || is_over || is_late || output == Output::Text {
            show(&release, &status, output, &mut screen)?;
        }
        if !watch || is_over || is_late {
            return Ok(ExitCode::from(exit_status(&status)));
        }
        sleep(TICK).await;
        release = match cluster.get(&release.name_any()).await {
            Ok(Some(release)) => release,
            Ok(None) => bail!("release {} was deleted", release.name_any()),
            // It is not over because the server restarts.
            Err(error) if error.may_pass() => release,
            Err(error) => return Err(error.into()),
        };
    }
}

fn is_decided(phase: Phase) -> bool {
    !phase.is_undecided() && phase != Phase::RollingBack
}

fn exit_status(status: &ReleaseStatus) -> u8 {
    match status.phase {
        Some(Phase::Healthy) => 0,
        Some(phase) if phase.is_undecided() => UNDECIDED,
        Some(_) => FAILED,
        None => UNDECIDED,
    }
}

fn show(
    release: &Release,
    status: &ReleaseStatus,
    output: Output,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    match output {
        Output::Json => println!("{}", serde_json::to_string_pretty(status)?),
        Output::Text => screen.draw(lines(release, status, Timestamp::now()))?,
    }
    Ok(())
}

/// What was drawn last: a terminal is drawn over, anything else gets what is new.
#[derive(Default)]
struct Screen {
    drawn: Vec<String>,
}

impl Screen {
    fn draw(&mut self, lines: Vec<String>) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if render::is_terminal() {
            let width = render::width();
            if !self.drawn.is_empty() {
                write!(out, "\x1b[{}A\x1b[J", self.drawn.len())?;
            }
            self.drawn = lines.iter().map(|line| render::fit(line, width)).collect();
            for line in &self.drawn {
                writeln!(out, "{line}")?;
            }
        } else {
            // Times that run are no news.
            let news: Vec<_> = lines.into_iter().filter(|line| !line.contains(RUNNING)).collect();
            if news != self.drawn {
                for line in &news {
                    writeln!(out, "{line}")?;
                }
                writeln!(out)?;
                self.drawn = news;
            }
        }
        out.flush()
    }
}

/// Begins a line that changes with the time alone.
const RUNNING: char = '[';

fn lines(release: &Release, status: &ReleaseStatus, now: Timestamp) -> Vec<String> {
    let (home, name) = (release.namespace().unwrap_or_default(), release.name_any());
    let Some(phase) = status.phase else {
        return vec![format!("{home}/{name}: nothing was deployed yet")];
    };
    let ready = match status.ready.as_str() {
        "" => String::new(),
        ready => format!(", {ready} objects ready"),
    };
    let mut lines =
        vec![format!("{home}/{name}: revision {} {}{ready}", status.revision, render::outcome(phase))];
    if let Some(author) = &status.author {
        lines.push(format!("  by {}", render::author(author)));
    }
    lines.extend(window(status, now).map(|window| format!("  {window}")));
    let rows: Vec<_> = status.objects.iter().map(|standing| row(standing, &home)).collect();
    lines.extend(render::table(&rows).into_iter().map(|row| format!("  {row}")));
    let more = status.ready.split_once('/').and_then(|(_, total)| total.parse::<usize>().ok());
    let more = more.unwrap_or(0).saturating_sub(status.objects.len());
    if more > 0 {
        lines.push(format!("  … and {more} more"));
    }
    lines.push(format!("  {}", status.message));
    let problems = status.problems.iter().map(|problem| format!("  warning: {problem}"));
    let left = status
        .unrestored
        .iter()
        .map(|left| format!("  not restored: {}: {}", render::object(&left.object, &home), left.reason));
    lines.extend(problems.chain(left));
    lines
}

fn row(standing: &Standing, home: &str) -> Vec<String> {
    let mark = match standing.state.as_str() {
        "Ready" | "Gone" | "Suspended" => "+",
        "Failed" => "x",
        _ => ".",
    };
    let object = format!("{mark} {}", render::object(&standing.object, home));
    vec![object, standing.state.clone(), standing.message.clone()]
}

/// How much of the health window is over, and what comes at its end.
fn window(status: &ReleaseStatus, now: Timestamp) -> Option<String> {
    let span = |since: &Option<Time>, until: &Option<Time>| {
        let (since, until) = (since.as_ref()?.0, until.as_ref()?.0);
        let (whole, over) = (until.duration_since(since), now.duration_since(since));
        let left = render::time(until.duration_since(now));
        Some((render::bar(over.as_secs_f64() / whole.as_secs_f64().max(1.0), BAR), left))
    };
    if let Some((bar, left)) = span(&status.ready_since, &status.soaked_at) {
        return Some(format!("{bar} healthy in {left} if all stays ready"));
    }
    let (bar, left) = span(&status.sealed_at, &status.deadline_at)?;
    Some(format!("{bar} {left} left to become ready"))
}

#[cfg(test)]
mod tests {
    use backout_model::release::{Author, ReleaseSpec, Subject};

    use super::*;

    fn at(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    fn release() -> Release {
        let mut release = Release::new("shop", ReleaseSpec::default());
        release.metadata.namespace = Some("shop".to_owned());
        release
    }

    #[test]
    fn a_revision_under_way_is_told_with_its_objects_and_its_window() {
        let web = Subject {
            kind: "Deployment".into(),
            name: "web".into(),
            namespace: "shop".into(),
            ..Subject::default()
        };
        let map = Subject {
            kind: "ConfigMap".into(),
            name: "a".into(),
            namespace: "other".into(),
            ..Subject::default()
        };
        let status = ReleaseStatus {
            phase: Some(Phase::Progressing),
            revision: 7,
            ready: "5/6".to_owned(),
            author: Some(Author { user: "alice".into(), tool: "helm".into() }),
            sealed_at: Some(at("2026-01-01T00:00:00Z")),
            deadline_at: Some(at("2026-01-01T00:10:00Z")),
            objects: vec![
                Standing {
                    object: web,
                    state: "InProgress".into(),
                    message: "0 of 2 replicas are updated".into(),
                },
                Standing { object: map, state: "Ready".into(), message: String::new() },
            ],
            message: "Deployment shop/web: 0 of 2 replicas are updated".to_owned(),
            ..ReleaseStatus::default()
        };
        let now = "2026-01-01T00:05:00Z".parse().unwrap();
        assert_eq!(
            lines(&release(), &status, now),
            [
                "shop/shop: revision 7 is becoming ready, 5/6 objects ready",
                "  by alice with helm",
                "  [###############---------------] 5m left to become ready",
                "  . Deployment/web         InProgress   0 of 2 replicas are updated",
                "  + ConfigMap/a in other   Ready",
                "  … and 4 more",
                "  Deployment shop/web: 0 of 2 replicas are updated",
            ]
        );
    }

    #[test]
    fn a_script_tells_by_the_exit_status() {
        for (phase, code) in [
            (Some(Phase::Healthy), 0),
            (Some(Phase::RolledBack), 2),
            (Some(Phase::Held), 2),
            (Some(Phase::Notified), 2),
            (Some(Phase::RollingBack), 2),
            (Some(Phase::Open), 3),
            (None, 3),
        ] {
            assert_eq!(exit_status(&ReleaseStatus { phase, ..ReleaseStatus::default() }), code, "{phase:?}");
        }
    }
}
