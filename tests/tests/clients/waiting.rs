//! Helm waits for a version that never becomes ready.

use anyhow::{Context, Result, ensure};
use backout_model::release::Phase;
use futures::future::join_all;
use system_tests::{
    audit::Write,
    oracle,
    stories::{Home, Snapshot, Stage},
};

use super::super::{audited, history, next_works, over, printed, told};

struct Case {
    name: &'static str,
    args: &'static [&'static str],
    /// What Helm prints.
    message: &'static str,
    /// How the revision ends.
    outcome: Phase,
    /// What `helm history` says afterwards.
    history: &'static str,
}

const BAD: &str = "image=registry.example/missing:9,greeting=bye";
const VERDICT: &str = "backout: revision";

const fn case(
    name: &'static str,
    args: &'static [&'static str],
    message: &'static str,
    outcome: Phase,
    history: &'static str,
) -> Case {
    Case { name, args, message, outcome, history }
}

use Phase::{Healthy, RolledBack};

const TIMEOUT: &str = "context deadline exceeded";
const OWN: &str = "has been rolled back due to rollback-on-failure being set";

/// Helm does not see that what it waits for is taken down: an install that fails lasts for as long as it is told to wait.
const CASES: [Case; 9] = [
    case("wait", &["upgrade", "--wait"], VERDICT, RolledBack, "1 deployed"),
    case("wait-legacy", &["upgrade", "--wait=legacy"], VERDICT, RolledBack, "1 deployed"),
    case("atomic", &["upgrade", "--rollback-on-failure"], VERDICT, RolledBack, "1 deployed"),
    // Helm gives up before the verdict falls.
    case("wait-short", &["upgrade", "--wait", "--timeout=6s"], TIMEOUT, RolledBack, "1 deployed"),
    case(
        "atomic-short",
        &["upgrade", "--rollback-on-failure", "--timeout=6s"],
        OWN,
        Healthy,
        "1 superseded, 2 failed, 3 deployed",
    ),
    case("install", &["install", "--wait", "--timeout=60s"], TIMEOUT, RolledBack, ""),
    case("install-atomic", &["install", "--rollback-on-failure", "--timeout=60s"], TIMEOUT, RolledBack, ""),
    case("install-short", &["install", "--wait", "--timeout=6s"], TIMEOUT, RolledBack, ""),
    case("install-atomic-short", &["install", "--rollback-on-failure", "--timeout=6s"], TIMEOUT, Healthy, ""),
];

