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
    names::{self, ReleaseKey, ReleaseName},
    object::Image,
};

pub use condition::Exempt;
pub use mark::{helm_release, is_helm};

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
    /// Namespace of the object; empty for a cluster-scoped one.
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
    /// namespace.
    ///
    /// A mark on a cluster-scoped object stays in force when a write takes it off: the object is the release's still.
    pub fn belongs(&self) -> Belongs {
        let marked = self.marked(self.object);
        let marked = marked.or_else(|| self.marked(self.old.filter(|_| self.namespace.is_empty())?));
        let own = || {
            let stays = |said: &mark::Said<'_>| said.namespace.is_empty() || said.namespace == self.namespace;
            let name = self.marks(self.object).find(stays).map_or(self.namespace, |said| said.name);
            Some(ReleaseKey::new(self.namespace, ReleaseName::from_mark(name)?))
        };
        Belongs {
            join: marked.filter(|release| release.namespace != self.namespace),
            own: if self.namespace.is_empty() { None } else { own() },
        }
    }

    /// What the first mark that counts says.
    fn marked(&self, object: Image<'_>) -> Option<ReleaseKey> {
        self.marks(object).find_map(|said| {
            let namespace = if said.namespace.is_empty() { self.namespace } else { said.namespace };
            (!namespace.is_empty())
                .then(|| Some(ReleaseKey::new(namespace, ReleaseName::from_mark(said.name)?)))?
        })
    }

    fn marks<'a>(&'a self, object: Image<'a>) -> impl Iterator<Item = mark::Said<'a>> {
        let counts = |said: &mark::Said<'_>| !names::PROTECTED_NAMESPACES.contains(&said.namespace);
        mark::MARKS.iter().filter_map(move |row| row.says(self, object)).filter(counts)
    }
}

/// Which release a write may belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belongs {
    /// In another namespace, because the first mark says so: only if whoever writes may join that release.
    pub join: Option<ReleaseKey>,
    /// In the object's own namespace, if it has one: where there is no other, or it may not be joined.
    pub own: Option<ReleaseKey>,
}

/// The conditions of [`Facts::concern`] as the API server evaluates them.
pub fn match_conditions(deployers: &Deployers) -> Vec<MatchCondition> {
    condition::CONDITIONS.iter().map(|condition| condition.render(deployers)).collect()
}

/// The same for cluster-scoped objects: they concern Backout only with a mark that names a release and its namespace.
pub fn match_conditions_of_cluster(deployers: &Deployers) -> Vec<MatchCondition> {
    let mut conditions = match_conditions(deployers);
    conditions.push(condition::marked());
    conditions
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
