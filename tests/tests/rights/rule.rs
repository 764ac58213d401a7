//! The rules of the shipped roles.

use std::{fmt, fs};

use serde_json::Value;
use system_tests::{audit::Asked, backout::NAMESPACE};

/// One rule of a role.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// Whether it holds in Backout's own namespace only.
    pub(crate) is_own: bool,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) verbs: Vec<String>,
}

impl Rule {
    pub(crate) fn is_for_everything(&self) -> bool {
        self.groups == ["*"] && self.resources == ["*"]
    }

    pub(crate) fn allows(&self, asked: &Asked) -> bool {
        let lists = |list: &[String], what: &str| list.iter().any(|it| it == "*" || it == what);
        lists(&self.groups, &asked.group)
            && lists(&self.resources, &asked.resource)
            && lists(&self.verbs, &asked.verb)
            && (self.names.is_empty() || self.names.contains(&asked.name))
            && (!self.is_own || asked.namespace == NAMESPACE)
            && !asked.resource.starts_with('/')
    }

    /// Its resources with their groups.
    pub(crate) fn what(&self) -> String {
        let groups: Vec<_> = self.groups.iter().map(|it| if it.is_empty() { "core" } else { it }).collect();
        format!("{} of {}", self.resources.join(", "), groups.join(", "))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what())?;
        if !self.names.is_empty() {
            write!(f, " named {}", self.names.join(", "))?;
        }
        if self.is_own {
            write!(f, " in {NAMESPACE}")?;
        }
        Ok(())
    }
}

/// The rules of this account, as they stand in its manifest.
pub(crate) fn rules(account: &str) -> Vec<Rule> {
    let file = account.replace("backout-", "rbac-");
    let path = format!("{}/../manifests/base/{file}.yaml", env!("CARGO_MANIFEST_DIR"));
    let objects: Vec<Value> = serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap();
    let mut rules = Vec::new();
    for role in &objects {
        let all = role["rules"].as_array().into_iter().flatten();
        rules.extend(all.map(|rule| Rule {
            is_own: role["kind"] == "Role",
            groups: strings(&rule["apiGroups"]),
            resources: strings(&rule["resources"]),
            names: strings(&rule["resourceNames"]),
            verbs: strings(&rule["verbs"]),
        }));
    }
    assert!(!rules.is_empty(), "{account} has no rule");
    rules
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|it| it.as_str().unwrap().to_owned()).collect()
}
