//! The cluster's life, and the lives of its processes.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use system_tests::{Cluster, Options, User, eventually};

/// A cluster of its own: here servers are killed.
#[tokio::test]
async fn killed_servers_come_back_on_the_same_port_with_the_same_data() {
    let started = Instant::now();
    let cluster = Cluster::start(Options::default()).await.unwrap();
    println!("a second cluster was ready after {:?}", started.elapsed());
    let maps: Api<ConfigMap> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), "default");
    let kubectl = ["create", "configmap", "survivor", "--from-literal=a=b"];
    cluster.kubectl().run(&kubectl).await.unwrap().success().unwrap();

    cluster.etcd().kill9().await.unwrap();
    cluster.apiserver().kill9().await.unwrap();
    assert!(maps.get("survivor").await.is_err());
    cluster.etcd().restart().await.unwrap();
    cluster.apiserver().restart().await.unwrap();
    cluster.wait_ready().await.unwrap();
    let patience = Duration::from_mins(1);
    let found =
        eventually("the object is back", patience, async || Ok(maps.get_opt("survivor").await?)).await;
    assert_eq!(found.unwrap().data.unwrap()["a"], "b");

    let (dir, pid) = (cluster.dir().to_owned(), cluster.apiserver().pid());
    cluster.stop().await.unwrap();
    assert!(!dir.exists());
    assert!(!std::fs::exists(format!("/proc/{pid}")).unwrap());
}

#[tokio::test]
async fn a_paused_server_answers_again_after_it_is_resumed() {
    let cluster = Cluster::shared().unwrap();
    // Of the shared processes only the scheduler can stand still without disturbing the other tests much.
    let scheduler = cluster.scheduler();
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", scheduler.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    let patience = Duration::from_secs(5);
    scheduler.pause().unwrap();
    eventually("it is stopped", patience, async || Ok((state() == 'T').then_some(()))).await.unwrap();
    scheduler.resume().unwrap();
    eventually("it runs", patience, async || Ok((state() != 'T').then_some(()))).await.unwrap();
}
