//! Where a story plays: a namespace that opted in, and its people.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use backout_model::{
    names,
    release::{Phase, Release},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};

use super::{Quiet, Snapshot, Tell};
use crate::{Backout, Cluster, Output, Site, User, cluster, demo, site};

/// The cluster with Backout in it, and someone to tell.
pub struct Stage<'a, C = Cluster> {
    /// The cluster.
    pub cluster: &'a C,
    /// The processes of Backout; none where it runs in pods.
    pub backout: Option<&'a Backout>,
    /// Who is told.
    pub tell: &'a dyn Tell,
    /// Makes the namespaces' names unique where stories are played more than once.
    pub suffix: String,
}

/// The namespace of a story, administered by alice, who knows nothing of Backout.
pub struct Home<'a, C = Cluster> {
    /// The stage it is on.
    pub stage: &'a Stage<'a, C>,
    /// Its name.
    pub name: String,
    releases: Api<Release>,
}

/// The person of the stories.
pub(super) const ALICE: User<'static> = User::Named("alice");

impl Stage<'static> {
    /// A stage on the shared cluster, with names of its own and nobody to tell.
    pub async fn shared() -> Result<Self> {
        static DEFINED: OnceCell<()> = OnceCell::const_new();
        let (cluster, backout) = Backout::shared()?;
        DEFINED.get_or_try_init(|| demo::definitions(cluster)).await?;
        Ok(Self {
            cluster,
            backout: Some(backout),
            tell: &Quiet,
            suffix: format!("-{:08x}", rand::random::<u32>()),
        })
    }
}

impl<'a> Stage<'a> {
    /// The processes of Backout.
    ///
    /// # Panics
    /// Where it runs in pods.
    #[expect(clippy::expect_used, reason = "whoever asks has set the stage")]
    pub fn backout(&self) -> &'a Backout {
        self.backout.expect("Backout runs as processes here")
    }

    /// A Deployment, its settings, and a ConfigMap that never changes.
    pub fn small(image: &str, greeting: &str) -> Result<String> {
        let manifest = std::fs::read_to_string(Self::file("small.yaml"))?;
        Ok(manifest.replace("IMAGE", image).replace("GREETING", greeting))
    }

    /// The path of a file of the stories.
    pub fn file(name: &str) -> String {
        site::files().join(name).to_string_lossy().into_owned()
    }
}

