//! The description of the endpoints, OpenAPI 3.1, written by hand in `openapi.json`.
//!
//! The tests here hold that no path and no status is missing in it; that the service behaves as it says, schemathesis
//! tries out in tests/deploy/openapi.py.

use crate::reply::{Reply, Status};

const DOCUMENT: &str = include_str!("openapi.json");

/// GET /openapi.json.
pub(super) fn document() -> Reply {
    Reply { status: Status::Ok, content_type: "application/json", headers: Vec::new(), body: DOCUMENT.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;
    use serde_json::{Map, Value};
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    fn keys(object: &Value) -> BTreeSet<&str> {
        object.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// Calls `visit` with every object in the document.
    fn walk(value: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
        match value {
            Value::Object(object) => {
                visit(object);
                object.values().for_each(|value| walk(value, visit));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, visit)),
            _ => {}
        }
    }

    /// The page is for browsers, which read no description.
    fn is_page(path: Path) -> bool {
        matches!(path, Path::Root | Path::Inbox | Path::InboxAsset | Path::LogIn | Path::LogOut)
    }

    #[test]
    fn it_is_of_this_version() {
        assert_eq!(document()["info"]["version"], env!("CARGO_PKG_VERSION"));
    }

    #[test]
    fn it_describes_every_path_and_no_other() {
        let known = Path::ALL.into_iter().filter(|path| !is_page(*path));
        let known: BTreeSet<&str> = known.map(Path::label).collect();
        assert_eq!(keys(&document()["paths"]), known);
    }

    #[test]
    fn head_is_described_wherever_get_is() {
        for (path, operations) in document()["paths"].as_object().unwrap() {
            let operations = keys(operations);
            assert_eq!(operations.contains("get"), operations.contains("head"), "{path}");
        }
    }

    #[test]
    fn every_operation_describes_what_the_gate_may_answer() {
        // 411 is for what carries a body; 401 and 422 are the endpoints' own.
        let gate = ["400", "408", "413", "417", "431", "501", "503", "505"];
        for (path, operations) in document()["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let responses = match method.as_str() {
                    "get" | "post" => keys(&operation["responses"]),
                    _ => continue, // HEAD has ranges, and `parameters` is not an operation
                };
                let missing: Vec<&str> = gate.into_iter().filter(|status| !responses.contains(status)).collect();
                assert!(missing.is_empty(), "{method} {path} does not describe {missing:?}");
            }
        }
    }

    #[test]
    fn every_status_is_described() {
        let mut described = BTreeSet::new();
        let document = document();
        walk(&document, &mut |object| {
            if let Some(responses) = object.get("responses") {
                described.extend(keys(responses).into_iter().map(str::to_owned));
            }
        });
        // They belong to no operation, and stand in `components` for who reads.
        described.extend(
            [("NotFound", "404"), ("MethodNotAllowed", "405")]
                .into_iter()
                .filter_map(|(name, code)| document["components"]["responses"].get(name).map(|_| code.to_owned())),
        );
        for status in Status::ALL.into_iter().filter(|status| *status != Status::SeeOther) {
            assert!(described.contains(&status.code().to_string()), "{status:?}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        walk(&document, &mut |object| {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{reference}");
            }
        });
    }
}
