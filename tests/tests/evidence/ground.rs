//! Backout behind a proxy, with fewer rights than it has elsewhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result};
use backout_model::{
    evidence::{Evidence, stored},
    release::{Phase, ReleaseStatus},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use system_tests::{
    Backout, BackoutOptions, Cluster, User,
    audit::Write,
    demo, eventually, oracle,
    proxy::{Call, Fate, Proxy},
    stories::{Home, Quiet, Stage},
};
use tokio::sync::{OnceCell, RwLock};

/// Longer than anything lasts here.
pub(crate) const PATIENCE: Duration = Duration::from_mins(5);

type Rule = Box<dyn FnMut(&Call) -> Fate + Send>;

/// The cluster of this binary, and what becomes of the watcher's requests in each namespace.
pub(crate) struct Ground {
    pub(crate) stage: Stage<'static>,
    rules: Arc<Mutex<HashMap<String, Rule>>>,
}

/// Held for reading while a watcher must live, and for writing by whoever kills it.
pub(crate) static LIVES: RwLock<()> = RwLock::const_new(());

/// The same for all tests.
pub(crate) async fn ground() -> &'static Ground {
    static GROUND: OnceCell<Ground> = OnceCell::const_new();
    GROUND.get_or_try_init(prepare).await.unwrap()
}

async fn prepare() -> Result<Ground> {
    static RUNNING: OnceLock<(Backout, Proxy)> = OnceLock::new();
    let cluster = Cluster::shared()?;
    let proxy = Proxy::start(cluster, &cluster.url()).await?;
    let rules: Arc<Mutex<HashMap<String, Rule>>> = Arc::default();
    let all = Arc::clone(&rules);
    proxy.rule(move |call| {
        let mut rules = all.lock().unwrap();
        call.namespace().and_then(|ns| rules.get_mut(ns)).map_or(Fate::Pass, |rule| rule(call))
    });
    let options = BackoutOptions { watcher_server: Some(proxy.url()), ..BackoutOptions::default() };
    let backout = Backout::install(cluster, options).await?;
    let (backout, _) = RUNNING.get_or_init(|| (backout, proxy));
    demo::definitions(cluster).await?;
    cluster.kubectl().stdin(RIGHTS).run(&["apply", "-f", "-"]).await?.success()?;
    let suffix = format!("-{:08x}", rand::random::<u32>());
    let ground = Ground { stage: Stage { cluster, backout: Some(backout), tell: &Quiet, suffix }, rules };
    eventually("the watcher has fewer rights", PATIENCE, async || {
        Ok((!ground.may("default", "create", "secrets").await?).then_some(()))
    })
    .await?;
    Ok(ground)
}

/// The watcher's rights but those that only the evidence takes. It is given them by namespace.
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: backout-watcher}
rules:
- {apiGroups: [""], resources: [configmaps, namespaces, nodes, pods, serviceaccounts, services], verbs: [get, list, watch, create, update, patch, delete]}
- {apiGroups: [""], resources: [secrets], verbs: [get, list, update, patch, delete]}
- {apiGroups: [apps, batch, demo.example], resources: ["*"], verbs: [get, list, create, update, patch, delete]}
- {apiGroups: [backout.dev], resources: [releases], verbs: [get, list, watch, create]}
- {apiGroups: [backout.dev], resources: [releases/status], verbs: [update]}
- {apiGroups: [admissionregistration.k8s.io], resources: ["*"], verbs: [get, list, watch]}
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: see}
rules:
- {apiGroups: [""], resources: [pods/log, events], verbs: [get, list]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: store}
rules:
- {apiGroups: [""], resources: [secrets], verbs: [create]}
"#;

impl Ground {
    /// A namespace in which the watcher may gather evidence, where a revision is given up soon.
    pub(crate) async fn home(&'static self, name: &str) -> Home<'static> {
        self.home_with(name, &["see", "store"], &[]).await
    }

    /// The same with these rights of the watcher, after this was done that is no release.
    pub(crate) async fn home_with(
        &'static self,
        name: &str,
        roles: &[&str],
        before: &[&str],
    ) -> Home<'static> {
        let home = self.stage.bystander(name).await.unwrap();
        if !before.is_empty() {
            home.admin(before).await.unwrap().success().unwrap();
        }
        for role in roles {
            let bind = ["create", "rolebinding", role, "--clusterrole", role, "--serviceaccount", ACCOUNT];
            home.admin(&bind).await.unwrap().success().unwrap();
        }
        let wanted = [("see", "get", "pods/log"), ("store", "create", "secrets")];
        for (_, verb, resource) in wanted.into_iter().filter(|(role, ..)| roles.contains(role)) {
            eventually("the watcher has its rights", PATIENCE, async || {
                Ok(self.may(&home.name, verb, resource).await?.then_some(()))
            })
            .await
            .unwrap();
        }
        self.deadline(&home, "4s").await;
        let opt_in = ["label", "namespace", &home.name, "backout.dev/atomic=enabled"];
        home.admin(&opt_in).await.unwrap().success().unwrap();
        home
    }

