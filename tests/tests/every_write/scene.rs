//! The namespace in which a case plays, and what is done there.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use backout_model::{
    names,
    release::{Phase, ReleaseStatus},
    undo::Operation,
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Event, Namespace, Pod},
};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use system_tests::{
    Backout, Output, User, demo, eventually,
    records::Logged,
    stories::{Home, Quiet, Snapshot, Stage},
};
use tokio::sync::OnceCell;

use super::case::Step;

/// Whoever deploys.
pub(super) const ALICE: User<'static> = User::Named("alice");
/// Another deployer of the same namespace.
pub(super) const BOB: User<'static> = User::Named("bob");

/// What is compared besides the kinds of every snapshot.
const KINDS_TOO: &str = ",jobs.batch,cronjobs.batch,daemonsets.apps,persistentvolumeclaims,\
    poddisruptionbudgets.policy,horizontalpodautoscalers.autoscaling,ingresses.networking.k8s.io,\
    networkpolicies.networking.k8s.io,roles.rbac.authorization.k8s.io,rolebindings.rbac.authorization.k8s.io";

/// How long any revision may take to its end on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_mins(3);

/// The stage that all cases share.
pub(super) async fn stage() -> &'static Stage<'static> {
    static STAGE: OnceCell<Stage<'static>> = OnceCell::const_new();
    let set = async || -> Result<Stage<'static>> {
        let (cluster, backout) = Backout::shared()?;
        demo::definitions(cluster).await?;
        Ok(Stage {
            cluster,
            backout: Some(backout),
            tell: &Quiet,
            suffix: format!("-{:08x}", rand::random::<u32>()),
        })
    };
    STAGE.get_or_try_init(set).await.unwrap()
}

/// Tries a write again where a busy machine is the reason why it failed.
pub(super) async fn patient<T>(what: &str, write: impl AsyncFn() -> kube::Result<T>) -> Result<T> {
    eventually(format!("{what} is written"), PATIENCE, async || Ok(Some(write().await?))).await
}

/// Runs a client; again, as people do, where a busy machine is the reason why it failed.
pub(super) async fn again(run: impl AsyncFn() -> Result<Output>) -> Result<Output> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let output = run().await?;
        if Instant::now() > deadline || !OVERLOADED.iter().any(|text| output.stderr.contains(text)) {
            return Ok(output);
        }
    }
}

/// A namespace in which a case plays.
pub(super) struct Scene {
    pub(super) home: Home<'static>,
    pub(super) client: Client,
    pub(super) release: String,
    /// The last one that is healthy: one or more, by how fast its writes were.
    revision: u64,
}

impl Scene {
    /// A namespace that opted in, of alice and bob.
    pub(super) async fn open(stage: &'static Stage<'static>, name: &str) -> Result<Self> {
        let home = stage.bystander(name).await?;
        for person in ["bob", &CONTROLLER.name()] {
            stage.cluster.grant(person, "admin", &home.name).await?;
        }
        let client = stage.cluster.client(User::Admin).await?;
        // Only now: what was done so far is no release.
        let metadata = json!({
            "labels": {names::ATOMIC: names::ATOMIC_ENABLED},
            "annotations": {names::POLICY_SETTLE: "2s", names::POLICY_SOAK: "1s"},
        });
        let patch = Patch::Merge(json!({ "metadata": metadata }));
        let namespaces: Api<Namespace> = Api::all(client.clone());
        namespaces.patch(&home.name, &PatchParams::default(), &patch).await?;
        let release = home.name.clone();
        Ok(Self { home, client, release, revision: 0 })
    }

    /// Takes the steps in their order.
    pub(super) async fn all(&self, steps: &[Step]) -> Result<()> {
        for step in steps {
            match step {
                Step::Kubectl(line) => {
                    drop(self.kubectl(ALICE, line, None).await?.success().with_context(|| line.to_string())?);
                }
                Step::Pipe(line, stdin) => {
                    drop(
                        self.kubectl(ALICE, line, Some(stdin))
                            .await?
                            .success()
                            .with_context(|| line.to_string())?,
                    );
                }
                Step::Fails(line, stdin, text) => {
                    let output = self.kubectl(ALICE, line, Some(stdin)).await?;
                    ensure!(!output.status.success() && output.stderr.contains(text), "{line}: {output:?}");
                }
                Step::By(user, line, stdin) => {
                    let output = self.kubectl(*user, line, Some(stdin)).await?;
                    drop(output.success().with_context(|| line.to_string())?);
                }
                Step::Controller(object, fields) => {
                    self.controller_writes(object, "some-controller", fields, false).await?;
                }
                Step::Manager(manager, object, fields) => {
                    self.controller_writes(object, manager, fields, true).await?;
                }
                Step::Do(act) => act(self).await?,
            }
        }
        Ok(())
    }

