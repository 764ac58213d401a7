//! A cluster that plays somebody else's, and a user with a kubeconfig whose current context is another one.

use std::{fs, path::PathBuf, time::Duration};

use serde_json::{Value, json};
use system_tests::{Backout, Cluster, Exit, Process, Spec, User, eventually, images};
use tokio::sync::{Mutex, MutexGuard, OnceCell};

/// The context of the cluster.
pub(crate) const MINE: &str = "mine";
/// The current context, whose server does not answer.
pub(crate) const WRONG: &str = "wrong";
/// The context of the cluster for somebody without rights.
pub(crate) const NOBODY: &str = "nobody";

/// The images that the nodes of the cluster know.
pub(crate) const SIMULATED: &[&str] = &[
    "--image=ready=registry.example/ready:1",
    "--image=missing=registry.example/missing:2",
    "--image=crash=registry.example/crash:2",
    "--image=no-command=registry.example/no-command:1",
];

/// A cluster and a user of it.
pub(crate) struct Abroad<'a> {
    pub(crate) cluster: &'a Cluster,
    kubeconfig: PathBuf,
    wrote: Vec<u8>,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// How a demo ended.
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) printed: String,
}

impl Abroad<'static> {
    /// The cluster with Backout in it, for one test alone.
    pub(crate) async fn alone() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        static INSTALLED: OnceCell<()> = OnceCell::const_new();
        let turn = TURN.lock().await;
        let (cluster, _) = Backout::shared().unwrap();
        INSTALLED.get_or_init(|| pods_too(cluster)).await;
        Self { _turn: Some(turn), ..Abroad::of(cluster).await }
    }
}

impl<'a> Abroad<'a> {
    /// A user of this cluster.
    pub(crate) async fn of(cluster: &'a Cluster) -> Self {
        let read = async |user| -> Value {
            let path = cluster.kubeconfig(user).await.unwrap();
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
        };
        let (admin, nobody) = (read(User::Admin).await, read(User::Named("nobody")).await);
        let context =
            |name, cluster, user| json!({"name": name, "context": {"cluster": cluster, "user": user}});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": WRONG,
            "clusters": [
                {"name": "nowhere", "cluster": {"server": NOWHERE}},
                {"name": "here", "cluster": admin["clusters"][0]["cluster"]},
            ],
            "users": [
                {"name": "admin", "user": admin["users"][0]["user"]},
                {"name": "nobody", "user": nobody["users"][0]["user"]},
            ],
            "contexts": [
                context(WRONG, "nowhere", "admin"),
                context(MINE, "here", "admin"),
                context(NOBODY, "here", "nobody"),
            ],
        });
        let dir = cluster.dir().join(format!("user-{:x}", rand::random::<u32>()));
        fs::create_dir(&dir).unwrap();
        let (kubeconfig, wrote) = (dir.join("config"), config.to_string().into_bytes());
        fs::write(&kubeconfig, &wrote).unwrap();
        Self { cluster, kubeconfig, wrote, _turn: None }
    }

    /// Runs the demo to its end.
    pub(crate) async fn demo(&self, args: &[&str]) -> Ended {
        let process = self.start(args);
        let exit = process.wait_exit().await;
        Ended { exit, printed: fs::read_to_string(process.log()).unwrap() }
    }

    /// Starts the demo, in an environment that would lead Helm elsewhere.
    pub(crate) fn start(&self, args: &[&str]) -> Process {
        let log = self.cluster.logs().join(format!("demo-{:x}.log", rand::random::<u32>()));
        let spec = Spec::new("demo", env!("CARGO_BIN_EXE_demo").as_ref(), log).args(args);
        let spec = spec.env("KUBECONFIG", &self.kubeconfig);
        let spec = spec.env("HELM_KUBECONTEXT", WRONG).env("HELM_KUBEAPISERVER", NOWHERE);
        Process::spawn(spec).unwrap()
    }

    /// The names of all namespaces, of what belongs to none, and of who may do what where.
    pub(crate) async fn inventory(&self) -> String {
        let kinds = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,\
            mutatingwebhookconfigurations,validatingwebhookconfigurations,rolebindings";
        let get = ["get", kinds, "--all-namespaces", "-o", "name"];
        self.cluster.kubectl().run(&get).await.unwrap().success().unwrap().stdout
    }

    pub(crate) fn kubeconfig_is_untouched(&self) {
        assert_eq!(fs::read(&self.kubeconfig).unwrap(), self.wrote);
        let beside = fs::read_dir(self.kubeconfig.parent().unwrap()).unwrap();
        assert_eq!(beside.count(), 1, "something was written beside the kubeconfig");
    }
}

const NOWHERE: &str = "https://127.0.0.1:1";

/// Backout runs as processes, and in pods of simulated nodes so that its Deployments are available, as they are elsewhere.
async fn pods_too(cluster: &Cluster) {
    for program in images::PROGRAMS {
        let deployment = format!("deployment/{program}");
        for args in
            [&["scale", "--replicas=1", &deployment][..], &["rollout", "status", "--timeout=2m", &deployment]]
        {
            let args = [&["-n", system_tests::backout::NAMESPACE], args].concat();
            cluster.kubectl().run(&args).await.unwrap().success().unwrap();
        }
    }
    eventually("the installation's own probe is gone", Duration::from_mins(2), async || {
        let namespaces = cluster.kubectl().run(&["get", "namespaces", "-o", "name"]).await?.success()?.stdout;
        Ok((!namespaces.contains("probe")).then_some(()))
    })
    .await
    .unwrap();
}
