//! Whether the undo log has a hole: the way from each object's undo pointer back to the beginning.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use backout_model::{names::RecordName, object::Image};
use kube::ResourceExt as _;
use serde_json::Value;

use crate::records::Logged;

/// The records that an object's undo pointer leads through.
#[derive(Clone, Debug)]
pub struct Trail {
    /// Newest first: each of a write that took effect.
    pub records: Vec<Logged>,
    /// The pointer of the object before all of them, if it had one: of a record that is collected.
    pub beyond: Option<RecordName>,
}

/// Follows the undo pointer of each of `objects` through `log`, in log order; an error is a hole.
///
/// Each record on the way must hold the very state that the one before it left, and lie before the write that it is of.
pub fn trails(objects: &[Value], log: &[Logged]) -> Result<BTreeMap<String, Trail>> {
    let by_name: BTreeMap<_, _> = log.iter().enumerate().map(|(at, logged)| (logged.name(), at)).collect();
    let mut trails = BTreeMap::new();
    for object in objects {
        let name = Image(object).meta("name").context("an object has a name")?.to_owned();
        let trail = trail(object, &by_name, log).with_context(|| format!("the trail of {name}"))?;
        trails.insert(name, trail);
    }
    Ok(trails)
}

fn trail(object: &Value, by_name: &BTreeMap<&str, usize>, log: &[Logged]) -> Result<Trail> {
    let mut trail = Trail { records: Vec::new(), beyond: None };
    let (mut found, mut next, mut position) = (content(object), Image(object).undo(), usize::MAX);
    while let Some(pointer) = next.take() {
        let Some(&at) = by_name.get(pointer.as_str()) else {
            trail.beyond = Some(pointer);
            return Ok(trail);
        };
        let logged = &log[at];
        let (header, body) = (logged.header(), &logged.record.body);
        let after = body.after.as_ref().context("a write that leaves a pointer leaves an object")?;
        ensure!(at < position, "{pointer} lies after the record that found it");
        ensure!(content(after) == found, "{pointer} left {} and not {found}", content(after));
        ensure!(
            header.object.key.name == Image(object).meta("name").unwrap_or_default(),
            "{pointer} is of another"
        );
        trail.records.push(logged.clone());
        let Some(before) = &body.before else {
            ensure!(header.undo.is_none(), "{pointer} is of a creation, and found a pointer");
            return Ok(trail);
        };
        if Image(before).undo() != header.undo {
            bail!("{pointer} says {:?} of an object with {:?}", header.undo, Image(before).undo());
        }
        (found, next, position) = (content(before), Image(before).undo(), at);
    }
    Ok(trail)
}

/// What deployers write of a ConfigMap.
fn content(object: &Value) -> Value {
    object.get("data").cloned().unwrap_or_default()
}

impl Trail {
    /// The names of its records, newest first.
    pub fn names(&self) -> Vec<String> {
        self.records.iter().map(|logged| logged.head.name_any()).collect()
    }
}
