//! Children die with their parents.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use system_tests::{Exit, Process, Spec, eventually};

#[tokio::test]
async fn a_killed_parent_takes_its_children_and_their_children_along() {
    // A shell stands for the test binary: it holds the guard's input open, as we do, until it is killed.
    let guard = env!("CARGO_BIN_EXE_guard");
    let script = format!("sleep 1000 | '{guard}' --report -- sh -c 'sleep 1000 & echo sleep $!; wait'");
    let mut parent = Command::new("sh");
    let mut parent = parent.args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let mut pid = || lines.next().unwrap().unwrap().rsplit_once(' ').unwrap().1.parse::<u32>().unwrap();
    let (one, other) = (pid(), pid());
    assert!(lives(one) && lives(other));

    let pipe_holder = children_of(parent.id()).into_iter().find(|&pid| name_of(pid) == "sleep").unwrap();
    Command::new("kill").args(["-9", &pipe_holder.to_string()]).status().unwrap();
    let patience = Duration::from_secs(5);
    let both_gone = async || Ok((!lives(one) && !lives(other)).then_some(()));
    eventually("both are gone", patience, both_gone).await.unwrap();
    parent.wait().unwrap();
}

#[tokio::test]
async fn a_process_can_be_ended_politely_or_not_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let polite = "trap 'echo bye; exit 7' TERM; echo hello; while true; do sleep 0.01; done";
    let process = shell(dir.path(), polite);
    let log = || std::fs::read_to_string(process.log()).unwrap_or_default();
    let greeted = async |times: usize| {
        let said = async || Ok((log().matches("hello").count() == times).then_some(()));
        eventually("it says hello", Duration::from_secs(5), said).await.unwrap();
    };
    greeted(1).await;
    let first = process.pid();
    process.kill9().await.unwrap();
    assert_eq!(process.exit(), Some(Exit::Signal(9)));
    assert!(!lives(first));

    process.restart().await.unwrap();
    greeted(2).await;
    assert_eq!(process.exit(), None);
    assert_eq!(process.terminate().await.unwrap(), Exit::Code(7));
    assert!(log().ends_with("bye\n"));
}

#[tokio::test]
async fn a_stopped_and_deaf_process_is_killed_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "trap '' TERM; echo deaf; while true; do sleep 0.01; done");
    spec.grace = Duration::from_millis(300);
    let process = Process::spawn(spec).unwrap();
    let deaf = async || Ok((!process.log_tail(1).is_empty()).then_some(()));
    eventually("it ignores requests", Duration::from_secs(5), deaf).await.unwrap();
    process.pause().unwrap();
    assert_eq!(process.terminate().await.unwrap(), Exit::Signal(9));
}

#[tokio::test]
async fn a_dropped_process_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let process = shell(dir.path(), "while true; do sleep 1; done");
    let pid = process.pid();
    drop(process);
    let gone = async || Ok((!lives(pid)).then_some(()));
    eventually("it is gone", Duration::from_secs(5), gone).await.unwrap();
}

#[tokio::test]
async fn a_program_that_does_not_exist_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec::new("ghost", Path::new("/no/such/program"), dir.path().join("log"));
    let error = Process::spawn(spec).unwrap_err().to_string();
    assert!(error.contains("ghost") && error.contains("/no/such/program"), "{error}");
}

fn shell(dir: &Path, script: &str) -> Process {
    Process::spawn(spec(dir, script)).unwrap()
}

fn spec(dir: &Path, script: &str) -> Spec {
    Spec::new("shell", Path::new("sh"), dir.join("shell.log")).args(["-c", script])
}

/// A zombie does not live: only its parent keeps its name.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn name_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

fn children_of(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    listed.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}
