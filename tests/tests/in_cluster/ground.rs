//! The cluster with Backout in pods, or why there is none.

use std::{
    fs,
    ops::Deref,
    path::{Component, Path, PathBuf},
    sync::{Arc, Weak},
};

use anyhow::{Context, Result};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;
use system_tests::{
    Cluster, Node, Options, User, backout, demo, images,
    node::{self, Services},
    skip,
    stories::{Quiet, Stage},
};
use tokio::sync::{Mutex, MutexGuard};

/// Keeps what is no part of Backout off the real node, where no simulated image runs.
const TAINT: &str = "tests.backout.dev/real";

/// Everything that a story needs. Dropped in this order.
pub(crate) struct Ground {
    _services: Services,
    _node: Node,
    cluster: Cluster,
    images: Vec<images::Image>,
}

/// One test's time.
pub(crate) struct Turn {
    _turn: MutexGuard<'static, ()>,
    ground: Arc<Ground>,
}

impl Deref for Turn {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.ground
    }
}

static GROUND: Mutex<Weak<Ground>> = Mutex::const_new(Weak::new());

impl Ground {
    /// The running one, or a new one, which ends with the last test that waits for it, for this test alone; none, and a loud
    /// word why, where the machine lacks what that takes.
    pub(crate) async fn alone() -> Option<Turn> {
        static TURN: Mutex<()> = Mutex::const_new(());
        let mut running = GROUND.lock().await;
        let ground = match running.upgrade() {
            Some(ground) => ground,
            None => Arc::new(Self::start().await?),
        };
        *running = Arc::downgrade(&ground);
        drop(running);
        Some(Turn { _turn: TURN.lock().await, ground })
    }

    async fn start() -> Option<Self> {
        let missing = [node::missing(), images::missing()].concat();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let why = format!(
                "This machine lacks {missing}.\nOn Debian, as root: apt-get install buildah containerd runc \
                 containernetworking-plugins iproute2 iptables"
            );
            skip("BACKOUT WAS NOT TRIED IN PODS", &why);
            return None;
        }
        Some(Self::build().await.unwrap_or_else(|error| panic!("{error:#}")))
    }

    pub(crate) fn stage(&self) -> Stage<'_> {
        Stage { cluster: &self.cluster, backout: None, tell: &Quiet, suffix: String::new() }
    }

    /// What its pods run.
    pub(crate) fn images(&self) -> &[images::Image] {
        &self.images
    }

    /// Where everything is to be read.
    pub(crate) fn kept(&self) -> String {
        self.cluster.keep_for_inspection()
    }

    async fn build() -> Result<Self> {
        let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("images");
        let images = tokio::task::spawn_blocking(move || images::build(&out)).await??;
        for image in &images {
            println!("{}: {} KiB", image.name, image.size >> 10);
        }
        let cluster = Cluster::start(Options { real_node: true, ..Options::default() }).await?;
        let node = Node::join_with(&cluster, &images).await?;
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(cluster.client(User::Admin).await?);
        let taint = json!({"spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}});
        nodes.patch(node::NAME, &PatchParams::default(), &Patch::Merge(&taint)).await?;
        let services = Services::start(&cluster).await?;
        let ground = Self { _services: services, _node: node, cluster, images };
        let installed = ground.install().await;
        installed.map_err(|error| error.context(ground.kept()))?;
        Ok(ground)
    }

    /// As the README says it, but for where the pods run, and how long a release has to stay ready.
    pub(crate) async fn install(&self) -> Result<()> {
        self.apply("base", env!("CARGO_PKG_VERSION")).await?;
        demo::definitions(&self.cluster).await?;
        backout::called(&self.cluster).await
    }

    /// Brings what is in `manifests` there into the cluster, as this version, and waits until it runs. There is but one: another
    /// is the same program under another label.
    pub(crate) async fn apply(&self, of: &str, version: &str) -> Result<()> {
        let kustomization = self.kustomization(of, version)?;
        self.admin(&["apply", "-k", &kustomization]).await?;
        for program in images::PROGRAMS {
            self.rolls_out(program).await?;
        }
        Ok(())
    }

    /// Waits until the new pods of one of Backout's Deployments have taken over.
    pub(crate) async fn rolls_out(&self, program: &str) -> Result<()> {
        let deployment = format!("deployment/{program}");
        self.own(&["rollout", "status", &deployment, "--timeout=3m"]).await.map(drop)
    }

    /// The administrator runs kubectl in Backout's own namespace.
    pub(crate) async fn own(&self, args: &[&str]) -> Result<String> {
        self.admin(&[&["-n", backout::NAMESPACE], args].concat()).await
    }

    /// The administrator runs kubectl.
    pub(crate) async fn admin(&self, args: &[&str]) -> Result<String> {
        Ok(self.cluster.kubectl().run(args).await?.success()?.stdout)
    }

    /// A kustomization of what is in `manifests`, for this cluster.
    fn kustomization(&self, of: &str, version: &str) -> Result<String> {
        let dir = self.cluster.dir().join("install");
        fs::create_dir_all(&dir)?;
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests").join(of).canonicalize()?;
        let to_root = dir.components().filter(|part| matches!(part, Component::Normal(_))).map(|_| "..");
        let from_root = manifests.strip_prefix("/").context("it is an absolute path")?;
        let base: PathBuf = to_root.map(PathBuf::from).chain([from_root.to_owned()]).collect();
        let here = json!([
            {"op": "add", "path": "/spec/template/spec/nodeSelector", "value": {"kubernetes.io/hostname": node::NAME}},
            {"op": "add", "path": "/spec/template/spec/tolerations", "value": [{"key": TAINT, "operator": "Exists"}]},
            // There is but one real node.
            {"op": "add", "path": "/spec/template/spec/topologySpreadConstraints", "value": []},
        ]);
        let soak =
            json!([{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--soak=10s"}]);
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [base],
            "labels": [{"pairs": {"app.kubernetes.io/version": version}, "includeTemplates": true}],
            "patches": [
                {"target": {"kind": "Deployment"}, "patch": here.to_string()},
                {"target": {"kind": "Deployment", "name": "backout-watcher"}, "patch": soak.to_string()},
            ],
        });
        fs::write(dir.join("kustomization.yaml"), kustomization.to_string())?;
        dir.to_str().map(str::to_owned).context("a path that is no text")
    }
}
