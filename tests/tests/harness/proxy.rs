//! The proxy between a client and the API server: each fate does to a request what it says, and nothing else.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use http::{HeaderValue, StatusCode, header};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, ResourceExt,
    api::{ListParams, ObjectMeta, PostParams, WatchEvent, WatchParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use system_tests::{
    Cluster, TestNamespace, User,
    proxy::{Act, Change, Entry, Event, Fate, Gate, Outcome, Proxy, Reply, Tap, expired},
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

#[tokio::test]
async fn a_request_through_the_proxy_meets_the_fate_that_its_rule_says() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "fates of requests").await.unwrap();
    let proxy = Proxy::start(cluster, &cluster.url()).await.unwrap();
    let maps = maps(cluster, &ns, &proxy).await;
    let (acted, mut acts) = mpsc::unbounded_channel();
    let act = move |what: &'static str| {
        let acted = acted.clone();
        Act::new(async move { acted.send(what).unwrap() })
    };
    proxy.rule(move |call| match call.body.windows(8).find(|name| name.starts_with(b"fate-")) {
        Some(b"fate-sto") => Fate::Stop(act("stop")),
        Some(b"fate-swa") => Fate::Swallow(act("swallow")),
        Some(b"fate-the") => Fate::Then(act("then")),
        Some(b"fate-rep") => Fate::Reply(
            Reply::status(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "slow down")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1")),
        ),
        Some(b"fate-res") => Fate::Reset,
        Some(b"fate-del") => Fate::Delay(Duration::from_millis(300)),
        _ => Fate::Pass,
    });

    let stopped = create(&maps, "fate-stop").await.unwrap_err();
    assert!(!format!("{stopped:?}").contains("ConnectionReset"), "{stopped:?}");
    create(&maps, "fate-swallow").await.unwrap_err();
    create(&maps, "fate-then").await.unwrap();
    let refused = create(&maps, "fate-reply").await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 429), "{refused:?}");
    let reset = create(&maps, "fate-reset").await.unwrap_err();
    assert!(format!("{reset:?}").contains("ConnectionReset"), "{reset:?}");
    let begin = Instant::now();
    create(&maps, "fate-delay").await.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(300));
    create(&maps, "passes").await.unwrap();

    let direct: Api<ConfigMap> = Api::namespaced(cluster.client(User::Admin).await.unwrap(), ns.name());
    let listed = direct.list(&ListParams::default()).await.unwrap();
    let stored: Vec<_> =
        listed.iter().map(ResourceExt::name_any).filter(|name| !name.contains("ca.crt")).collect();
    assert_eq!(stored, ["fate-delay", "fate-swallow", "fate-then", "passes"]);
    for what in ["stop", "swallow", "then"] {
        assert_eq!(timeout(PATIENCE, acts.recv()).await.unwrap(), Some(what));
    }
    let created = StatusCode::CREATED;
    let journal = proxy.journal();
    let outcomes: Vec<_> = journal.iter().map(|entry| entry.outcome.clone()).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Stopped,
            Outcome::Swallowed(created),
            Outcome::Answered(created),
            Outcome::Replied(StatusCode::TOO_MANY_REQUESTS),
            Outcome::Stopped,
            Outcome::Answered(created),
            Outcome::Answered(created),
        ]
    );
    assert!(journal.iter().all(|entry| entry.kind == "create configmaps" && entry.namespace == ns.name()));
    assert!(journal.iter().map(|entry| entry.number).eq(1..=7));
}

#[tokio::test]
async fn an_answer_that_is_held_is_as_old_as_its_request() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "held answers").await.unwrap();
    let behind = Proxy::start(cluster, &cluster.url()).await.unwrap();
    let proxy = Proxy::start(cluster, &behind.url()).await.unwrap();
    let maps = maps(cluster, &ns, &proxy).await;
    let gate = Gate::closed();
    let held = gate.clone();
    proxy.rule(move |call| if call.verb() == "list" { Fate::HoldAnswer(held.clone()) } else { Fate::Pass });

    let params = ListParams::default();
    let mut old = Box::pin(maps.list(&params));
    let answered = system_tests::eventually("the server has answered", PATIENCE, async || {
        let is_in = |entry: &Entry| entry.outcome == Outcome::Answered(StatusCode::OK);
        Ok(behind.journal().iter().any(is_in).then_some(()))
    });
    tokio::select! {
        _ = &mut old => panic!("it was not held"),
        answered = answered => answered.unwrap(),
    }
    assert!(timeout(Duration::from_millis(500), &mut old).await.is_err(), "it was not held");
    create(&maps, "later").await.unwrap();
    gate.open();
    let old = timeout(PATIENCE, old).await.unwrap().unwrap();
    assert!(old.iter().all(|map| map.name_any() != "later"));
    assert!(maps.list(&params).await.unwrap().iter().any(|map| map.name_any() == "later"));
}

