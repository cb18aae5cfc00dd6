//! Whether pods tolerate taints. Pure.

use k8s_openapi::api::core::v1::Toleration;

/// Whether one of the tolerations is for a taint with this key, value and effect.
pub(super) fn tolerate(tolerations: &[Toleration], taint: (&str, &str, &str)) -> bool {
    let (key, value, effect) = taint;
    tolerations.iter().any(|toleration| {
        let matches = |field: &Option<String>, wanted: &str| {
            field.as_deref().is_none_or(|field| field.is_empty() || field == wanted)
        };
        let is_for_value = match toleration.operator.as_deref() {
            Some("Exists") => true,
            // Without a key, only `Exists` is allowed.
            None | Some("" | "Equal") => {
                toleration.key.as_deref().is_some_and(|key| !key.is_empty())
                    && toleration.value.as_deref().unwrap_or_default() == value
            }
            Some(_) => false,
        };
        is_for_value && matches(&toleration.key, key) && matches(&toleration.effect, effect)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tolerations_match_by_key_value_and_effect() {
        let taint = ("dedicated", "gpu", "NoSchedule");
        for (toleration, expected) in [
            (json!({"operator": "Exists"}), true),
            (json!({"operator": "Exists", "effect": "NoSchedule"}), true),
            (json!({"operator": "Exists", "effect": "NoExecute"}), false),
            (json!({"key": "dedicated", "operator": "Exists"}), true),
            (json!({"key": "dedicated", "value": "gpu"}), true),
            (json!({"key": "dedicated", "operator": "Equal", "value": "db"}), false),
            (json!({"key": "other", "operator": "Exists"}), false),
            (json!({"key": "dedicated", "operator": "Gt", "value": "1"}), false),
            (json!({"value": "gpu"}), false),
        ] {
            let tolerations = [serde_json::from_value(toleration.clone()).unwrap()];
            assert_eq!(tolerate(&tolerations, taint), expected, "{toleration}");
        }
        assert!(!tolerate(&[], taint));
    }
}
