//! What the server says of the lists and maps of its APIs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use backout_model::undo::schema::{Document, Schemas};
use backout_runtime::api::ApiError;
use futures::{StreamExt as _, stream};
use serde::Deserialize;

use crate::cluster::Cluster;

/// Documents side by side: each takes some megabytes while it is read.
const PARALLEL: usize = 2;

/// The OpenAPI v3 documents of the server, each read once for as long as it stays the same.
pub(crate) struct Documents {
    cluster: Cluster,
    by_url: Mutex<HashMap<String, Arc<Document>>>,
}

/// KEP-2896: where the document of each group and version lies; the address changes with the content.
#[derive(Deserialize)]
struct Index {
    paths: BTreeMap<String, Place>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

impl Documents {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster, by_url: Mutex::default() }
    }

    /// The schemas of these API versions (`apps/v1`), as the server has them now.
    pub(crate) async fn of(&self, api_versions: BTreeSet<String>) -> Schemas {
        let mut schemas = Schemas::default();
        if api_versions.is_empty() {
            return schemas;
        }
        let index = match self.cluster.get::<Index>("/openapi/v3").await {
            Ok(index) => index.paths,
            Err(error) => {
                for api_version in api_versions {
                    schemas.could_not_read(api_version, error.to_string());
                }
                return schemas;
            }
        };
        self.forget_all_but(&index.values().map(|place| place.url.as_str()).collect());
        let found = stream::iter(api_versions.into_iter().filter_map(|api_version| {
            let root = if api_version.contains('/') { "apis" } else { "api" };
            let url = index.get(&format!("{root}/{api_version}"))?.url.clone();
            Some((api_version, url))
        }));
        let read: Vec<_> = found
            .map(|(api_version, url)| async move { (api_version, self.document(url).await) })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        for (api_version, document) in read {
            match document {
                Ok(document) => schemas.insert(api_version, document),
                Err(error) => schemas.could_not_read(api_version, error.to_string()),
            }
        }
        schemas
    }

    async fn document(&self, url: String) -> Result<Arc<Document>, ApiError> {
        let known = self.by_url.lock().unwrap_or_else(PoisonError::into_inner).get(&url).cloned();
        if let Some(document) = known {
            return Ok(document);
        }
        let document = Arc::new(self.cluster.get::<Document>(&url).await?);
        self.by_url.lock().unwrap_or_else(PoisonError::into_inner).insert(url, Arc::clone(&document));
        Ok(document)
    }

    fn forget_all_but(&self, urls: &BTreeSet<&str>) {
        let mut by_url = self.by_url.lock().unwrap_or_else(PoisonError::into_inner);
        by_url.retain(|url, _| urls.contains(url.as_str()));
    }
}
