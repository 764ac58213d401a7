//! Leaf and authority are succeeded by others while calls go on.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use system_tests::{
    BackoutOptions, Process,
    proxy::{Act, Call, Fate, Proxy},
};

use super::{
    load::Load,
    planted::Planted,
    site::{RELOAD_DELAY, Site},
};

/// The one replica gets a new certificate at once, the other later; both well within what the watcher allows.
const LAGS: [Duration; 2] = [Duration::ZERO, Duration::from_secs(2)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_leaf_and_authority_are_succeeded_with_two_watchers_at_it() {
    let mut site = Site::new("rotation").await;
    let planted = planted(&mut site).await;
    let load = Load::start(&site, 200);
    let options = site.options();
    site.watcher(&options).await;
    site.watcher(&options).await;
    site.has_succeeded(&planted.pem()).await;
    // For as long as a replica might still have served with the old leaf.
    tokio::time::sleep(RELOAD_DELAY).await;
    goes_well(&site, load, "rotation").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_although_the_watcher_dies_at_each_step_of_a_succession() {
    let mut site = Site::new("dying").await;
    let proxy = Proxy::start(site.cluster, &site.cluster.url()).await.unwrap();
    let options = BackoutOptions { watcher_server: Some(proxy.url()), ..site.options() };
    let watcher = site.watcher(&options).await;
    watcher.pause().unwrap();
    let planted = planted(&mut site).await;
    let load = Load::start(&site, 20);
    let left = dies(&proxy, &site, &watcher);
    watcher.resume().unwrap();
    site.has_succeeded(&planted.pem()).await;
    assert_eq!(*left.lock().unwrap(), [], "deaths that were not died");
    goes_well(&site, load, "dying").await;
}

/// What is about to end is in use.
async fn planted(site: &mut Site) -> Planted {
    let planted = Planted::new(&site.name);
    site.plant(&planted).await;
    for lag in LAGS {
        site.replica(lag).await;
    }
    site.is_called().await;
    planted
}

async fn goes_well(site: &Site, load: Load, what: &str) {
    let calls = load.end(site, what).await;
    assert!(calls > 100, "{calls}");
    site.is_called().await;
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Death {
    /// Before the write is forwarded.
    Before,
    /// After it was forwarded, and before it is answered.
    Between,
}

/// The five writes of a succession: authority, bundles, leaf; and, each after a long wait, authority and bundles again.
const DEATHS: [Death; 8] = {
    use Death::{Before, Between};
    [Before, Between, Before, Between, Before, Between, Between, Between]
};

/// Lets the watcher die at its next writes, one after the other; those that are left.
fn dies(proxy: &Proxy, site: &Site, watcher: &Arc<Process>) -> Arc<Mutex<Vec<Death>>> {
    let left = Arc::new(Mutex::new(DEATHS.to_vec()));
    let (deaths, watcher) = (Arc::clone(&left), Arc::clone(watcher));
    let places = [site.serving(), site.authority(), site.name.clone()];
    let is_step = move |call: &Call| {
        let name = call.path.rsplit('/').next().unwrap_or_default();
        call.is_write() && places.iter().any(|place| place == name)
    };
    proxy.rule(move |call| {
        let mut deaths = deaths.lock().unwrap();
        if deaths.is_empty() || !is_step(call) {
            return Fate::Pass;
        }
        println!("dies at {} {}: {:?}", call.verb(), call.path, deaths[0]);
        let watcher = Arc::clone(&watcher);
        let act = Act::new(async move { watcher.restart().await.unwrap() });
        match deaths.remove(0) {
            Death::Before => Fate::Stop(act),
            Death::Between => Fate::Swallow(act),
        }
    });
    left
}
