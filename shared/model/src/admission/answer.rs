//! The AdmissionReview that answers a request.

use serde::Serialize;

use k8s_openapi::ByteString;

use super::{
    patch::Patch,
    request::{API_VERSION, KIND},
};
use crate::names::RecordName;

/// What the API server is told.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// The write may go on.
    Allow {
        /// How the object is changed.
        patch: Option<&'a Patch>,
        /// A line for the deployer's terminal.
        warning: Option<&'a str>,
        /// The record of the write, for the audit log.
        undo: Option<&'a RecordName>,
    },
    /// The write may not go on.
    Deny {
        /// What and why, and what to do.
        message: &'a str,
    },
}

/// Writes the answer to the request with this uid.
pub fn answer(uid: &str, answer: Answer<'_>) -> Vec<u8> {
    let response = match answer {
        Answer::Allow { patch, warning, undo } => Response {
            uid,
            allowed: true,
            patch_type: patch.map(|_| "JSONPatch"),
            patch: patch.map(Patch::base64),
            warnings: warning.map(|warning| [warning]),
            audit_annotations: undo.map(|undo| AuditAnnotations { undo }),
            status: None,
        },
        Answer::Deny { message } => Response {
            uid,
            allowed: false,
            patch_type: None,
            patch: None,
            warnings: None,
            audit_annotations: None,
            status: Some(Status { code: 403, reason: "Forbidden", message }),
        },
    };
    // Strings and numbers: nothing there that JSON cannot express.
    serde_json::to_vec(&Review { api_version: API_VERSION, kind: KIND, response }).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<&'a ByteString>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    audit_annotations: Option<AuditAnnotations<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
}

#[derive(Serialize)]
struct AuditAnnotations<'a> {
    undo: &'a RecordName,
}

#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'a str,
    message: &'a str,
}
