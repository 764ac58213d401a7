//! Rules of health for kinds that nobody knows but their users.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// When objects of a kind are healthy, and when they have failed. Rules for a kind stand in the place of what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthRule {
    /// The API group, such as `example.com`; empty for the core group.
    #[serde(default)]
    pub group: String,
    /// The kind, such as `Database`.
    pub kind: String,
    /// An object is ready when all of these hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub ready: Vec<HealthTest>,
    /// It has failed when one of these holds for 10 seconds, and did not before the revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub failed: Vec<HealthTest>,
}

/// A look at one condition, or at one field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("oneOf" = [{"required": ["condition"]}, {"required": ["field"]}]))]
pub struct HealthTest {
    /// The type of a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// The status that the condition must have (default True).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The path of a field, such as `status.phase`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The values that the field may have; any if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub is: Vec<String>,
}
