//! The watcher's API server is cut off from the database, while deployers go on with another one.

use std::time::Duration;

use backout_model::release::Phase;
use system_tests::{
    proxy::Pipe,
    stories::{Deployer, Snapshot, Step, bad_shop, good_shop},
};
use tokio::time::sleep;

use super::super::{annotate, arena, comes_to, ends, healthy, log_is_empty, never_ready_shop, same};

/// Longer than the deadline of a revision, and than a call of the watcher. With what is deployed meanwhile it is less than
/// the half minute that counts as unobserved: then the deadline would be put off.
const FROZEN: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_api_server_whose_caches_stand_still_makes_the_watcher_undo_nothing_that_was_overtaken() {
    let (arena, _alone) = arena().await;
    let stage = arena.stage();
    let pipe = Pipe::start(arena.cluster.etcd_port().unwrap()).await.unwrap();
    let (second, url) = arena.cluster.another_apiserver("second-apiserver", pipe.port()).await.unwrap();
    arena.proxy.redirect(&url).unwrap();
    let (late, fixed, recreated) =
        tokio::join!(healthy(&stage, "late"), healthy(&stage, "fixed"), healthy(&stage, "recreated"));
    let before = Snapshot::take(&late).await.unwrap();
    for home in [&fixed, &recreated] {
        annotate(home, &["namespace", &home.name], "backout.dev/deadline=18s").await;
        Deployer::new(home).await.unwrap().go(&never_ready_shop()).await.unwrap();
    }
    for home in [&fixed, &recreated] {
        comes_to(home, 2, Phase::Progressing).await;
    }

    pipe.freeze();
    Deployer::new(&late).await.unwrap().go(&bad_shop().unwrap()).await.unwrap();
    let mut good = good_shop(1).unwrap();
    good.push(Step::Delete("ConfigMap", "shop-banner"));
    Deployer::new(&fixed).await.unwrap().go(&good).await.unwrap();
    // The same names, other uids.
    let mut anew = vec![Step::Delete("Deployment", "shop"), Step::Delete("ConfigMap", "shop-settings")];
    anew.extend(good.iter().cloned());
    Deployer::new(&recreated).await.unwrap().go(&anew).await.unwrap();
    let as_fixed = [Snapshot::take(&fixed).await.unwrap(), Snapshot::take(&recreated).await.unwrap()];
    sleep(FROZEN).await;
    let restored = system_tests::oracle::witness(arena.cluster, &["alice"]).await.unwrap().restores;
    assert!(!restored.keys().any(|namespace| namespace.ends_with(&stage.suffix)), "{restored:#?}");

    pipe.thaw();
    for (home, fix) in [&fixed, &recreated].into_iter().zip(&as_fixed) {
        ends(home, 2, Phase::Healthy).await;
        log_is_empty(home).await;
        let after = Snapshot::take(home).await.unwrap();
        assert_eq!(fix.differences(&after, &[]), [], "{}", home.name);
    }
    ends(&late, 2, Phase::RolledBack).await;
    log_is_empty(&late).await;
    same(&late, &before).await;
    assert_eq!(second.exit(), None);
    arena.audited(&stage, &[&late]).await;
    arena.proxy.redirect(&arena.cluster.url()).unwrap();
}
