//! What the server allots to Services: addresses and ports, of which others may have got those of a Service that comes
//! back.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use super::{Changes, Proof};
use crate::{
    health::Live,
    names::RecordName,
    object::{Image, ObjectRef},
    undo::{Operation, Record},
};

/// `body` without the addresses or the ports that are taken, as the server says in `refusal`: it allots others. `None`
/// if that is not why it refuses.
///
/// The texts are those of `pkg/registry/core/service` of the API server; where they change the refusal stands.
pub fn without_taken(object: &ObjectRef, body: &Value, refusal: &str) -> Option<Value> {
    if !is_service(object) || !refusal.contains("already allocated") {
        return None;
    }
    let mut body = body.clone();
    let spec = body.get_mut("spec")?.as_object_mut()?;
    let mut removed = false;
    if refusal.contains("clusterIP") {
        removed |= remove(spec, &["clusterIP", "clusterIPs"]);
    }
    if refusal.contains("odePort") {
        removed |= remove(spec, &["healthCheckNodePort"]);
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            removed |= port.as_object_mut().is_some_and(|port| remove(port, &["nodePort"]));
        }
    }
    removed.then_some(body)
}

fn remove(map: &mut Map<String, Value>, fields: &[&str]) -> bool {
    fields.iter().filter(|field| map.remove(**field).is_some()).count() > 0
}

fn is_service(object: &ObjectRef) -> bool {
    (object.key.group.as_str(), object.kind.as_str()) == ("", "Service")
}

/// The record with its after-image as the server stored it: where a Service changes its type, the server takes what only
/// the old type has away after admission, if the client left it alone (`dropTypeDependentFields`).
pub(super) fn as_stored(record: &Record) -> Cow<'_, Record> {
    let (Some(before), Some(after)) = (&record.body.before, &record.body.after) else {
        return Cow::Borrowed(record);
    };
    if !is_service(&record.header.object) || before.pointer("/spec/type") == after.pointer("/spec/type") {
        return Cow::Borrowed(record);
    }
    let mut record = record.clone();
    let spec = record.body.after.as_mut().and_then(|after| after.get_mut("spec")?.as_object_mut());
    if let Some(spec) = spec {
        spec.retain(|field, value| {
            !OF_TYPE.contains(&field.as_str())
                || before.get("spec").and_then(|spec| spec.get(field)) != Some(value)
        });
        let had: Vec<_> = node_ports(before).collect();
        for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(port) = port.as_object_mut() {
                port.retain(|field, value| field != "nodePort" || !had.contains(&&*value));
            }
        }
    }
    Cow::Owned(record)
}

/// Fields of a Service's spec that not every type has.
const OF_TYPE: [&str; 8] = [
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
];

fn node_ports(service: &Value) -> impl Iterator<Item = &Value> {
    let ports = service.pointer("/spec/ports").and_then(Value::as_array);
    ports.into_iter().flatten().filter_map(|port| port.get("nodePort"))
}

/// What a restored Service has not got back.
pub(super) fn lost(changes: &Changes<'_>, proofs: &BTreeMap<RecordName, Proof>) -> Option<String> {
    let Live::Present(live) = changes.live else { return None };
    let first = changes.needed().find(|entry| entry.header.operation != Operation::Scale)?;
    let before = proofs.get(&first.name)?.record()?.body.before.as_ref()?;
    if !is_service(changes.object) || changes.next.is_some() || Image(live).undo() != Image(before).undo() {
        return None;
    }
    let has = allotted(live);
    let gone: Vec<_> = allotted(before).into_iter().filter(|had| !has.contains(had)).collect();
    (!gone.is_empty())
        .then(|| format!("is back, but {} could not be had again: it has others now", gone.join(", ")))
}

fn allotted(service: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let addresses = service.pointer("/spec/clusterIPs").and_then(Value::as_array).into_iter().flatten();
    let addresses = addresses.map(|address| format!("its address {}", text(address)));
    let ports = node_ports(service).chain(service.pointer("/spec/healthCheckNodePort"));
    addresses.chain(ports.map(|port| format!("its node port {}", text(port)))).collect()
}