#[tokio::test]
async fn helm_that_waits_for_a_bad_version_fails_with_the_cause_and_the_next_one_just_works() {
    let stage = Stage::shared().await.unwrap();
    let lines = join_all(CASES.iter().map(|case| async {
        let line = run(&stage, case).await;
        println!("{}", line.as_ref().unwrap_or_else(|why| why));
        line
    }))
    .await;
    let wrong: Vec<_> = lines.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

/// Helm's own rollback begins when ours does, a little before, or in its midst.
#[tokio::test]
async fn whoever_of_helm_and_backout_is_first_to_roll_back_all_is_as_before() {
    let stage = &Stage::shared().await.unwrap();
    let outcomes = join_all((0..5).map(|number| async move {
        let timeout = format!("--timeout={}s", 11 + 3 * number);
        let mut line = format!("race {timeout}");
        let gone = race(stage, number, &timeout, &mut line).await;
        println!("{line}");
        gone.map_err(|why| format!("{line}: {why:#}"))
    }))
    .await;
    let wrong: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

async fn race(stage: &Stage<'_>, number: u32, timeout: &str, line: &mut String) -> Result<()> {
    let home = installed(stage, &format!("race-{number}")).await?;
    let before = Snapshot::take(&home).await?;
    let args = ["upgrade", "web", "./web", "--rollback-on-failure", timeout, "--set", BAD];
    let output = home.helm(&args).await?;
    let status = over(&home).await?;
    let history = history(&home).await?;
    *line += &format!(
        " | exit {:?} after {:.0} s | {} | {} revision {:?} {} | {}",
        output.status.code(),
        output.elapsed.as_secs_f64(),
        printed(&output),
        status.revision,
        status.phase,
        status.message,
        told(&history)
    );
    ensure!(!output.status.success(), "helm took it for a success");
    ensure!(history.last().is_some_and(|(_, status)| status == "deployed"), "{history:?}");
    is_as_before(&home, &before, told(&history) == "1 deployed").await?;
    next_works(&home, false).await?;
    *line += " | works";
    audited(&home).await
}

async fn installed<'a>(stage: &'a Stage<'a>, name: &str) -> Result<Home<'a>> {
    let home = stage.home(name).await?;
    home.helm(&["install", "web", "./web"]).await?.success()?;
    let installed = home.end_of("web", 1, super::super::PATIENCE).await?.status.unwrap_or_default();
    ensure!(installed.phase == Some(Phase::Healthy), "{installed:#?}");
    Ok(home)
}

async fn run(stage: &Stage<'_>, case: &Case) -> Result<String, String> {
    let mut line = case.name.to_owned();
    match go(stage, case, &mut line).await {
        Ok(()) => Ok(line),
        Err(why) => Err(format!("{line}: {why:#}")),
    }
}

async fn go(stage: &Stage<'_>, case: &Case, line: &mut String) -> Result<()> {
    let install = case.args[0] == "install";
    let home = if install { stage.home(case.name).await? } else { installed(stage, case.name).await? };
    let before = Snapshot::take(&home).await?;
    let args = [&["web", "./web", "--set", BAD], &case.args[1..]].concat();
    let output = home.helm(&[&case.args[..1], &args].concat()).await?;
    let printed = printed(&output);
    *line += &format!(
        " | exit {:?} after {:.0} s | {printed}",
        output.status.code(),
        output.elapsed.as_secs_f64()
    );
    ensure!(!output.status.success(), "helm took it for a success");
    ensure!(printed.contains(case.message), "not told: {}", case.message);
    let status = over(&home).await?;
    let history = history(&home).await?;
    *line += &format!(
        " | {} revision {:?} {} | {}",
        status.revision,
        status.phase,
        status.message,
        told(&history)
    );
    if case.message == VERDICT {
        fence_comes_first(&home).await?;
    }
    let past = status.history.first().context("no history")?;
    ensure!(past.outcome == case.outcome, "{status:#?}");
    ensure!(told(&history) == case.history, "{history:?}");
    is_as_before(&home, &before, case.history == "1 deployed" || install).await?;
    next_works(&home, install).await?;
    *line += " | works";
    audited(&home).await
}

/// Helm's own rollback leaves more Secrets of its own, and other revisions on the objects.
async fn is_as_before(home: &Home<'_>, before: &Snapshot, exactly: bool) -> Result<()> {
    let mut differences = before.differences(&Snapshot::take(home).await?, &[]);
    if !exactly {
        differences.retain(|it| !it.at.starts_with("Secret/sh.helm.") && !it.at.contains(" metadata "));
    }
    ensure!(differences.is_empty(), "{differences:#?}");
    Ok(())
}

/// The status that holds the verdict and the fence was stored before anything was touched.
async fn fence_comes_first(home: &Home<'_>) -> Result<()> {
    let writes = home.stage.cluster.writes().await?.by(oracle::WATCHER).within(&home.name).committed().0;
    let has_fence = |write: &Write| {
        write.request.as_ref().is_some_and(|request| request["status"]["fence"]["message"].is_string())
    };
    let restores = |write: &Write| !["releases", "events"].contains(&write.resource.as_str());
    let (up, first) = (writes.iter().position(has_fence), writes.iter().position(restores));
    ensure!(
        up.is_some() && first.is_some() && up < first,
        "the fence at {up:?}, the first restore at {first:?}"
    );
    Ok(())
}
