//! What a person asks of a release by hand: a line of words in an annotation, answered in the status.
//!
//! ```text
//! look                                        only answer: what is then reported includes every earlier write
//! hold                                        touch nothing, whatever the verdict
//! resume                                      judge a held revision again
//! diff [of=REVISION]                          tell what the current revision changed, or a kept one
//! rollback [only=KIND/NAME]… [to=REVISION]    put everything back, or only some objects
//! ```
//!
//! A word `id=…` makes two requests for the same thing different ones: each is carried out once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::ObjectRef;

/// The longest request, in bytes: the status repeats it.
pub const LONGEST_REQUEST: usize = 1024;

/// What became of the last request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Answer {
    /// The request, word for word, as far as it may be long.
    pub request: String,
    /// It was refused, and nothing was done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// What is done now, or why nothing is.
    pub message: String,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Only an answer.
    Look,
    /// What a revision changed is to be told, in a Secret beside the Release: its name is the answer.
    Diff {
        /// This one; the current one if absent.
        of: Option<u64>,
    },
    /// The current revision is to be left as it is.
    Hold,
    /// A held revision is to be judged again.
    Resume,
    /// The current revision is to be rolled back.
    Rollback {
        /// Only these objects; all if empty.
        only: Vec<Pick>,
        /// To the state that this healthy revision left; the one before the current revision if absent.
        to: Option<u64>,
    },
}

/// An object as people name it: `Deployment/web`, `deployments/web`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Pick(String);

impl Pick {
    /// Whether this names `object`: by kind or resource, with or without its group, whatever the case.
    pub fn names(&self, object: &ObjectRef) -> bool {
        let Some((kind, name)) = self.0.split_once('/') else { return false };
        let (kind, group) = kind.split_once('.').map_or((kind, None), |(kind, group)| (kind, Some(group)));
        let is_kind =
            kind.eq_ignore_ascii_case(&object.kind) || kind.eq_ignore_ascii_case(&object.key.resource);
        is_kind && name == object.key.name && group.is_none_or(|group| group == object.key.group)
    }
}

impl std::fmt::Display for Pick {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Pick {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(format!("{text:?} names no object: it must be KIND/NAME, such as Deployment/web")),
        }
    }
}

impl std::str::FromStr for Order {
    type Err = String;

    fn from_str(request: &str) -> Result<Self, String> {
        let mut words = request.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let (mut only, mut to, mut of) = (Vec::new(), None, None);
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is no revision"));
        for word in words {
            match word.split_once('=') {
                Some(("id", _)) => {}
                Some(("only", pick)) if verb == "rollback" => only.push(pick.parse()?),
                Some(("to", revision)) if verb == "rollback" => to = Some(number(revision)?),
                Some(("of", revision)) if verb == "diff" => of = Some(number(revision)?),
                _ => return Err(format!("{word:?} means nothing to {verb:?}")),
            }
        }
        match verb {
            "look" => Ok(Self::Look),
            "diff" => Ok(Self::Diff { of }),
            "hold" => Ok(Self::Hold),
            "resume" => Ok(Self::Resume),
            "rollback" if to.is_some() && !only.is_empty() => {
                Err("only= and to= do not go together".to_owned())
            }
            "rollback" => Ok(Self::Rollback { only, to }),
            _ => Err(format!("{verb:?} is no request: it must be look, diff, hold, resume or rollback")),
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Look => f.write_str("look"),
            Self::Diff { of } => {
                f.write_str("diff")?;
                of.iter().try_for_each(|of| write!(f, " of={of}"))
            }
            Self::Hold => f.write_str("hold"),
            Self::Resume => f.write_str("resume"),
            Self::Rollback { only, to } => {
                f.write_str("rollback")?;
                only.iter().try_for_each(|pick| write!(f, " only={pick}"))?;
                to.iter().try_for_each(|to| write!(f, " to={to}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_is_written() {
        let pick: Pick = "Deployment/web".parse().unwrap();
        let all = [
            Order::Look,
            Order::Diff { of: None },
            Order::Diff { of: Some(3) },
            Order::Hold,
            Order::Resume,
            Order::Rollback { only: Vec::new(), to: None },
            Order::Rollback { only: vec![pick, "configmaps/a".parse().unwrap()], to: None },
            Order::Rollback { only: Vec::new(), to: Some(3) },
        ];
        for order in all {
            assert_eq!(format!("{order} id=7").parse::<Order>(), Ok(order));
        }
    }

    #[test]
    fn what_is_no_order_is_refused_with_the_rule() {
        for (request, why) in [
            ("", "it must be look, diff, hold, resume or rollback"),
            ("undo", "it must be look, diff, hold, resume or rollback"),
            ("diff of=last", "is no revision"),
            ("diff to=1", "means nothing"),
            ("hold now", "\"now\" means nothing to \"hold\""),
            ("hold only=ConfigMap/a", "means nothing"),
            ("rollback only=web", "it must be KIND/NAME"),
            ("rollback only=a/b/c", "it must be KIND/NAME"),
            ("rollback to=last", "is no revision"),
            ("rollback to=1 only=ConfigMap/a", "do not go together"),
        ] {
            let refusal = request.parse::<Order>().unwrap_err();
            assert!(refusal.contains(why), "{request}: {refusal}");
        }
    }

    #[test]
    fn an_object_is_named_by_kind_or_resource_and_its_own_name() {
        let web = ObjectRef {
            key: crate::object::ObjectKey {
                group: "apps".into(),
                resource: "deployments".into(),
                namespace: Some("shop".into()),
                name: "web".into(),
            },
            version: "v1".into(),
            kind: "Deployment".into(),
        };
        for (pick, names) in [
            ("Deployment/web", true),
            ("deployment/web", true),
            ("deployments/web", true),
            ("deployments.apps/web", true),
            ("deployments.extensions/web", false),
            ("Deployment/api", false),
            ("Service/web", false),
        ] {
            assert_eq!(pick.parse::<Pick>().unwrap().names(&web), names, "{pick}");
        }
    }
}
