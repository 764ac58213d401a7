//! What the API server does with its connections: why a bundle must hold both authorities for a while.

use std::time::Duration;

use system_tests::eventually;

use super::{super::PATIENCE, load::handshake, planted::Planted, site::Site};

#[tokio::test]
async fn an_open_connection_outlives_its_certificate_and_a_new_one_needs_a_bundle_that_fits() {
    let mut site = Site::new("connections").await;
    let (old, new) = (Planted::new("old"), Planted::new("new"));
    site.plant(&old).await;
    site.replica(Duration::ZERO).await;
    site.is_called().await;
    let port = site.ports()[0];

    site.put(new.leaf(&site.serving())).await;
    eventually("the webhook serves with the new leaf", PATIENCE, async || {
        handshake(new.pem().as_bytes(), port).await.map(Some)
    })
    .await
    .unwrap();
    assert!(handshake(old.pem().as_bytes(), port).await.is_err());
    for _ in 0..20 {
        site.write().await.unwrap();
    }

    site.webhook().restart().await.unwrap();
    let refused = eventually("the API server connects again", PATIENCE, async || {
        Ok(site.write().await.err().map(|error| error.to_string()).filter(|error| error.contains("x509")))
    })
    .await
    .unwrap();
    assert!(refused.contains("certificate signed by unknown authority"), "{refused}");

    site.set_bundles((new.pem() + &old.pem()).as_bytes()).await;
    eventually("a bundle of both fits", PATIENCE, async || site.write().await.map(Some).map_err(Into::into))
        .await
        .unwrap();
}
