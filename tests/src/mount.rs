//! A Secret as files, as a kubelet keeps them for a pod.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use tokio::{runtime::Builder, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    certs::Pair,
    cluster::{Cluster, User, client_from},
};

/// How often the Secret is looked at.
const SYNC: Duration = Duration::from_millis(300);

/// A Secret that is mounted. What was there stays when the Secret goes, as in a running pod.
pub struct Mount {
    dir: PathBuf,
    end: CancellationToken,
}

impl Mount {
    /// Mounts the Secret; a change of it arrives after `lag`.
    pub async fn start(cluster: &Cluster, ns: &str, secret: &str, lag: Duration) -> Result<Self> {
        let dir = cluster.dir().join(format!("mount-{secret}-{:08x}", rand::random::<u32>()));
        fs::create_dir_all(&dir)?;
        let end = CancellationToken::new();
        let admin = cluster.kubeconfig(User::Admin).await?;
        let (ns, secret) = (ns.to_owned(), secret.to_owned());
        let follows = follow(admin, ns, secret, dir.clone(), lag);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = end.clone();
        // Of its own: tests come and go with their runtimes.
        thread::Builder::new().name("kubelet".to_owned()).spawn(move || {
            if let Some(Err(error)) = runtime.block_on(ended.run_until_cancelled(follows)) {
                eprintln!("a mount ended: {error:#}");
            }
        })?;
        Ok(Self { dir, end })
    }

    /// Where a webhook finds its certificate.
    pub fn pair(&self) -> Pair {
        Pair { cert: self.dir.join("tls.crt"), key: self.dir.join("tls.key") }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn follow(kubeconfig: PathBuf, ns: String, secret: String, dir: PathBuf, lag: Duration) -> Result<()> {
    let client: Client = client_from(&kubeconfig).await?;
    let secrets: Api<Secret> = Api::namespaced(client, &ns);
    let mut shown = None;
    for number in 0_u64.. {
        let found = secrets.get_opt(&secret).await.ok().flatten().and_then(|secret| secret.data);
        if let Some(data) = found.filter(|data| shown.as_ref() != Some(data)) {
            sleep(if shown.is_some() { lag } else { Duration::ZERO }).await;
            let files = data.iter().map(|(name, content)| (name.as_str(), content.0.as_slice()));
            show(&dir, number, files).with_context(|| format!("cannot mount {secret}"))?;
            shown = Some(data);
        }
        sleep(SYNC).await;
    }
    Ok(())
}

/// All files change at once, for they lie behind one link (kubelet's `AtomicWriter`).
fn show<'a>(dir: &Path, number: u64, files: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<()> {
    let (version, link) = (format!("..{number}"), dir.join("..data"));
    fs::create_dir(dir.join(&version))?;
    for (name, content) in files {
        fs::write(dir.join(&version).join(name), content)?;
        let visible = dir.join(name);
        if visible.symlink_metadata().is_err() {
            symlink(Path::new("..data").join(name), visible)?;
        }
    }
    let next = dir.join("..data_tmp");
    symlink(&version, &next)?;
    Ok(fs::rename(&next, &link)?)
}
