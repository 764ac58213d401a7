//! Evidence that cannot be had, or not in time, or is gathered by a watcher that dies.

use backout_model::release::Phase;
use jiff::SignedDuration;
use system_tests::proxy::{Act, Fate, Gate};

use super::ground::{CRASHING, LIVES, MISSING, app, audited, ends, evidence, ground, hesitation, kept};

/// The evidence takes 5 s at most, of which is told where it is not enough; the rest is for a machine that has much to do.
const AT_MOST: SignedDuration = SignedDuration::from_mins(1);

#[tokio::test]
async fn a_watcher_that_may_not_gather_or_store_evidence_rolls_back_all_the_same_and_says_what_it_lacked() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let (blind, mute) =
        tokio::join!(ground.home_with("blind", &["store"], &[]), ground.home_with("mute", &["see"], &[]));
    for home in [&blind, &mute] {
        home.apply(&app(CRASHING, "some-passw0rd"), "a bad install").await.unwrap();
    }
    let status = ends(&blind, 1, Phase::RolledBack).await;
    let (_, told) = evidence(&blind, &status).await;
    assert_eq!((told.containers.len(), told.changes.len()), (1, 3), "{told:#?}");
    for (told_in, lacks) in [
        (&told.containers[0].missing, "cannot get resource \"pods/log\""),
        (&told.notes, "cannot list resource \"events\""),
    ] {
        assert!(told_in.iter().any(|it| it.contains(lacks)), "{lacks}: {told:#?}");
    }

    let status = ends(&mute, 1, Phase::RolledBack).await;
    assert_eq!((&status.evidence, &status.history[0].evidence), (&None, &None));
    let missing = status.evidence_missing.clone().unwrap_or_default();
    assert!(missing.contains("cannot create resource \"secrets\""), "{status:#?}");
    assert_eq!(audited(&mute).await, Vec::<String>::new());
    for home in [&blind, &mute] {
        let hesitation = hesitation(home).await;
        assert!(hesitation < AT_MOST, "{hesitation}: {}", kept(home));
        assert_eq!(home.release(&home.name).await.unwrap().status.unwrap().unrestored, []);
    }
}

#[tokio::test]
async fn an_api_that_does_not_answer_delays_the_rollback_for_some_seconds_at_most() {
    let ground = ground().await;
    let _alive = LIVES.read().await;
    let (logs, all) = tokio::join!(ground.home("slow-logs"), ground.home("slow-secrets"));
    let held = Gate::closed();
    let gate = held.clone();
    ground.rule(
        &logs,
        move |call| {
            if call.resource() == "pods/log" { Fate::Hold(gate.clone()) } else { Fate::Pass }
        },
    );
    ground.rule(&all, {
        let gate = held.clone();
        move |call| if call.kind() == "create secrets" { Fate::Hold(gate.clone()) } else { Fate::Pass }
    });
    for home in [&logs, &all] {
        home.apply(&app(CRASHING, "some-passw0rd"), "a bad install").await.unwrap();
    }
    let status = ends(&logs, 1, Phase::RolledBack).await;
    let (_, told) = evidence(&logs, &status).await;
    assert!(told.containers[0].missing.iter().any(|it| it.contains("could not be had")), "{told:#?}");
    let status = ends(&all, 1, Phase::RolledBack).await;
    assert_eq!(status.evidence, None);
    assert_eq!(status.evidence_missing.as_deref(), Some("it could not be stored within 5 s"), "{status:#?}");
    for home in [&logs, &all] {
        let hesitation = hesitation(home).await;
        assert!(hesitation < AT_MOST, "{hesitation}: {}", kept(home));
    }
    held.open();
}

#[tokio::test]
async fn a_watcher_killed_while_it_stores_the_evidence_leaves_it_to_the_next_one_which_restores_nothing_before()
 {
    let ground = ground().await;
    for (name, is_stored) in [("before", false), ("between", true)] {
        let home = ground.home(name).await;
        let _alone = LIVES.write().await;
        let watcher = ground.stage.backout().watcher();
        let mut kills = 0;
        ground.rule(&home, move |call| {
            if call.kind() != "create secrets" || kills > 0 {
                return Fate::Pass;
            }
            kills += 1;
            let act = Act::new(async { watcher.restart().await.unwrap() });
            if is_stored { Fate::Swallow(act) } else { Fate::Stop(act) }
        });
        let pid = watcher.pid();
        home.apply(&app(MISSING, "some-passw0rd"), "a bad install").await.unwrap();
        let status = ends(&home, 1, Phase::RolledBack).await;
        assert_ne!(watcher.pid(), pid, "it was not killed");
        let (secret, told) = evidence(&home, &status).await;
        assert_eq!(told.changes.len(), 3, "{told:#?}");
        assert_eq!(audited(&home).await, [secret.metadata.name.unwrap()], "{}", kept(&home));
        ground.stage.backout().wait_ready().await.unwrap();
    }
}
