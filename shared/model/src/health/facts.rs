//! A tolerant view of an object: what is missing or of another type reads as absent.

use jiff::Timestamp;
use serde_json::Value;

/// An object, or a part of one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a>(pub(crate) &'a Value);

impl<'a> Facts<'a> {
    /// The integer at a JSON pointer.
    pub(crate) fn int(self, pointer: &str) -> Option<i64> {
        self.0.pointer(pointer)?.as_i64()
    }

    /// The integer at a JSON pointer; absent counts as zero, as in the API's `omitempty` fields.
    pub(crate) fn count(self, pointer: &str) -> i64 {
        self.int(pointer).unwrap_or(0)
    }

    /// The number at a JSON pointer, written as a number or as text: Argo Rollouts writes text.
    pub(crate) fn number(self, pointer: &str) -> Option<i64> {
        match self.0.pointer(pointer)? {
            Value::String(text) => text.parse().ok(),
            value => value.as_i64(),
        }
    }

    /// The text at a JSON pointer; empty if there is none.
    pub(crate) fn text(self, pointer: &str) -> &'a str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether the value at a JSON pointer is `true`.
    pub(crate) fn flag(self, pointer: &str) -> bool {
        self.0.pointer(pointer).and_then(Value::as_bool) == Some(true)
    }

    /// The time at a JSON pointer.
    pub(crate) fn time(self, pointer: &str) -> Option<Timestamp> {
        self.text(pointer).parse().ok()
    }

    /// The elements of the list at a JSON pointer.
    pub(crate) fn list(self, pointer: &str) -> impl Iterator<Item = Facts<'a>> + use<'a> {
        self.0.pointer(pointer).and_then(Value::as_array).into_iter().flatten().map(Facts)
    }

    /// Whether the list or map at a JSON pointer has elements.
    pub(crate) fn has(self, pointer: &str) -> bool {
        match self.0.pointer(pointer) {
            Some(Value::Array(list)) => !list.is_empty(),
            Some(Value::Object(map)) => !map.is_empty(),
            _ => false,
        }
    }

    /// `status.conditions`, in their order.
    pub(crate) fn conditions(self) -> impl Iterator<Item = Condition<'a>> + use<'a> {
        self.list("/status/conditions").map(Condition)
    }

    /// The condition of a type.
    pub(crate) fn condition(self, type_: &str) -> Option<Condition<'a>> {
        self.conditions().find(|condition| condition.type_() == type_)
    }

    /// Whether the condition of a type is True.
    pub(crate) fn is_true(self, type_: &str) -> bool {
        self.condition(type_).is_some_and(Condition::is_true)
    }

    /// Whether the object's controller has not yet seen its current spec.
    pub(crate) fn is_unobserved(self) -> bool {
        match (self.number("/metadata/generation"), self.number("/status/observedGeneration")) {
            (Some(generation), Some(observed)) => generation != observed,
            _ => false,
        }
    }
}

/// One of an object's conditions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition<'a>(Facts<'a>);

impl<'a> Condition<'a> {
    pub(crate) fn type_(self) -> &'a str {
        self.0.text("/type")
    }

    pub(crate) fn status(self) -> &'a str {
        self.0.text("/status")
    }

    pub(crate) fn reason(self) -> &'a str {
        self.0.text("/reason")
    }

    pub(crate) fn message(self) -> &'a str {
        self.0.text("/message")
    }

    pub(crate) fn is_true(self) -> bool {
        self.status() == "True"
    }

    pub(crate) fn is_false(self) -> bool {
        self.status() == "False"
    }

    /// Since when the condition has its status.
    pub(crate) fn since(self) -> Option<Timestamp> {
        self.0.time("/lastTransitionTime")
    }

    /// The generation that the condition speaks of, where its controller says so.
    pub(crate) fn observed_generation(self) -> Option<i64> {
        self.0.number("/observedGeneration")
    }

    /// Whether nothing was said since `before`: neither another thing nor the same thing anew.
    pub(crate) fn is_same_as(self, before: Self) -> bool {
        ["/status", "/reason", "/message", "/lastTransitionTime", "/lastUpdateTime"]
            .iter()
            .all(|field| self.0.text(field) == before.0.text(field))
    }

    /// Reason and message, as far as there are any.
    pub(crate) fn verbatim(self) -> String {
        let told = [self.reason(), self.message()];
        told.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(": ")
    }

    /// What the condition says, for people: its message, or what stands for it.
    pub(crate) fn tells(self) -> String {
        let (reason, message) = (self.reason(), self.message());
        if !message.is_empty() {
            message.to_owned()
        } else if !reason.is_empty() {
            reason.to_owned()
        } else {
            format!("{} is {}", self.type_(), self.status())
        }
    }
}
