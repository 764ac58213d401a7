//! Who talks to the cluster: certificates, tokens, kubeconfigs, clients, grants.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    authentication::v1::{TokenRequest, TokenRequestSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::ServiceAccount,
    rbac::v1::{RoleBinding, RoleRef, Subject},
};
use kube::{
    Api, Client, Config,
    api::{ObjectMeta, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use super::Cluster;
use crate::{
    certs::{self, Authority, Pair},
    wait::eventually,
};

/// Who a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User<'a> {
    /// `admin` in `system:masters`.
    Admin,
    /// A person with a client certificate and no rights but the granted ones.
    Named(&'a str),
    /// The kubelet of the node with this name.
    Node(&'a str),
    /// A service account, by a token from the `TokenRequest` API.
    ServiceAccount {
        /// Its namespace.
        ns: &'a str,
        /// Its name.
        name: &'a str,
    },
}

impl User<'_> {
    /// The name that the API server knows, and writes to the audit log.
    pub fn name(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Named(name) => (*name).to_owned(),
            Self::Node(name) => format!("system:node:{name}"),
            Self::ServiceAccount { ns, name } => format!("system:serviceaccount:{ns}:{name}"),
        }
    }

    /// The group that its certificate names.
    fn group(&self) -> Option<&'static str> {
        match self {
            Self::Admin => Some("system:masters"),
            Self::Node(_) => Some("system:nodes"),
            Self::Named(_) | Self::ServiceAccount { .. } => None,
        }
    }
}

impl Cluster {
    /// A new client, bound to the runtime of the caller.
    pub async fn client(&self, user: User<'_>) -> Result<Client> {
        let path = self.kubeconfig(user).await?;
        client_from(&path).await
    }

    /// The path of a kubeconfig for this user.
    pub async fn kubeconfig(&self, user: User<'_>) -> Result<PathBuf> {
        self.kubeconfig_at(user, &self.url()).await
    }

    /// The path of a kubeconfig for this user that names another URL than the API server's own: a proxy's, or that of a
    /// second API server. Certificates do not pass a proxy: only a service account gets through.
    pub async fn kubeconfig_at(&self, user: User<'_>, url: &str) -> Result<PathBuf> {
        let mut name = user.name();
        if url != self.url() {
            name = format!("{name}-at-{}", url.rsplit(':').next().unwrap_or_default());
        }
        let path = kubeconfig_path(self.dir(), &name);
        if path.exists() {
            return Ok(path);
        }
        let _one_at_a_time = self.minting.lock().await;
        if path.exists() {
            // Somebody else was faster, and may be reading its certificate now.
            return Ok(path);
        }
        let credentials = match user {
            User::ServiceAccount { ns, name } => json!({ "token": self.token(ns, name).await? }),
            User::Admin | User::Named(_) | User::Node(_) => {
                by_certificate(&self.authority().client(&user.name(), user.group())?)
            }
        };
        write_kubeconfig(&path, url, self.authority(), &credentials)?;
        Ok(path)
    }

    /// Binds a person to a cluster role (`admin`, `edit`, `view` or one of the test's own) in a namespace.
    pub async fn grant(&self, person: &str, cluster_role: &str, ns: &str) -> Result<()> {
        grant(&self.client(User::Admin).await?, person, cluster_role, ns).await
    }

    /// Written when the cluster starts.
    fn admin_kubeconfig(&self) -> PathBuf {
        kubeconfig_path(self.dir(), &User::Admin.name())
    }

    async fn token(&self, ns: &str, name: &str) -> Result<String> {
        let accounts: Api<ServiceAccount> = Api::namespaced(client_from(&self.admin_kubeconfig()).await?, ns);
        let spec = TokenRequestSpec { expiration_seconds: Some(24 * 60 * 60), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let answer = answer.with_context(|| format!("no token for service account {ns}/{name}"))?;
        answer.status.and_then(|status| status.token).context("a token request without a token")
    }
}

/// The administrator binds a person to a cluster role in a namespace, and waits until it counts.
pub(crate) async fn grant(client: &Client, person: &str, cluster_role: &str, ns: &str) -> Result<()> {
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), ns);
    let name = Some(format!("{}-{cluster_role}", certs::file_name(person)));
    let api_group = Some("rbac.authorization.k8s.io".to_owned());
    let binding = RoleBinding {
        metadata: ObjectMeta { name, ..ObjectMeta::default() },
        role_ref: RoleRef {
            api_group: api_group.clone(),
            kind: "ClusterRole".to_owned(),
            name: cluster_role.to_owned(),
        },
        subjects: Some(vec![Subject {
            api_group,
            kind: "User".to_owned(),
            name: person.to_owned(),
            namespace: None,
        }]),
    };
    let created = bindings.create(&PostParams::default(), &binding).await;
    created.with_context(|| format!("cannot grant {cluster_role} in {ns} to {person}"))?;
    if ["admin", "edit", "view"].contains(&cluster_role) {
        let attributes = ResourceAttributes {
            namespace: Some(ns.to_owned()),
            verb: Some("get".to_owned()),
            resource: Some("pods".to_owned()),
            ..ResourceAttributes::default()
        };
        wait_allowed(client, person, &attributes).await?;
    }
    Ok(())
}

/// The API server's authorizer learns of a grant a moment after it was made.
pub(crate) async fn wait_allowed(client: &Client, user: &str, what: &ResourceAttributes) -> Result<()> {
    let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.to_owned()),
            resource_attributes: Some(what.clone()),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let (verb, resource) = (what.verb.as_deref(), what.resource.as_deref());
    let told = format!("{user} may {} {}", verb.unwrap_or_default(), resource.unwrap_or_default());
    eventually(told, Duration::from_secs(30), async || {
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.filter(|status| status.allowed).map(drop))
    })
    .await
}

/// The kubeconfig of a component, by certificate.
pub(super) fn component_kubeconfig(
    dir: &Path,
    url: &str,
    authority: &Authority,
    user: &str,
    group: Option<&str>,
) -> Result<PathBuf> {
    let path = kubeconfig_path(dir, user);
    write_kubeconfig(&path, url, authority, &by_certificate(&authority.client(user, group)?))?;
    Ok(path)
}

pub(crate) async fn client_from(kubeconfig: &Path) -> Result<Client> {
    // A second installation is an error that changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn by_certificate(pair: &Pair) -> serde_json::Value {
    json!({ "client-certificate": pair.cert, "client-key": pair.key })
}

fn kubeconfig_path(dir: &Path, user: &str) -> PathBuf {
    dir.join("kubeconfigs").join(certs::file_name(user))
}

/// Written whole and renamed: two tests may ask for the same user at once.
fn write_kubeconfig(
    path: &Path,
    url: &str,
    authority: &Authority,
    credentials: &serde_json::Value,
) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{
            "name": "test",
            "cluster": { "server": url, "certificate-authority": authority.ca() },
        }],
        "users": [{ "name": "test", "user": credentials }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    let folder = path.parent().context("a kubeconfig lies in a folder")?;
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!(".unfinished-{:x}", rand::random::<u64>()));
    certs::write_private(&unfinished, &serde_json::to_string_pretty(&config)?)?;
    Ok(fs::rename(&unfinished, path)?)
}