    /// How long a revision may take to become ready, from now on.
    pub(crate) async fn deadline(&self, home: &Home<'_>, deadline: &str) {
        let deadline = format!("backout.dev/deadline={deadline}");
        let annotate = ["annotate", "namespace", &home.name, "--overwrite", &deadline];
        home.admin(&annotate).await.unwrap().success().unwrap();
    }

    async fn may(&self, ns: &str, verb: &str, resource: &str) -> Result<bool> {
        let account = format!("system:serviceaccount:{ACCOUNT}");
        let ask = ["auth", "can-i", verb, resource, "-n", ns, "--as", &account];
        Ok(self.stage.cluster.kubectl().run(&ask).await?.status.success())
    }

    /// Decides what becomes of the watcher's requests that concern this namespace.
    pub(crate) fn rule(&self, home: &Home<'_>, rule: impl FnMut(&Call) -> Fate + Send + 'static) {
        self.rules.lock().unwrap().insert(home.name.clone(), Box::new(rule));
    }
}

const ACCOUNT: &str = "backout-system:backout-watcher";

/// A Secret, a ConfigMap that gives it away, and a Deployment that uses it and another Secret.
pub(crate) fn app(image: &str, password: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Secret
metadata: {{name: creds}}
stringData: {{password: "{password}", pin: "1234"}}
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{url: "postgres://web:{password}@db/shop", image: "{image}"}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      containers:
      - name: web
        image: {image}
        env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: creds, key: password}}}}}}]
        envFrom: [{{secretRef: {{name: used, optional: true}}}}]
"#
    )
}

pub(crate) const GOOD: &str = "registry.example/ready:1";
pub(crate) const CRASHING: &str = "registry.example/crash:2";
pub(crate) const MISSING: &str = "registry.example/missing:2";

pub(crate) fn kept(home: &Home<'_>) -> String {
    format!("{}\n{}", home.name, home.stage.cluster.keep_for_inspection())
}

/// The end of a revision, which must be this one.
pub(crate) async fn ends(home: &Home<'_>, revision: u64, phase: Phase) -> ReleaseStatus {
    let release = home.end_of(&home.name, revision, PATIENCE).await;
    let status =
        release.unwrap_or_else(|error| panic!("{error:#}\n{}", kept(home))).status.unwrap_or_default();
    assert_eq!(status.phase, Some(phase), "{status:#?}\n{}", kept(home));
    status
}

/// The Secret that the status names, and what it says.
pub(crate) async fn evidence(home: &Home<'_>, status: &ReleaseStatus) -> (Secret, Evidence) {
    let name = status.evidence.as_deref();
    let name = name.unwrap_or_else(|| panic!("no evidence: {status:#?}\n{}", kept(home)));
    let secret = secrets(home).await.get(name).await.unwrap();
    let json = &secret.data.as_ref().unwrap()[stored::KEY].0;
    let told = serde_json::from_slice(json).unwrap();
    (secret, told)
}

pub(crate) async fn secrets(home: &Home<'_>) -> Api<Secret> {
    Api::namespaced(home.stage.cluster.client(User::Admin).await.unwrap(), &home.name)
}

/// That the watcher wrote nothing that it should not have, and its evidence before it restored: the names of that.
pub(crate) async fn audited(home: &Home<'_>) -> Vec<String> {
    let mut witness = oracle::witness(home.stage.cluster, &["alice"]).await.unwrap();
    let here = format!(" {}/", home.name);
    witness.violations.retain(|violation| violation.contains(&here));
    assert_eq!(witness.violations, Vec::<String>::new(), "{}", kept(home));
    witness.evidence.remove(&home.name).unwrap_or_default()
}

/// The time from the decision to the first restore, as the API server saw both.
pub(crate) async fn hesitation(home: &Home<'_>) -> SignedDuration {
    let writes =
        home.stage.cluster.writes().await.unwrap().committed().by(oracle::WATCHER).within(&home.name).0;
    let rolls =
        |it: &Option<serde_json::Value>| it.as_ref().is_some_and(|it| it["status"]["phase"] == "RollingBack");
    let time = |at: &str| at.parse::<Timestamp>().unwrap();
    let decided = writes.iter().find(|write| rolls(&write.request)).map(|write| time(&write.at));
    let told =
        |write: &Write| ["releases", "events"].contains(&write.resource.as_str()) || write.is_evidence();
    let touching = writes.iter().filter(|write| !told(write));
    let restored = touching.map(|write| time(&write.at)).min();
    let (decided, restored) = decided.zip(restored).context("nothing was rolled back").unwrap();
    assert!(restored > decided, "{}", kept(home));
    restored.duration_since(decided)
}
