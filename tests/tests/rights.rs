//! The two accounts of Backout have the rights that they use, and no others.
//!
//! Everything that takes a right is played once on a cluster of its own, and what the API server's audit log tells is
//! compared with the shipped manifests. After a change of those: `BLESS=1 cargo test -p system-tests --test rights`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail the test too")]

mod rights {
    pub(super) mod document;
    pub(super) mod play;
    pub(super) mod rule;
}

use std::collections::BTreeMap;

use rights::{
    document,
    play::{Play, play},
    rule::{Rule, rules},
};
use system_tests::{User, audit::Asked, backout::NAMESPACE};

const ACCOUNTS: [&str; 2] = ["backout-webhook", "backout-watcher"];

#[tokio::test]
async fn every_right_is_used_and_nothing_is_asked_for_without_a_right() {
    let Play { cluster, .. } = play().await;
    let mut unused: Vec<String> = Vec::new();
    for account in ACCOUNTS {
        let user = User::ServiceAccount { ns: NAMESPACE, name: account };
        let asked = cluster.asked(user).await.unwrap();
        let forbidden: Vec<_> = asked.iter().filter(|it| it.is_forbidden).collect();
        assert!(forbidden.is_empty(), "{account}: {forbidden:#?}\n{}", cluster.keep_for_inspection());
        let rules = rules(account);
        print!("{}", table(account, &asked));
        for rule in &rules {
            for (resource, verb) in
                rule.resources.iter().flat_map(|it| rule.verbs.iter().map(move |verb| (it, verb)))
            {
                let is_it = |it: &&Asked| it.verb == *verb && (resource == "*" || it.resource == *resource);
                if !asked.iter().filter(is_it).any(|it| uses(&rules, rule, it)) {
                    unused.push(format!("{account} may {verb} {resource}, by the rule for {rule}"));
                }
            }
        }
        let unnamed = asked.iter().filter(|it| !rules.iter().any(|rule| rule.allows(it)));
        let own: Vec<_> = unnamed.filter(|it| !it.resource.starts_with('/')).collect();
        assert!(own.is_empty(), "{account} lives on rights that the manifests do not give it: {own:#?}");
    }
    assert!(unused.is_empty(), "rights that nothing uses: {unused:#?}\n{}", cluster.keep_for_inspection());
}

#[test]
fn the_document_tells_of_each_rule_what_it_is_for() {
    document::check(&ACCOUNTS.map(|account| (account, rules(account))));
}

/// Whether the request needs this rule: what a rule by name allows too, the one for everything is not needed for.
fn uses(rules: &[Rule], rule: &Rule, asked: &Asked) -> bool {
    rule.allows(asked)
        && (!rule.is_for_everything()
            || !rules.iter().any(|other| !other.is_for_everything() && other.allows(asked)))
}

/// What was asked for, and how often.
fn table(account: &str, asked: &[Asked]) -> String {
    let mut counts: BTreeMap<(String, &str, &str), usize> = BTreeMap::new();
    for it in asked {
        let group = if it.group.is_empty() { String::new() } else { format!(".{}", it.group) };
        let place = if it.namespace == NAMESPACE { NAMESPACE } else { "" };
        *counts.entry((format!("{}{group}", it.resource), place, &it.verb)).or_default() += 1;
    }
    let line = |((resource, place, verb), count): (&(String, &str, &str), &usize)| {
        format!("{account:16} {verb:7} {count:6} {resource} {place}\n")
    };
    counts.iter().map(line).collect()
}
