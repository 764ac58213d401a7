//! What is asked without changing anything.

use crate::*;

#[tokio::test]
async fn a_status_is_never_older_than_the_callers_own_apply() {
    let stage = stage().await;
    let home = home(&stage, "fresh", "Rollback").await;
    settle(&home, "10m").await;
    for n in 0..5 {
        apply(&home, GOOD, &format!("hello {n}")).await;
        let output = alice(&home, &["status", "-o", "json"]).await;
        let status = json(&output);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert_eq!(status["revision"], 2, "{status:#}");
        assert!(
            ["Open", "Progressing", "Soaking"].contains(&status["phase"].as_str().unwrap()),
            "{status:#}"
        );
    }
}

#[tokio::test]
async fn a_failed_upgrade_is_followed_to_its_end_and_explained() {
    let stage = stage().await;
    let home = home(&stage, "why", "Rollback").await;
    apply(&home, BAD, "bye").await;
    let output = alice(&home, &["status", "-w", "--timeout", "2m"]).await;
    println!("{}", output.stdout);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.contains("revision 2 was rolled back"), "{output:?}");
    let output = alice(&home, &["why"]).await.success().unwrap();
    println!("{}", output.stdout);
    let lines: Vec<_> = output.stdout.lines().collect();
    assert!(lines[0].contains("revision 2 was rolled back"), "{lines:#?}");
    let cause = lines.iter().position(|line| line.starts_with("Cause: ")).unwrap();
    assert_eq!(cause, 3, "{lines:#?}");
    assert_eq!(lines[cause + 1], "  Deployment/web");
    assert!(lines[cause + 2].contains("cannot pull image"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.starts_with("Next: mend the cause")), "{lines:#?}");
    assert!(lines.len() < 40, "it is to fit on a screen: {lines:#?}");

    let output = alice(&home, &["history"]).await.success().unwrap();
    println!("{}", output.stdout);
    let rows: Vec<Vec<_>> = output.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["REVISION", "OUTCOME", "ENDED"]);
    assert_eq!((rows[1][0], rows[1][1]), ("2", "RolledBack"));
    assert_eq!((rows[2][0], rows[2][1]), ("1", "Healthy"));
    let history = json(&alice(&home, &["history", "-o", "json"]).await);
    assert_eq!(history[0]["failure"]["object"]["name"], "web");
    let why = json(&alice(&home, &["why", "-o", "json", "--revision", "2"]).await);
    assert_eq!(why["revision"], history[0]);
    assert_eq!(why["evidence"]["failure"]["reason"], "ImageNotFound");
    let output = alice(&home, &["why", "--revision=1"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("did not fail: it is healthy"), "{output:?}");
}

#[tokio::test]
async fn what_a_revision_changed_is_told_while_it_is_judged_when_it_is_over_and_when_it_failed() {
    let stage = stage().await;
    let home = home(&stage, "diff", "Rollback").await;
    // By one command: two may be two revisions where the machine is slow.
    let apply = async |secret: &str, image: &str| {
        let small = Stage::small(image, "good day").unwrap();
        let secret = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: key}}, stringData: {{token: {secret}}}}}"
        );
        home.apply(&format!("{small}\n---\n{secret}"), "").await.unwrap();
    };
    let told = async |args: &[&str]| {
        let output = alice(&home, &[&["diff"], args].concat()).await.success().unwrap();
        let lines: Vec<_> = output.stdout.lines().map(str::to_owned).collect();
        println!("{}", output.stdout);
        lines
    };
    let web = format!("  Deployment {}/web", home.name);
    let greets = |from: &str, to: &str| format!("    data.greeting: {from} -> {to}");
    let one = home.name.clone() + "/" + &home.name + ": revision ";

    apply("first-secret-value", GOOD).await;
    let under_way = told(&[]).await;
    assert_eq!(under_way[0], format!("{one}2 changed"));
    assert!(under_way.contains(&greets("hello", "good day")), "{under_way:#?}");
    assert!(under_way.contains(&format!("  Secret {}/key (created)", home.name)), "{under_way:#?}");
    alice(&home, &["status", "--watch", "--timeout=2m"]).await.success().unwrap();
    assert_eq!(told(&[]).await, under_way, "it is kept");

    apply("second-secret-value", BAD).await;
    let under_way = told(&[]).await;
    assert!(under_way.contains(&web), "{under_way:#?}");
    let image = format!("    spec.template.spec.containers[web].image: {GOOD} -> {BAD}");
    assert!(under_way.contains(&image), "{under_way:#?}");
    assert!(
        under_way.iter().any(|line| line.contains("data.token: [redacted] -> [redacted]")),
        "{under_way:#?}"
    );
    home.end_of(&home.name, 3, PATIENCE).await.unwrap();
    assert_eq!(told(&["--revision=3"]).await, under_way, "its evidence has it");
    let first = told(&["--revision=1"]).await;
    assert_eq!(first[0], format!("{one}1 changed"));
    assert!(first.contains(&format!("{web} (created)")), "{first:#?}");
    let json = json(&alice(&home, &["diff", "--revision=2", "-o", "json"]).await);
    assert_eq!(json["revision"], 2);
    let output = alice(&home, &["diff", "--revision=9"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("revision 9 is not in the history"), "{output:?}");
    let secrets = ["get", "secrets", "-o", "name"];
    let secrets = home.admin(&secrets).await.unwrap().success().unwrap().stdout;
    assert_eq!(secrets.matches("secret/backout-diff-").count(), 1, "{secrets}");
}