impl<'a, C: Site> Stage<'a, C> {
    /// A namespace that opted in.
    pub async fn home(&'a self, name: &str) -> Result<Home<'a, C>> {
        let home = self.bystander(name).await?;
        // Only now: what the storyteller did so far is no release.
        let opt_in = format!("{}={}", names::ATOMIC, names::ATOMIC_ENABLED);
        home.admin(&["label", "namespace", &home.name, &opt_in]).await?.success()?;
        sleep(self.cluster.setting().notice).await;
        Ok(home)
    }

    /// A namespace that did not opt in.
    pub async fn bystander(&'a self, name: &str) -> Result<Home<'a, C>> {
        let name = format!("{name}{}", self.suffix);
        let client = self.cluster.client(User::Admin).await?;
        let setting = self.cluster.setting();
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(setting.labels.clone()),
                annotations: Some(setting.annotations.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        cluster::grant(&client, "alice", "admin", &name).await?;
        let home = Home { stage: self, releases: Api::namespaced(client, &name), name };
        // Pods are refused until the account exists that they run as by default; the other one is in every snapshot. One by
        // one: kubectl waits for no two that are both missing.
        for given in ["serviceaccount/default", "configmap/kube-root-ca.crt"] {
            home.admin(&["wait", "--for=create", "--timeout=30s", given]).await?.success()?;
        }
        Ok(home)
    }
}

impl<C: Site> Home<'_, C> {
    /// How long a revision may take here.
    pub(super) fn patience(&self) -> Duration {
        self.stage.cluster.setting().patience
    }

    /// The text with the images that stand here for those of the stories.
    pub(super) fn translate(&self, text: &str) -> String {
        self.stage.cluster.setting().images.translate(text)
    }

    fn located(&self, arg: &str) -> String {
        let files = &self.stage.cluster.setting().files;
        arg.strip_prefix("./").map_or_else(|| arg.to_owned(), |name| files.join(name).display().to_string())
    }

    /// Alice runs kubectl in her namespace; what she types is told. `files` of the stories are named without path.
    pub async fn kubectl(&self, args: &[&str]) -> Result<Output> {
        let args: Vec<_> = args.iter().map(|arg| self.translate(arg)).collect();
        self.stage.tell.command(&format!("kubectl {}", args.join(" ")));
        let args: Vec<_> = args.iter().map(|arg| self.located(arg)).collect();
        let mut all = vec!["-n", &self.name];
        all.extend(args.iter().map(String::as_str));
        let output = self.stage.cluster.kubectl().user(ALICE).run(&all).await?;
        self.stage.tell.quote(&shortened(&output));
        Ok(output)
    }

    /// Alice pipes a manifest into kubectl.
    pub async fn apply(&self, manifest: &str, told: &str) -> Result<()> {
        self.stage.tell.command(told);
        let kubectl = self.stage.cluster.kubectl().user(ALICE).stdin(self.translate(manifest));
        let output = kubectl.run(&["-n", &self.name, "apply", "-f", "-"]).await?.success()?;
        self.stage.tell.quote(&shortened(&output));
        Ok(())
    }

    /// Alice runs Helm in her namespace.
    pub async fn helm(&self, args: &[&str]) -> Result<Output> {
        let args: Vec<_> = args.iter().map(|arg| self.translate(arg)).collect();
        self.stage.tell.command(&format!("helm {}", args.join(" ")));
        let args: Vec<_> = args.iter().map(|arg| self.located(arg)).collect();
        let mut all = vec!["-n", &self.name];
        all.extend(args.iter().map(String::as_str));
        let output = self.stage.cluster.helm().user(ALICE).run(&all).await?;
        self.stage.tell.quote(&shortened(&output));
        Ok(output)
    }

    /// The storyteller looks for herself, untold.
    pub async fn admin(&self, args: &[&str]) -> Result<Output> {
        let mut all = vec!["-n", self.name.as_str()];
        all.extend(args);
        self.stage.cluster.kubectl().run(&all).await
    }

    /// The Release of this name.
    pub async fn release(&self, name: &str) -> Result<Release> {
        Ok(self.releases.get(name).await?)
    }

    /// Waits until this revision of the release ends, and tells what becomes of it meanwhile.
    pub async fn end_of(&self, release: &str, revision: u64, patience: Duration) -> Result<Release> {
        let deadline = Instant::now() + patience;
        let mut told = None;
        loop {
            let found = self.releases.get_opt(release).await?;
            let status = found.as_ref().and_then(|found| found.status.clone()).unwrap_or_default();
            if status.revision == revision
                && let Some(phase) = status.phase
            {
                if told != Some(phase) {
                    told = Some(phase);
                    let text = format!("release {release} revision {revision}: {}", phase.as_str());
                    self.stage.tell.event(&match phase {
                        Phase::Open | Phase::Progressing | Phase::Soaking => text,
                        _ => format!("{text}. {}", status.message),
                    });
                }
                if !phase.is_undecided() && phase != Phase::RollingBack {
                    return found.context("the Release is gone");
                }
            }
            if Instant::now() > deadline {
                bail!(
                    "revision {revision} of {}/{release} did not end in {patience:?}: {status:#?}",
                    self.name
                );
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Claims that the namespace is what it was, but for the uids of objects that had to be made anew; false, and not
    /// told, if it is not.
    pub async fn claim_same(&self, before: &Snapshot, made_anew: &[&str], claim: &str) -> Result<bool> {
        let differences = before.differences(&Snapshot::take(self).await?, made_anew);
        if !differences.is_empty() {
            eprintln!("{}: not as it was before: {differences:#?}", self.name);
            return Ok(false);
        }
        self.stage.tell.claim(claim);
        Ok(true)
    }
}

/// What a client printed, without the lines that say the same of every object.
fn shortened(output: &Output) -> String {
    const LINES: usize = 12;
    let text = format!("{}{}", output.stderr, output.stdout);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let shown = lines.len().min(LINES);
    let mut text = lines.iter().take(shown).map(|line| (*line).to_owned()).collect::<Vec<_>>();
    if lines.len() > shown {
        text.push(format!("… {} more lines", lines.len() - shown));
    }
    text.join("\n")
}