    /// Somebody runs kubectl in the namespace.
    pub(super) async fn kubectl(&self, user: User<'_>, line: &str, stdin: Option<&str>) -> Result<Output> {
        let words = ["-n", self.home.name.as_str()].into_iter().chain(line.split_whitespace());
        let words: Vec<_> = words.collect();
        again(async || {
            let mut kubectl = self.home.stage.cluster.kubectl().user(user).env("KUBECTL_APPLYSET", "true");
            if let Some(stdin) = stdin {
                kubectl = kubectl.stdin(stdin);
            }
            kubectl.run(&words).await
        })
        .await
    }

    /// The state of the namespace.
    pub(super) async fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take_with(&self.home, KINDS_TOO).await
    }

    /// Alice creates a Job that does not end: the revision stays open for as long as that lasts.
    pub(super) async fn hold_open(&self) -> Result<()> {
        let container = json!({"name": "c", "image": "registry.example/never-ready"});
        let pod = json!({"spec": {"restartPolicy": "Never", "containers": [container]}});
        let mark = json!({names::MARK: self.release});
        let job = json!({"metadata": {"name": BRAKE, "labels": mark}, "spec": {"backoffLimit": 0, "template": pod}});
        let jobs: Api<Job> = Api::namespaced(self.home.stage.cluster.client(ALICE).await?, &self.home.name);
        let job = serde_json::from_value(job)?;
        patient("a Job", async || jobs.create(&PostParams::default(), &job).await).await.map(drop)
    }

    /// The Job's pod fails, and the Job with it.
    pub(super) async fn fail(&self) -> Result<()> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.home.name);
        let of_job = ListParams::default().labels(&format!("job-name={BRAKE}"));
        // Only then has its node nothing more to say of it.
        let pod = eventually("the pod runs", PATIENCE, async || {
            let running = |pod: &Pod| pod.status.as_ref()?.phase.clone().filter(|phase| phase == "Running");
            Ok(pods.list(&of_job).await?.items.into_iter().find(|pod| running(pod).is_some()))
        })
        .await?;
        let ended = json!({"name": "c", "image": "x", "imageID": "x", "ready": false, "restartCount": 0,
            "state": {"terminated": {"exitCode": 1, "reason": "Error", "message": "as the case asks"}}});
        let status = json!({"status": {"phase": "Failed", "containerStatuses": [ended]}});
        pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
        Ok(())
    }

    /// Waits until all that was written is healthy. An empty log means that so is every release of the namespace.
    pub(super) async fn healthy(&mut self) -> Result<()> {
        self.revision = eventually("all is healthy", PATIENCE, async || {
            let heads = self.home.stage.cluster.record_heads(&self.home.name).await?;
            let status = self.home.release(&self.release).await?.status.unwrap_or_default();
            let is_healthy = heads.is_empty() && status.phase == Some(Phase::Healthy);
            ensure!(is_healthy, "{} records, {status:#?}", heads.len());
            Ok(Some(status.revision))
        })
        .await?;
        Ok(())
    }

    /// The end of the revision after what was healthy.
    pub(super) async fn end(&self) -> Result<ReleaseStatus> {
        let release = self.home.end_of(&self.release, self.revision + 1, PATIENCE).await?;
        release.status.context("no status")
    }

    /// The records of the namespace, but for the brake's.
    pub(super) async fn records(&self) -> Result<Vec<Logged>> {
        let mut records = self.home.stage.cluster.records(&self.home.name).await?;
        records.retain(|logged| logged.header().object.key.name != BRAKE);
        Ok(records)
    }

    /// What the log says of the writes since, without those of attempts that did not commit.
    pub(super) async fn recorded(&self, known: &BTreeSet<String>) -> Result<Vec<String>> {
        let records = self.records().await?;
        let state = self.snapshot().await?;
        let pointer = |object: &Value| {
            object.pointer("/metadata/labels")?.get(names::UNDO)?.as_str().map(str::to_owned)
        };
        let mut carried: BTreeSet<_> = state.0.values().filter_map(pointer).collect();
        carried.extend(
            records.iter().filter_map(|logged| logged.header().undo.as_ref().map(ToString::to_string)),
        );
        let mut told = Vec::new();
        let mut unseen = BTreeSet::new();
        for logged in records.iter().filter(|logged| !known.contains(logged.name())) {
            let header = logged.header();
            let committed = match header.operation {
                Operation::Update | Operation::Create => carried.contains(logged.name()),
                Operation::Delete | Operation::Scale => {
                    unseen.insert((header.uid.clone(), header.replicas.map(|replicas| replicas.after)))
                }
            };
            if committed {
                let object = &header.object;
                let name = header.generate_name.as_deref().unwrap_or(&object.key.name);
                told.push(format!("{:?} {}/{name}", header.operation, object.kind));
            }
        }
        Ok(told)
    }

    /// Waits until this kubectl prints this.
    pub(super) async fn until(&self, line: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        eventually(line, PATIENCE, async || {
            let printed = self.kubectl(User::Admin, line, None).await?.success()?.stdout;
            Ok(wanted(printed.trim()).then_some(()))
        })
        .await
    }

    /// What people are told by Events: `Kind/name: message`.
    pub(super) async fn events(&self) -> Result<Vec<String>> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.home.name);
        let told = events.list(&ListParams::default()).await?.items.into_iter().map(|event| {
            let about = event.involved_object;
            let (kind, name) = (about.kind.unwrap_or_default(), about.name.unwrap_or_default());
            format!("{kind}/{name}: {}", event.message.unwrap_or_default())
        });
        Ok(told.collect())
    }

    /// Objects of a kind as a user of the API sees them.
    pub(super) async fn api(&self, user: User<'_>, kind: &str) -> Result<Api<DynamicObject>> {
        let (_, api_version, plural) =
            KINDS.iter().find(|(name, ..)| *name == kind).context("an unknown kind")?;
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let resource = ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: (*api_version).to_owned(),
            kind: kind.to_owned(),
            plural: (*plural).to_owned(),
        };
        Ok(Api::namespaced_with(self.home.stage.cluster.client(user).await?, &self.home.name, &resource))
    }

    /// A controller of the cluster writes: it is no deployer.
    async fn controller_writes(&self, object: &str, manager: &str, fields: &str, apply: bool) -> Result<()> {
        let (kind, name) = object.split_once('/').context("Kind/name")?;
        let api = self.api(CONTROLLER, kind).await?;
        let mut fields: Value = serde_json::from_str(fields)?;
        if !apply {
            let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
            let patch = Patch::Merge(fields);
            return patient(manager, async || api.patch(name, &params, &patch).await).await.map(drop);
        }
        let (_, api_version, _) =
            KINDS.iter().find(|(known, ..)| *known == kind).context("an unknown kind")?;
        fields["apiVersion"] = json!(api_version);
        fields["kind"] = json!(kind);
        let (params, patch) = (PatchParams::apply(manager).force(), Patch::Apply(fields));
        patient(manager, async || api.patch(name, &params, &patch).await).await.map(drop)
    }
}

/// Allowed in the namespace what administrators are.
pub(super) const CONTROLLER: User<'static> =
    User::ServiceAccount { ns: "kube-system", name: "generic-garbage-collector" };

/// What clients are told when a call took too long.
const OVERLOADED: [&str; 4] =
    ["failed calling webhook", "too many requests", "etcdserver: request timed out", "TLS handshake timeout"];

/// The Job that holds a revision open, and makes it fail.
pub(super) const BRAKE: &str = "brake";

const KINDS: [(&str, &str, &str); 8] = [
    ("ConfigMap", "v1", "configmaps"),
    ("Secret", "v1", "secrets"),
    ("Service", "v1", "services"),
    ("Deployment", "apps/v1", "deployments"),
    ("StatefulSet", "apps/v1", "statefulsets"),
    ("DaemonSet", "apps/v1", "daemonsets"),
    ("Job", "batch/v1", "jobs"),
    ("Widget", "demo.example/v1", "widgets"),
];
