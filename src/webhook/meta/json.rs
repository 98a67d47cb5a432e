//! JSON of which nothing is known beforehand: whatever is not of the form that is asked for is absent.
//!
//! Values are parts of the text, not copies, so that reading an envelope takes little more memory than its bytes. They
//! are skipped without recursion, so that no depth of nesting exhausts the stack.

use serde_json::value::RawValue;
use std::collections::HashMap;

/// An object. Of a field that is given twice, the last counts.
pub(super) struct Object<'a>(HashMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    /// The text as an object; None when it is not one, or not JSON.
    pub(super) fn parse(text: &'a str) -> Option<Object<'a>> {
        serde_json::from_str(text).ok().map(Object)
    }

    /// The value as an object.
    pub(super) fn of(value: &'a RawValue) -> Option<Object<'a>> {
        Object::parse(value.get())
    }

    /// The object in a field.
    pub(super) fn object(&self, name: &str) -> Option<Object<'a>> {
        self.0.get(name).and_then(|value| Object::of(value))
    }

    /// The items of the list in a field.
    pub(super) fn items(&self, name: &str) -> Vec<&'a RawValue> {
        self.0.get(name).and_then(|value| serde_json::from_str(value.get()).ok()).unwrap_or_default()
    }

    /// The text in a field. One with a lone surrogate is not text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).and_then(|value| serde_json::from_str(value.get()).ok())
    }

    /// The text in a field, if there is something in it.
    pub(super) fn words(&self, name: &str) -> Option<String> {
        self.text(name).filter(|text| !text.is_empty())
    }

    /// The whole number in a field, which may be written as digits in a text.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        let value = self.0.get(name)?.get();
        match self.text(name) {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
            Some(_) => None,
            None => value.parse().ok(),
        }
    }
}
