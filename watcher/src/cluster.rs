//! Calls to the API server for objects of any kind, each with a deadline.

use std::time::Duration;

use backout_model::{
    health::Live,
    names::{self, ReleaseKey},
    object::{Image, ObjectRef},
    release::Release,
};
use backout_runtime::api::{ApiError, Class, deadline};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, GetParams, ListParams, PartialObjectMeta, PropagationPolicy, VersionMatch},
    core::Request,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::params;

/// A read or write of one object; the server itself gives up after 34 s.
const CALL: Duration = Duration::from_secs(10);
/// How many objects are read at a time.
const PAGE: u32 = 500;

/// What became of a patch of field owners.
pub(crate) enum Owned {
    /// They are others than before.
    Anew,
    /// The server took the patch, and keeps the owners that it had.
    AsBefore,
}

/// The cluster as the watcher's service account sees it.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
}

impl Cluster {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The object as it is now, by a quorum read.
    pub(crate) async fn live(&self, object: &ObjectRef) -> Live {
        match self.call("GET", object, requests(object).get(&segment(object), &GetParams::default())).await {
            Ok(found) => Live::Present(found),
            Err(error) if error.is(Class::NotFound) => Live::Absent,
            Err(error) => Live::Unreadable(error.to_string()),
        }
    }

    /// The object that carries this undo pointer: the way to find one whose name the server generated.
    pub(crate) async fn tagged(&self, object: &ObjectRef, record: &str) -> Live {
        let params = ListParams::default().labels(&format!("{}={record}", names::UNDO)).limit(1);
        match self.call("LIST", object, requests(object).list(&params)).await {
            Ok(list) => first(list, object).map_or(Live::Absent, Live::Present),
            Err(error) => Live::Unreadable(error.to_string()),
        }
    }

    /// The object exactly as it was at `resource_version`; `None` if it did not exist then.
    pub(crate) async fn at(
        &self,
        object: &ObjectRef,
        resource_version: &str,
    ) -> Result<Option<Value>, ApiError> {
        let params = ListParams::default()
            .at(resource_version)
            .matching(VersionMatch::Exact)
            .fields(&format!("metadata.name={}", selected(&object.key.name)));
        let list = self.call("LIST", object, requests(object).list(&params)).await?;
        Ok(first(list, object))
    }

    /// A Release as it is now.
    pub(crate) async fn release(&self, key: &ReleaseKey) -> Result<Release, ApiError> {
        let releases: Api<Release> = Api::namespaced(self.client(), &key.namespace);
        deadline(CALL, format!("GET Release {key}"), releases.get(key.name.as_str())).await
    }

    /// The namespace as it is now, without its spec.
    pub(crate) async fn namespace(
        &self,
        name: &str,
    ) -> Result<Option<PartialObjectMeta<Namespace>>, ApiError> {
        let namespaces: Api<Namespace> = Api::all(self.client());
        deadline(CALL, format!("GET namespace {name}"), namespaces.get_metadata_opt(name)).await
    }

