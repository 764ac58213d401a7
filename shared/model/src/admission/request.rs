//! The AdmissionReview of a request.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// The request of an AdmissionReview, borrowing from its bytes.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Fresh for every call.
    #[serde(borrow)]
    pub uid: Cow<'a, str>,
    /// The kind of the objects.
    #[serde(borrow)]
    pub kind: Kind<'a>,
    /// The resource that is written to.
    #[serde(borrow)]
    pub resource: Resource<'a>,
    /// Empty for the object itself.
    #[serde(borrow, default)]
    pub sub_resource: Cow<'a, str>,
    /// Empty where the server generates the name.
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    /// Empty for cluster-scoped objects.
    #[serde(borrow, default)]
    pub namespace: Cow<'a, str>,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    #[serde(borrow)]
    pub operation: Cow<'a, str>,
    /// Who asks.
    #[serde(borrow, default)]
    pub user_info: UserInfo<'a>,
    /// Whether nothing is to be stored.
    #[serde(default)]
    pub dry_run: Option<bool>,
    /// The options of the request, of whatever kind.
    #[serde(borrow, default)]
    pub options: Option<Options<'a>>,
    /// The object as it is to be.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it was.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
}

/// A kind.
#[derive(Debug, Deserialize)]
pub struct Kind<'a> {
    /// Such as `Deployment`.
    #[serde(borrow)]
    pub kind: Cow<'a, str>,
}

/// A resource.
#[derive(Debug, Deserialize)]
pub struct Resource<'a> {
    /// Empty for the core group.
    #[serde(borrow, default)]
    pub group: Cow<'a, str>,
    /// Such as `v1`.
    #[serde(borrow)]
    pub version: Cow<'a, str>,
    /// Such as `deployments`.
    #[serde(borrow, rename = "resource")]
    pub plural: Cow<'a, str>,
}

/// Who asks.
#[derive(Debug, Default, Deserialize)]
pub struct UserInfo<'a> {
    /// The user's name.
    #[serde(borrow, default)]
    pub username: Cow<'a, str>,
    /// The user's groups.
    #[serde(borrow, default)]
    pub groups: Vec<Cow<'a, str>>,
    /// What the authenticator calls the user besides the name.
    #[serde(borrow, default)]
    pub uid: Cow<'a, str>,
    /// What else the authenticator says, as JSON: see [`Self::extra`].
    #[serde(borrow, default)]
    extra: Option<&'a RawValue>,
}

impl UserInfo<'_> {
    /// What else the authenticator says of the user: authorizers may look at it.
    pub fn extra(&self) -> BTreeMap<String, Vec<String>> {
        self.extra.and_then(|extra| serde_json::from_str(extra.get()).ok()).unwrap_or_default()
    }
}

/// What the options of creations, updates and patches have in common.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Options<'a> {
    /// Absent for a deletion.
    #[serde(borrow, default)]
    pub field_manager: Cow<'a, str>,
}

impl Request<'_> {
    /// The field manager; empty where the request brought none.
    pub fn field_manager(&self) -> &str {
        self.options.as_ref().map(|options| options.field_manager.as_ref()).unwrap_or_default()
    }
}

/// Reads an AdmissionReview that the API server sent.
pub fn parse(body: &[u8]) -> Result<Request<'_>, Invalid> {
    // Checked once for the whole, instead of string by string.
    let text = std::str::from_utf8(body).map_err(|_| Invalid::Encoding)?;
    match serde_json::from_str::<Review<Request<'_>>>(text) {
        Ok(Review { api_version, kind, request: Some(request) })
            if api_version == API_VERSION && kind == KIND =>
        {
            if request.uid.is_empty() {
                Err(Invalid::NoUid)
            } else {
                Ok(request)
            }
        }
        Ok(review) => Err(review.diagnose(None)),
        // Another version has another shape: find out whether it is one before blaming the shape.
        Err(error) => match serde_json::from_str::<Review<IgnoredAny>>(text) {
            Ok(review) => Err(review.diagnose(Some(error))),
            Err(error) => Err(Invalid::Json(error)),
        },
    }
}

/// Of what [`parse`] reads and [`super::answer`] writes.
pub(super) const API_VERSION: &str = "admission.k8s.io/v1";
/// See [`API_VERSION`].
pub(super) const KIND: &str = "AdmissionReview";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a, T> {
    #[serde(borrow, default)]
    api_version: Cow<'a, str>,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(default = "Option::default")]
    request: Option<T>,
}

impl<T> Review<'_, T> {
    fn diagnose(self, error: Option<serde_json::Error>) -> Invalid {
        if self.api_version != API_VERSION || self.kind != KIND {
            return Invalid::Version {
                api_version: self.api_version.into_owned(),
                kind: self.kind.into_owned(),
            };
        }
        match error {
            Some(error) => Invalid::Request(error),
            None => Invalid::NoRequest,
        }
    }
}

/// Why a body is no request that can be answered.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// Not UTF-8.
    #[error("the body is not UTF-8")]
    Encoding,
    /// Not JSON, or no object.
    #[error("the body is no JSON object: {0}")]
    Json(#[source] serde_json::Error),
    /// Something else than an AdmissionReview of the version that is spoken here.
    #[error(
        "the body is {kind:?} of {api_version:?}; only AdmissionReview of admission.k8s.io/v1 is answered"
    )]
    Version {
        /// What it says it is.
        api_version: String,
        /// What it says it is.
        kind: String,
    },
    /// There is nothing to decide.
    #[error("the AdmissionReview holds no request")]
    NoRequest,
    /// A request without uid cannot be answered.
    #[error("the request has no uid")]
    NoUid,
    /// The request lacks a field, or has one of the wrong type.
    #[error("the request cannot be read: {0}")]
    Request(#[source] serde_json::Error),
    /// The operation has an object, which is missing.
    #[error("the {operation} brings no {field}")]
    NoObject {
        /// The operation.
        operation: String,
        /// `object` or `oldObject`.
        field: &'static str,
    },
    /// There can be no such object.
    #[error("the {field} {value:?} cannot be an object's")]
    Impossible {
        /// What is wrong with the object.
        field: &'static str,
        /// What the request says.
        value: String,
    },
    /// The object is none.
    #[error("the {field} cannot be read: {source}")]
    Object {
        /// `object` or `oldObject`.
        field: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}
