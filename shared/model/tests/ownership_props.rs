//! Field ownership after a rollback, against a small model of the server's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test says what it expects by failing"
)]

use std::collections::{BTreeMap, BTreeSet};

use backout_model::{
    names,
    undo::{
        merge::{self, Undone},
        ownership,
        schema::Schema,
    },
};
use proptest::{collection::btree_map, option, prelude::*, sample::select};
use serde_json::{Map, Value, json};

fn undo(live: &Value, before: &Value, after: &Value) -> Undone {
    merge::undo(live, before, after, Schema::UNKNOWN)
}

/// A server that keeps the fields of `spec` and who owns them, as structured-merge-diff does.
#[derive(Clone, Debug, Default)]
struct Server {
    values: BTreeMap<&'static str, u8>,
    owners: BTreeMap<&'static str, BTreeSet<&'static str>>,
}

impl Server {
    fn update(&mut self, manager: &'static str, values: BTreeMap<&'static str, u8>) {
        let changed: Vec<_> =
            values.iter().filter(|(field, value)| self.values.get(*field) != Some(value)).collect();
        for owned in self.owners.values_mut() {
            owned.retain(|field| {
                values.contains_key(field) && !changed.iter().any(|(changed, _)| *changed == field)
            });
        }
        self.owners.entry(manager).or_default().extend(changed.iter().map(|(field, _)| **field));
        self.values = values;
    }

    fn set(&mut self, manager: &'static str, changes: &BTreeMap<&'static str, Option<u8>>) {
        let mut values = self.values.clone();
        for (field, value) in changes {
            match value {
                Some(value) => values.insert(field, *value),
                None => values.remove(field),
            };
        }
        self.update(manager, values);
    }

    /// Server-side apply with force: what the manager applied before and leaves out now goes if nobody else owns it.
    fn apply(&mut self, manager: &'static str, applied: &BTreeMap<&'static str, Option<u8>>) {
        let applied: BTreeMap<_, _> =
            applied.iter().filter_map(|(field, value)| Some((*field, (*value)?))).collect();
        let left_out = self.owners.remove(manager).unwrap_or_default();
        let mut values = self.values.clone();
        for field in left_out.iter().filter(|field| !applied.contains_key(*field)) {
            if !self.owners.values().any(|owned| owned.contains(field)) {
                values.remove(field);
            }
        }
        values.extend(&applied);
        self.update(manager, values);
        self.owners.insert(manager, applied.into_keys().collect());
    }

    fn object(&self) -> Value {
        let entries = self.owners.iter().filter(|(_, owned)| !owned.is_empty()).map(|(manager, owned)| {
            let fields: Map<_, _> = owned.iter().map(|field| (format!("f:{field}"), json!({}))).collect();
            json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:spec": fields}})
        });
        let entries: Vec<_> = entries.collect();
        json!({"metadata": {"name": "x", "managedFields": entries}, "spec": self.values})
    }

    fn owners_of(&self, fields: &[&str]) -> BTreeSet<(&'static str, &'static str)> {
        let owned =
            self.owners.iter().flat_map(|(manager, owned)| owned.iter().map(|field| (*manager, *field)));
        owned.filter(|(_, field)| fields.contains(field)).collect()
    }
}

fn owners_in(managed_fields: &Value) -> BTreeSet<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let owned = |entry: &Value| entry["fieldsV1"]["f:spec"].as_object().cloned().unwrap_or_default();
    let entries = managed_fields.as_array().into_iter().flatten();
    let pairs = entries.flat_map(|entry| {
        let manager = text(&entry["manager"]);
        owned(entry)
            .into_iter()
            .map(move |(field, _)| (manager.clone(), field.trim_start_matches("f:").to_owned()))
    });
    pairs.collect()
}

const RELEASES: [&str; 3] = ["a", "b", "c"];
const OTHERS: [&str; 2] = ["x", "y"];

#[derive(Clone, Debug)]
struct Step {
    manager: &'static str,
    apply: bool,
    changes: BTreeMap<&'static str, Option<u8>>,
}

fn step(managers: &'static [&'static str], fields: &'static [&'static str]) -> impl Strategy<Value = Step> {
    let changes = btree_map(select(fields), option::weighted(0.8, 0..3_u8), 0..=fields.len());
    (select(managers), any::<bool>(), changes).prop_map(|(manager, apply, changes)| Step {
        manager,
        apply,
        changes,
    })
}

impl Step {
    fn run(&self, server: &mut Server) {
        if self.apply {
            server.apply(self.manager, &self.changes);
        } else {
            server.set(self.manager, &self.changes);
        }
    }
}

proptest! {
    #[test]
    fn fields_go_back_to_their_owners_and_others_keep_theirs(
        setup in prop::collection::vec(step(&["kubectl", "helm", "ops"], &["a", "b", "c", "x", "y"]), 0..4),
        writes in prop::collection::vec((step(&["kubectl", "helm"], &RELEASES), step(&["hpa"], &OTHERS)), 1..4),
    ) {
        let mut server = Server::default();
        for step in &setup {
            step.run(&mut server);
        }
        // What the release's managers own of the others' fields, an apply without them would give up.
        server.owners.retain(|manager, owned| {
            if *manager != "ops" { owned.retain(|field| RELEASES.contains(field)) }
            true
        });
        let first = server.clone();
        let mut records = Vec::new();
        for (write, outside) in &writes {
            let before = server.object();
            write.run(&mut server);
            records.push((before, server.object()));
            outside.run(&mut server);
        }
        let others = server.owners_of(&OTHERS);
        let newest_first = || records.iter().rev().map(|(before, after)| (before, after));
        let restored = newest_first().fold(server.object(), |live, (before, after)| undo(&live, before, after).object);
        let values: BTreeMap<_, _> = RELEASES.iter().chain(&OTHERS)
            .filter_map(|field| Some((*field, u8::try_from(restored["spec"].get(*field)?.as_u64()?).unwrap())))
            .collect();
        server.update(names::FIELD_MANAGER, values);

        let mut live = server.object();
        let wanted = ownership::restored_all(&live, newest_first());
        let expected = first.owners_of(&RELEASES).union(&others)
            .map(|(manager, field)| ((*manager).to_owned(), (*field).to_owned())).collect();
        prop_assert_eq!(owners_in(&wanted), expected);
        live["metadata"]["managedFields"] = wanted;
        let again = ownership::restored_all(&live, newest_first());
        prop_assert!(!ownership::needs_restoring(&live, &again), "{again:#}");
    }
}
