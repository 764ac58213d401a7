//! Whose write it is, and which release it belongs to.
//!
//! Both answers come from ordered tables. The conditions under which a write concerns Backout at all are evaluated
//! twice: here, and as CEL in the API server, so that a write that does not concern us costs no call and does not
//! depend on the webhook being up. Each row of the table says the same in both languages.

mod condition;
mod mark;

use std::borrow::Cow;

use k8s_openapi::api::admissionregistration::v1::MatchCondition;

use crate::{
    names::{ReleaseKey, ReleaseName},
    object::Image,
};

pub use condition::Exempt;
pub use mark::helm_release;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// A new object.
    Create,
    /// A changed object, by whatever request.
    Update,
    /// No object any more.
    Delete,
}

/// What the tables look at: one request.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What is asked for.
    pub verb: Verb,
    /// API group of the resource.
    pub group: &'a str,
    /// Plural name of the resource.
    pub resource: &'a str,
    /// Namespace of the object; empty for cluster-scoped ones.
    pub namespace: &'a str,
    /// Who asks.
    pub user: &'a str,
    /// The groups of who asks.
    pub groups: &'a [Cow<'a, str>],
    /// The field manager of the request; a deletion has none.
    pub field_manager: &'a str,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// The object as it is to be; for a deletion as it was.
    pub object: Image<'a>,
    /// The object as it was, for an update.
    pub old: Option<Image<'a>>,
}

/// The service accounts that count as deployers whatever they write, besides those that the tables know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deployers {
    accounts: Vec<String>,
}

impl Deployers {
    /// Takes service accounts as `NAMESPACE:NAME`, or as their full user name.
    pub fn new<S: AsRef<str>>(accounts: impl IntoIterator<Item = S>) -> Result<Self, NotAnAccount> {
        let accounts = accounts.into_iter().map(|account| full_name(account.as_ref()));
        Ok(Self { accounts: accounts.collect::<Result<_, _>>()? })
    }
}

/// A name that cannot be a service account's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no service account; it must be NAMESPACE:NAME")]
pub struct NotAnAccount(String);

impl Facts<'_> {
    /// Whether the write is a deployer's and of an object that Backout looks after; if not, why not.
    pub fn concern(&self, deployers: &Deployers) -> Result<(), Exempt> {
        condition::CONDITIONS.iter().try_for_each(|condition| condition.check(self, deployers))
    }

    /// The release that the write belongs to, by the first mark that names one; without a mark, that of the
    /// namespace. Cluster-scoped objects belong to none.
    pub fn release(&self) -> Option<ReleaseKey> {
        let marked = mark::MARKS.iter().find_map(|row| ReleaseName::from_mark(row.name(self, self.object)?));
        let name = marked.or_else(|| ReleaseName::from_mark(self.namespace))?;
        (!self.namespace.is_empty()).then(|| ReleaseKey::new(self.namespace, name))
    }
}

/// The conditions of [`Facts::concern`] as the API server evaluates them.
pub fn match_conditions(deployers: &Deployers) -> Vec<MatchCondition> {
    condition::CONDITIONS.iter().map(|condition| condition.render(deployers)).collect()
}

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

fn full_name(account: &str) -> Result<String, NotAnAccount> {
    let short = account.strip_prefix(SERVICE_ACCOUNT).unwrap_or(account);
    let part = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    match short.split_once(':') {
        Some((namespace, name)) if part(namespace) && part(name) => Ok(format!("{SERVICE_ACCOUNT}{short}")),
        _ => Err(NotAnAccount(account.to_owned())),
    }
}

#[cfg(test)]
mod tests;
