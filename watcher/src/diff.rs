//! Telling what a revision changed, for who asks: in a Secret beside the Release, in place of the last one.

use std::time::Duration;

use backout_model::{
    evidence::{self, Findings, Source, Wanted, stored},
    names::ReleaseKey,
    protocol::Observed,
    release::{Order, Release},
    undo::pack::{self, Packed},
};
use backout_runtime::api::deadline;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Resource as _, ResourceExt as _};
use tokio::time::timeout;

use crate::{
    context::Context,
    evidence::{read, remove},
    params,
};

/// For everything: somebody waits.
const ALL: Duration = Duration::from_secs(5);

/// Stores what the request asks for; the name of the Secret, or why there is none.
pub(crate) async fn tell(context: &Context, key: &ReleaseKey, observed: &Observed) -> Result<String, String> {
    let late = |_| Err(format!("it could not be told within {} s", ALL.as_secs()));
    timeout(ALL, tell_at_leisure(context, key, observed)).await.unwrap_or_else(late)
}

async fn tell_at_leisure(context: &Context, key: &ReleaseKey, observed: &Observed) -> Result<String, String> {
    let order = observed.request.as_deref().unwrap_or_default().parse();
    let Ok(Order::Diff { of }) = order else { return Err("it was not asked for".to_owned()) };
    let diff = match evidence::source(&observed.status, of)? {
        Source::Log => {
            let mut wanted = evidence::wanted(observed);
            wanted.logs.clear();
            wanted.namespaces.clear();
            let found = read(context, observed, &wanted).await;
            evidence::diff(key, observed, &wanted, &found)
        }
        Source::Pack(name) => {
            let bytes = context.log.pack(&name).await.map_err(|error| error.message)?;
            let bytes = bytes.ok_or_else(|| format!("the pack {name} in Backout's namespace is gone"))?;
            let records = pack::decode(&bytes)
                .map_err(|why| format!("the pack {name} in Backout's namespace cannot be read: {why}"))?;
            let records = records.into_iter().map(Packed::unpack).collect();
            let past = evidence::of_pack(of.unwrap_or(observed.status.revision), records);
            evidence::diff(key, &past, &Wanted::default(), &Findings::default())
        }
    };
    let uid = observed.uid.as_deref().ok_or("the Release has no uid")?;
    store(context, uid, &stored::diff_secret(key, uid, &Release::api_version(&()), &diff)).await
}

async fn store(context: &Context, uid: &str, secret: &Secret) -> Result<String, String> {
    let namespace = secret.namespace().unwrap_or_default();
    let secrets: Api<Secret> = Api::namespaced(context.cluster.client(), &namespace);
    let name = secret.name_any();
    let last = deadline(ALL, format!("GET Secret {name}"), secrets.get_metadata_opt(&name)).await;
    if let Some(last) = last.map_err(|error| error.message)? {
        if stored::revision_of(&last.metadata, uid).is_none() {
            return Err(format!("Secret {name} is there already, and is something else"));
        }
        remove(&secrets, last.metadata).await.map_err(|error| error.message)?;
    }
    let created = deadline(ALL, format!("POST Secret {name}"), secrets.create(&params::post(), secret)).await;
    created.map(|_| name).map_err(|error| error.message)
}
