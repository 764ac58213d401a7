//! What somebody takes away is put back.

use std::time::Duration;

use system_tests::eventually;

use super::{
    super::PATIENCE,
    load::Load,
    planted::{Planted, certificates},
    site::Site,
};

/// From nothing, with one replica, in order.
async fn begun(promise: &str) -> Site {
    let mut site = Site::new(promise).await;
    site.watcher(&site.options()).await;
    site.replica(Duration::ZERO).await;
    site.is_called().await;
    site
}

async fn is_trusted_alone(site: &Site, authority: &[u8]) {
    let wanted = certificates(authority);
    eventually("every bundle is right", PATIENCE, async || {
        Ok(site.bundles().await.iter().all(|bundle| *bundle == wanted).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_bundle_that_somebody_changed_is_set_right_and_writes_go_on() {
    let site = begun("changed bundle").await;
    let (serving, authority) = (site.data(&site.serving()).await, site.data(&site.authority()).await);
    let stranger = Planted::new("stranger").pem();
    let with_stranger = [authority["ca.crt"].as_slice(), stranger.as_bytes()].concat();
    for bundle in [b"".as_slice(), b"nonsense", stranger.as_bytes(), &with_stranger, b""] {
        site.set_bundles(bundle).await;
        is_trusted_alone(&site, &authority["ca.crt"]).await;
        eventually("writes go on", PATIENCE, async || Ok(Some(site.write().await?))).await.unwrap();
    }
    // Nothing else was touched.
    assert_eq!(site.data(&site.serving()).await, serving);
    assert_eq!(site.data(&site.authority()).await, authority);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_although_a_secret_is_lost_or_damaged() {
    let site = begun("lost secrets").await;
    let load = Load::start(&site, 20);
    let before = site.data(&site.serving()).await;
    site.garble(&site.serving(), "tls.key").await;
    let garbled = is_new_leaf(&site, &before["tls.crt"]).await;
    site.delete(&site.serving()).await;
    let deleted = is_new_leaf(&site, &garbled).await;

    let old = String::from_utf8(site.data(&site.authority()).await["ca.crt"].clone()).unwrap();
    site.delete(&site.authority()).await;
    site.has_succeeded(&old).await;
    is_new_leaf(&site, &deleted).await;
    load.end(&site, "lost secrets").await;
}

/// Waits for a leaf that is not this one.
async fn is_new_leaf(site: &Site, old: &[u8]) -> Vec<u8> {
    eventually("the leaf is a new one", PATIENCE, async || {
        let leaf = site.data(&site.serving()).await.remove("tls.crt").unwrap_or_default();
        Ok((!leaf.is_empty() && leaf != old).then_some(leaf))
    })
    .await
    .unwrap()
}
