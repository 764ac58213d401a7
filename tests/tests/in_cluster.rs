//! Backout as users install it: its own images on a real kubelet, behind its Service, with its certificates.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod in_cluster {
    mod bills;
    mod emergency;
    pub(super) mod ground;
    mod load;
    mod restart;
}

use system_tests::stories::{self, Report};

use self::in_cluster::ground::Ground;

#[tokio::test]
async fn from_its_own_pods_backout_does_what_it_promises() {
    let Some(ground) = Ground::alone().await else { return };
    let told = async {
        let stage = ground.stage();
        let mut reports: Vec<Report> = stories::shop(&stage).await?.into();
        reports.push(stories::failed_install(&stage).await?);
        reports.extend(stories::helm(&stage).await?);
        reports.push(stories::autoscaler(&stage).await?);
        anyhow::Ok(reports)
    };
    let reports = told.await.unwrap_or_else(|error| panic!("{error:#}\n{}", ground.kept()));
    for report in &reports {
        println!("{}", serde_json::to_string(report).unwrap());
    }
    let inexact: Vec<_> = reports.iter().filter(|report| !report.exact).map(|report| report.story).collect();
    assert_eq!(inexact, Vec::<&str>::new(), "{}", ground.kept());
}
