//! One more API server over the same database.

use std::ffi::OsString;

use anyhow::{Context, Result};

use super::{Cluster, User, control_plane, free_port};
use crate::process::Process;

impl Cluster {
    /// The port of the database.
    pub fn etcd_port(&self) -> Result<u16> {
        let servers = self.apiserver.spec().args.iter().find_map(|arg| arg.to_str()?.strip_prefix(ETCD));
        let port = servers.and_then(|url| url.rsplit(':').next()).and_then(|port| port.parse().ok());
        port.context("the API server knows no database")
    }

    /// One more API server, which finds the database at this port: the real one, or one in front of it. Returns the
    /// process and its URL. Its writes are in the same audit log; kubeconfigs for it come from
    /// [`Cluster::kubeconfig_at`].
    pub async fn another_apiserver(&self, name: &str, etcd_port: u16) -> Result<(Process, String)> {
        let port = free_port()?;
        let mut spec = self.apiserver.spec().clone();
        name.clone_into(&mut spec.name);
        spec.log = self.logs().join(format!("{name}.log"));
        for arg in &mut spec.args {
            let text = arg.to_str().unwrap_or_default();
            let changed = if text.starts_with(ETCD) {
                format!("{ETCD}http://127.0.0.1:{etcd_port}")
            } else if text.starts_with(PORT) {
                format!("{PORT}{port}")
            } else {
                continue;
            };
            *arg = OsString::from(changed);
        }
        let (process, url) = (Process::spawn(spec)?, format!("https://127.0.0.1:{port}"));
        let client = super::client_from(&self.kubeconfig_at(User::Admin, &url).await?).await?;
        control_plane::ready(&client, &[&process]).await?;
        Ok((process, url))
    }
}

const ETCD: &str = "--etcd-servers=";
const PORT: &str = "--secure-port=";