#[tokio::test]
async fn a_watch_through_a_tap_loses_changes_and_holds_what_the_test_wants() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "tapped watches").await.unwrap();
    let proxy = Proxy::start(cluster, &cluster.url()).await.unwrap();
    let maps = maps(cluster, &ns, &proxy).await;
    let gate = Gate::closed();
    let held = gate.clone();
    proxy.rule(move |call| {
        let held = held.clone();
        if !call.is_watch() {
            return Fate::Pass;
        }
        Fate::Tap(Tap::new(move |event| match event.meta("name") {
            "dropped" => Change::Drop,
            "doubled" => {
                Change::Replace(vec![event.clone(), Event { kind: "DELETED".to_owned(), ..event.clone() }])
            }
            "held" => Change::Hold(held.clone()),
            "last" => Change::End(vec![expired()]),
            _ => Change::Pass,
        }))
    });

    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().map_ok(told).boxed();
    for name in ["passed", "dropped", "doubled", "held", "last"] {
        create(&maps, name).await.unwrap();
    }
    for wanted in ["added passed", "added doubled", "deleted doubled"] {
        assert_eq!(timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap(), wanted);
    }
    assert!(timeout(Duration::from_millis(500), events.next()).await.is_err(), "it was not held");
    gate.open();
    for wanted in ["added held", "error 410"] {
        assert_eq!(timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap(), wanted);
    }
    assert!(timeout(PATIENCE, events.next()).await.unwrap().is_none(), "the watch goes on");
}

#[tokio::test]
async fn a_watch_ends_when_the_test_says_whether_an_event_comes_or_not() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "ended watches").await.unwrap();
    let proxy = Proxy::start(cluster, &cluster.url()).await.unwrap();
    let maps = maps(cluster, &ns, &proxy).await;
    let gate = Gate::closed();
    let end = gate.clone();
    proxy.rule(move |call| {
        if call.is_watch() {
            Fate::Tap(Tap::new(|_| Change::Drop).until(&end, vec![expired()]))
        } else {
            Fate::Pass
        }
    });
    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().map_ok(told).boxed();
    create(&maps, "dropped").await.unwrap();
    assert!(timeout(Duration::from_millis(500), events.next()).await.is_err(), "it was not dropped");
    gate.open();
    assert_eq!(timeout(PATIENCE, events.try_next()).await.unwrap().unwrap().unwrap(), "error 410");
    assert!(timeout(PATIENCE, events.next()).await.unwrap().is_none(), "the watch goes on");
}

#[tokio::test]
async fn a_client_reconnects_after_a_cut_and_finds_another_server_after_a_redirection() {
    let cluster = Cluster::shared().unwrap();
    let ns = TestNamespace::new(cluster, "cut connections").await.unwrap();
    let proxy = Proxy::start(cluster, &cluster.url()).await.unwrap();
    let maps = maps(cluster, &ns, &proxy).await;
    let version = maps.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    proxy.cut();
    let end = timeout(PATIENCE, events.next()).await.unwrap();
    assert!(end.is_none_or(|event| event.is_err()), "the watch goes on");
    create(&maps, "after").await.unwrap();

    let nobody = system_tests::cluster::free_port().unwrap();
    proxy.redirect(&format!("https://127.0.0.1:{nobody}")).unwrap();
    sleep(Duration::from_millis(50)).await;
    create(&maps, "nowhere").await.unwrap_err();
    proxy.redirect(&cluster.url()).unwrap();
    create(&maps, "again").await.unwrap();
}

fn told(event: WatchEvent<ConfigMap>) -> String {
    match event {
        WatchEvent::Added(map) => format!("added {}", map.name_any()),
        WatchEvent::Deleted(map) => format!("deleted {}", map.name_any()),
        WatchEvent::Error(status) => format!("error {}", status.code),
        other => format!("{other:?}"),
    }
}

/// ConfigMaps of the namespace through the proxy, as a service account.
async fn maps(cluster: &Cluster, ns: &TestNamespace<'_>, proxy: &Proxy) -> Api<ConfigMap> {
    let account = format!("--serviceaccount={}:default", ns.name());
    let grant = ["create", "rolebinding", "proxied", "--clusterrole=edit", &account, "-n", ns.name()];
    cluster.kubectl().run(&grant).await.unwrap().success().unwrap();
    let user = User::ServiceAccount { ns: ns.name(), name: "default" };
    let kubeconfig = cluster.kubeconfig_at(user, &proxy.url()).await.unwrap();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    // One request is one request.
    config.default_retry = false;
    let maps = Api::namespaced(kube::Client::try_from(config).unwrap(), ns.name());
    // Through a connection of its own: the journal of the test begins with the test.
    let direct: Api<ConfigMap> = Api::namespaced(cluster.client(user).await.unwrap(), ns.name());
    system_tests::eventually("the grant is known", PATIENCE, async || {
        Ok(Some(direct.list(&ListParams::default()).await?))
    })
    .await
    .unwrap();
    maps
}

async fn create(maps: &Api<ConfigMap>, name: &str) -> kube::Result<ConfigMap> {
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await
}

const PATIENCE: Duration = Duration::from_secs(30);