#[tokio::test]
async fn who_may_only_read_is_told_what_is_there_and_may_not_change_it() {
    let stage = stage().await;
    let home = home(&stage, "reader", "Rollback").await;
    stage.cluster.grant("bob", "view", &home.name).await.unwrap();
    // A grant is a write to the namespace, too.
    alice(&home, &["status", "--watch", "--timeout=2m"]).await.success().unwrap();
    let bob = User::Named("bob");
    let output = plugin(&home, bob, &["status"]).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.contains("may be older than your last apply"), "{output:?}");
    assert!(output.stdout.contains("revision 2 is healthy"), "{output:?}");
    let before = home.release(&home.name).await.unwrap();
    for verb in ["diff", "hold", "resume", "rollback"] {
        let output = plugin(&home, bob, &[verb]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(output.stderr.contains("forbidden"), "{output:?}");
    }
    assert_eq!(home.release(&home.name).await.unwrap(), before);
}

#[tokio::test]
async fn who_administers_a_namespace_writes_no_status_and_reads_no_record() {
    let stage = stage().await;
    let home = stage.home("people").await.unwrap();
    for (person, role) in [("bob", "edit"), ("carol", "view")] {
        stage.cluster.grant(person, role, &home.name).await.unwrap();
    }
    let may = async |person: &str, verb: &str, what: &str, namespace: &str| {
        let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
        let subresource = format!("--subresource={subresource}");
        let ask = ["auth", "can-i", verb, resource, &subresource, "-n", namespace];
        stage.cluster.kubectl().user(User::Named(person)).run(&ask).await.unwrap().stdout.starts_with("yes")
    };
    for (person, verb, what, expected) in [
        ("alice", "patch", "releases.backout.dev", true),
        ("alice", "join", "releases.backout.dev", true),
        ("alice", "update", "releases.backout.dev/status", false),
        ("alice", "patch", "releases.backout.dev/status", false),
        ("bob", "join", "releases.backout.dev", true),
        ("bob", "patch", "releases.backout.dev", false),
        ("carol", "get", "releases.backout.dev", true),
        ("carol", "join", "releases.backout.dev", false),
    ] {
        assert_eq!(may(person, verb, what, &home.name).await, expected, "{person} {verb} {what}");
    }
    for person in ["alice", "bob", "carol"] {
        for verb in ["get", "list", "create", "update", "delete"] {
            assert!(!may(person, verb, "secrets", "backout-system").await, "{person} {verb}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_to_do() {
    let stage = stage().await;
    let empty = stage.home("nothing").await.unwrap();
    let output = alice(&empty, &["status"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.contains("nothing was deployed since it was opted in"), "{output:?}");
    let home = home(&stage, "typo", "Rollback").await;
    let output = alice(&home, &["status", "shpo"]).await;
    assert!(
        output.stderr.contains(&format!("there is no release shpo in {0}; there are: {0}", home.name)),
        "{output:?}"
    );
    let output = alice(&home, &["why"]).await;
    assert!(output.stderr.contains("has failed"), "{output:?}");
    let output = alice(&home, &["rollback", "--only=web"]).await;
    assert_eq!(output.status.code(), Some(1), "a typo is no failed revision: {output:?}");
    assert!(output.stderr.contains("it must be KIND/NAME"), "{output:?}");
}

#[tokio::test]
async fn what_is_typed_is_completed_by_commands_flags_and_releases() {
    let stage = stage().await;
    let home = home(&stage, "tab", "Rollback").await;
    let path = stage.backout().path().unwrap();
    // As the shell's completion calls kubectl, which then calls the plugin's.
    let complete = async |words: &[&str]| {
        let kubectl = stage.cluster.kubectl().user(User::Named("alice")).env("PATH", &path);
        let output = kubectl.run(&[&["__complete", "backout"], words].concat()).await.unwrap();
        output.stdout.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["st"]).await, ["status", ":4"]);
    assert_eq!(complete(&["-n", &home.name, "why", ""]).await, [home.name.as_str(), ":4"]);
    assert!(complete(&["status", "--w"]).await.contains(&"--watch".to_owned()));
}
