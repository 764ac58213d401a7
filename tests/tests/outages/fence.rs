//! The fence lies in the Release: it stands whoever dies.

use std::time::Duration;

use backout_model::release::{Fence, Phase};
use system_tests::{User, eventually, stories::Stage};

const PATIENCE: Duration = Duration::from_mins(4);

#[tokio::test]
async fn a_fence_refuses_the_client_it_is_up_against_until_its_next_transaction_also_after_all_were_killed() {
    let (stage, _alone) = super::super::stage().await;
    let home = stage.home("fence").await.unwrap();
    home.helm(&["install", "web", "./web"]).await.unwrap().success().unwrap();
    let installed = home.end_of("web", 1, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!(installed.phase, Some(Phase::Healthy), "{installed:#?}");

    let chart = Stage::file("web");
    let upgrade =
        ["-n", &home.name, "upgrade", "web", &chart, "--wait", "--set", "image=registry.example/missing:9"];
    let helm = stage.cluster.helm().user(User::Named("alice")).start(&upgrade).await.unwrap();
    let fence = async || -> anyhow::Result<Option<Fence>> {
        Ok(home.release("web").await?.status.unwrap_or_default().fence)
    };
    let up = eventually("the fence is up", PATIENCE, fence).await.unwrap();
    assert_eq!((up.revision, up.user.as_str()), (2, "alice"));
    for process in [stage.backout().watcher(), stage.backout().webhook()] {
        process.kill9().await.unwrap();
    }
    assert_eq!(fence().await.unwrap(), Some(up.clone()));
    for process in [stage.backout().webhook(), stage.backout().watcher()] {
        process.restart().await.unwrap();
    }
    stage.backout().wait_ready().await.unwrap();
    let end = home.end_of("web", 2, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!((end.phase, end.fence.as_ref()), (Some(Phase::RolledBack), Some(&up)), "{end:#?}");
    // Helm may still wait, or has been refused by now: by the fence, or because the webhook was down.
    let as_helm = ["annotate", "configmap", "web", "late=1", "--field-manager=helm"];
    let refused = home.kubectl(&as_helm).await.unwrap();
    assert!(!refused.status.success() && refused.stderr.contains(&up.message), "{refused:?}");
    helm.kill9().await.unwrap();
    println!("{}", helm.log_tail(3));

    home.helm(&["upgrade", "web", "./web", "--set", "greeting=hi"]).await.unwrap().success().unwrap();
    let next = home.end_of("web", 3, PATIENCE).await.unwrap().status.unwrap();
    assert_eq!((next.phase, next.fence), (Some(Phase::Healthy), None));
    home.kubectl(&as_helm).await.unwrap().success().unwrap();
}
