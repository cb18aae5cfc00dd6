//! JSON Patches. Pure.

use kube::Error;
use kube::api::{Patch, PatchParams};
use serde_json::Value;

/// The field manager of our changes.
const FIELD_MANAGER: &str = "commissaire";

/// A JSON Patch with these operations, for a request.
pub(super) fn json_patch(operations: Value) -> kube::Result<(PatchParams, Patch<()>)> {
    let operations = serde_json::from_value(operations).map_err(Error::SerdeError)?;
    let params =
        PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
    Ok((params, Patch::Json(operations)))
}

/// The path of an annotation.
pub(super) fn annotation_path(key: &str) -> String {
    format!("/metadata/annotations/{}", key.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_annotations_are_escaped() {
        assert_eq!(annotation_path("a.b/c~d"), "/metadata/annotations/a.b~1c~0d");
    }
}