    /// What the server answers at a path of its own.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        let request = http::Request::get(path).body(Vec::new());
        self.send(format!("GET {path}"), request.map_err(kube::core::request::Error::BuildRequest)).await
    }

    /// All objects of a built-in kind in a namespace that `fields` select.
    pub(crate) async fn all(
        &self,
        api: &str,
        namespace: &str,
        resource: &str,
        fields: &str,
    ) -> Result<Vec<Value>, ApiError> {
        let requests = Request::new(format!("{api}/namespaces/{namespace}/{resource}"));
        let mut params = ListParams::default().limit(PAGE);
        if !fields.is_empty() {
            params = params.fields(fields);
        }
        let mut all = Vec::new();
        loop {
            let operation = format!("LIST {resource} of {namespace}");
            let mut list: Value = self.send(operation, requests.list(&params)).await?;
            let Some(Value::Array(mut items)) = list.get_mut("items").map(Value::take) else {
                return Ok(all);
            };
            for item in &mut items {
                // Nobody asks whose their fields are, which is half of what they weigh.
                if let Some(metadata) = item.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("managedFields");
                }
            }
            all.extend(items);
            match list.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => params = params.continue_token(token),
                _ => return Ok(all),
            }
        }
    }

    pub(crate) async fn create(&self, object: &ObjectRef, body: &Value) -> Result<(), ApiError> {
        self.write("POST", object, requests(object).create(&params::post(), bytes(body))).await
    }

    pub(crate) async fn replace(&self, object: &ObjectRef, body: &Value) -> Result<(), ApiError> {
        self.write("PUT", object, requests(object).replace(&segment(object), &params::post(), bytes(body)))
            .await
    }

    /// Sets `metadata.managedFields` of the object at `resource_version`: a `replace` of the resourceVersion makes
    /// etcd compare it (client-go's csaupgrade does the same), where a `test` would compare with a cache.
    pub(crate) async fn own(
        &self,
        object: &ObjectRef,
        resource_version: &str,
        managed_fields: &Value,
    ) -> Result<Owned, ApiError> {
        let operations = serde_json::json!([
            {"op": "replace", "path": "/metadata/managedFields", "value": managed_fields},
            {"op": "replace", "path": "/metadata/resourceVersion", "value": resource_version},
        ]);
        let owned = self.patch(object, operations).await?;
        let is_as_before = Image(&owned).resource_version() == Some(resource_version);
        Ok(if is_as_before { Owned::AsBefore } else { Owned::Anew })
    }

    /// Applies a JSON patch; the object as it is then.
    pub(crate) async fn patch(&self, object: &ObjectRef, operations: Value) -> Result<Value, ApiError> {
        let patch = params::operations(operations).map_err(|error| ApiError::new("PATCH", error))?;
        self.call("PATCH", object, requests(object).patch(&segment(object), &params::patch(), &patch)).await
    }

    pub(crate) async fn delete(
        &self,
        object: &ObjectRef,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), ApiError> {
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..params::exactly(Some(uid.to_owned()), Some(resource_version.to_owned()))
        };
        self.write("DELETE", object, requests(object).delete(&segment(object), &params)).await
    }

    async fn write(
        &self,
        verb: &'static str,
        object: &ObjectRef,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<(), ApiError> {
        self.call(verb, object, request).await.map(drop)
    }

    async fn call(
        &self,
        verb: &'static str,
        object: &ObjectRef,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Value, ApiError> {
        self.send(format!("{verb} {object}"), request).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        operation: String,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<T, ApiError> {
        match request {
            Ok(request) => deadline(CALL, operation, self.client.request(request)).await,
            Err(error) => Err(ApiError::new(operation, kube::Error::BuildRequest(error))),
        }
    }
}

fn requests(object: &ObjectRef) -> Request {
    let root = if object.key.group.is_empty() { "/api" } else { "/apis" };
    let scope = object.key.namespace.as_ref().map(|ns| format!("/namespaces/{ns}")).unwrap_or_default();
    Request::new(format!("{root}/{}{scope}/{}", object.api_version(), object.key.resource))
}

/// The object's name in a path: roles and bindings have names with any characters but `/` and `%`.
fn segment(object: &ObjectRef) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte);
    let escaped =
        |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    object.key.name.bytes().map(escaped).collect()
}

/// A value in a field selector: apimachinery fields.EscapeValue.
fn selected(name: &str) -> String {
    name.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=")
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// The first item of a list, completed by what lists of built-in kinds leave out.
fn first(mut list: Value, object: &ObjectRef) -> Option<Value> {
    let mut item = list.get_mut("items")?.get_mut(0)?.take();
    let fields = item.as_object_mut()?;
    fields.entry("apiVersion").or_insert_with(|| object.api_version().into());
    fields.entry("kind").or_insert_with(|| object.kind.clone().into());
    Some(item)
}
