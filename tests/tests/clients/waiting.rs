//! Helm waits for a version that never becomes ready.

use anyhow::{Context, Result, ensure};
use backout_model::release::{Phase, ReleaseStatus};
use futures::future::join_all;
use system_tests::{
    Output,
    audit::Write,
    oracle,
    stories::{Home, Snapshot, Stage},
};

use super::super::{audited, helm_let_in, history, next_works, over, printed, told, turn};

struct Case {
    name: &'static str,
    args: &'static [&'static str],
    /// What Helm prints.
    message: &'static str,
    /// What `helm history` says afterwards.
    history: &'static str,
}

/// A version that never becomes ready.
pub(super) const BAD: &str = "image=registry.example/missing:9,greeting=bye";
const VERDICT: &str = "backout: revision";

const fn case(
    name: &'static str,
    args: &'static [&'static str],
    message: &'static str,
    history: &'static str,
) -> Case {
    Case { name, args, message, history }
}

const TIMEOUT: &str = "context deadline exceeded";

/// Helm does not see that what it waits for is taken down: an install that fails lasts for as long as it is told to wait.
const CASES: [Case; 7] = [
    case("wait", &["upgrade", "--wait"], VERDICT, "1 deployed"),
    case("wait-legacy", &["upgrade", "--wait=legacy"], VERDICT, "1 deployed"),
    case("atomic", &["upgrade", "--rollback-on-failure"], VERDICT, "1 deployed"),
    // Helm gives up before the verdict falls.
    case("wait-short", &["upgrade", "--wait", "--timeout=6s"], TIMEOUT, "1 deployed"),
    case("install", &["install", "--wait", "--timeout=60s"], TIMEOUT, ""),
    case("install-atomic", &["install", "--rollback-on-failure", "--timeout=60s"], TIMEOUT, ""),
    case("install-short", &["install", "--wait", "--timeout=6s"], TIMEOUT, ""),
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

/// Helm makes room before it begins, which is no write that it goes on with.
#[tokio::test]
async fn helm_that_was_refused_begins_anew_where_its_history_is_full() {
    let _turn = turn().await;
    let stage = Stage::shared().await.unwrap();
    let home = installed(&stage, "full-history").await.unwrap();
    next_works(&home, false).await.unwrap();
    let upgrade = ["upgrade", "web", "./web", "--wait", "--history-max=2", "--set"];
    let bad = home.helm(&[&upgrade[..], &[BAD]].concat()).await.unwrap();
    assert!(printed(&bad).contains(VERDICT), "{bad:?}");
    assert_eq!(over(&home).await.unwrap().phase, Some(Phase::RolledBack));
    let there = told(&history(&home).await.unwrap());
    let next = helm_let_in(&home, &[&upgrade[..], &["greeting=again"]].concat()).await.unwrap();
    assert!(next.status.success(), "{there}: {next:?}");
    assert_eq!(over(&home).await.unwrap().phase, Some(Phase::Healthy));
    println!("{there} | {}", told(&history(&home).await.unwrap()));
    audited(&home).await.unwrap();
}

/// Helm's own rollback, or uninstall, begins before ours, with it, or in its midst.
#[tokio::test]
async fn whoever_of_helm_and_backout_is_first_to_roll_back_all_is_as_before() {
    let stage = &Stage::shared().await.unwrap();
    let runs = ["upgrade", "install"].into_iter().flat_map(|verb| (0..5).map(move |number| (verb, number)));
    let outcomes = join_all(runs.map(|(verb, number)| async move {
        let timeout = format!("--timeout={}s", 6 + 4 * number);
        let mut line = format!("{verb} {timeout}");
        let gone = race(stage, verb, &timeout, &mut line).await;
        println!("{line}");
        gone.map_err(|why| format!("{line}: {why:#}"))
    }))
    .await;
    let wrong: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(wrong.is_empty(), "{}\n{}", wrong.join("\n"), stage.cluster.keep_for_inspection());
}

async fn race(stage: &Stage<'_>, verb: &str, timeout: &str, line: &mut String) -> Result<()> {
    let _turn = turn().await;
    let name = format!("race-{verb}-{}", timeout.trim_start_matches("--timeout="));
    let install = verb == "install";
    let home = if install { stage.home(&name).await? } else { installed(stage, &name).await? };
    let before = Snapshot::take(&home).await?;
    let output = home.helm(&[verb, "web", "./web", "--rollback-on-failure", timeout, "--set", BAD]).await?;
    *line += &exit(&output);
    let (status, history) = (over(&home).await?, history(&home).await?);
    *line += &end(&status, &history);
    ensure!(!output.status.success(), "helm took it for a success");
    ensure!(history.last().is_none_or(|(_, status)| status == "deployed"), "{history:?}");
    ensure!(history.is_empty() == install, "{history:?}");
    is_as_before(&home, &before, install || told(&history) == "1 deployed").await?;
    next_works(&home, install).await?;
    *line += " | works";
    audited(&home).await
}

fn exit(output: &Output) -> String {
    let (code, seconds) = (output.status.code(), output.elapsed.as_secs());
    format!(" | exit {code:?} after {seconds} s | {}", printed(output))
}

fn end(status: &ReleaseStatus, history: &[(u64, String)]) -> String {
    let ReleaseStatus { revision, phase, message, .. } = status;
    format!(" | revision {revision} {phase:?}: {message} | {}", told(history))
}

/// A release of Helm whose first revision is healthy.
pub(super) async fn installed<'a>(stage: &'a Stage<'a>, name: &str) -> Result<Home<'a>> {
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
    let _turn = turn().await;
    let install = case.args[0] == "install";
    let home = if install { stage.home(case.name).await? } else { installed(stage, case.name).await? };
    let before = Snapshot::take(&home).await?;
    let args = [&["web", "./web", "--set", BAD], &case.args[1..]].concat();
    let output = home.helm(&[&case.args[..1], &args].concat()).await?;
    *line += &exit(&output);
    ensure!(!output.status.success(), "helm took it for a success");
    ensure!(printed(&output).contains(case.message), "not told: {}", case.message);
    let (status, history) = (over(&home).await?, history(&home).await?);
    *line += &end(&status, &history);
    if case.message == VERDICT {
        fence_comes_first(&home).await?;
    }
    let past = status.history.first().context("no history")?;
    ensure!(past.outcome == Phase::RolledBack, "{status:#?}");
    ensure!(told(&history) == case.history, "{history:?}");
    is_as_before(&home, &before, true).await?;
    next_works(&home, install).await?;
    *line += " | works";
    audited(&home).await
}

/// Helm's own rollback leaves more Secrets of its own, and other revisions on the objects.
pub(super) async fn is_as_before(home: &Home<'_>, before: &Snapshot, exactly: bool) -> Result<()> {
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
