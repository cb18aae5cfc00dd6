//! Reading one object, and listing many in pages.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::cluster::Cluster;
use crate::go;
use crate::object;
use crate::request::Request;
use crate::resource::Resource;
use crate::route::Target;
use crate::selector::{FieldSelector, LabelSelector};
use crate::status::Failure;
use crate::store::Key;

const EXPIRED_TOKEN: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Encoding of continue tokens: base64url without padding; trailing bits are accepted, as in Go.
const TOKENS: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// The requested representation of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
    /// Metadata only.
    Partial,
}

impl Form {
    pub(crate) fn of(request: &Request) -> Result<Self, Failure> {
        for accepted in request.accept.split(',') {
            let (media, parameters) = accepted.split_once(';').unwrap_or((accepted, ""));
            match media.trim() {
                "application/json" if parameters.contains("as=PartialObjectMetadata") => {
                    return Ok(Self::Partial);
                }
                "application/json" if parameters.contains("as=") => {}
                "" | "*/*" | "application/*" | "application/json" => return Ok(Self::Json),
                "application/yaml" => return Ok(Self::Yaml),
                _ => {}
            }
        }
        let message = "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
        Err(Failure::new(406, "NotAcceptable", message).with_details(json!({})))
    }

    /// An object in this form.
    pub(crate) fn object(self, object: &Value) -> Value {
        match self {
            Self::Partial => json!({"kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]}),
            _ => object.clone(),
        }
    }

    fn answer(self, body: &Value) -> Answer {
        let mut answer = Answer::json(200, body);
        if self == Self::Yaml {
            // Every JSON document is a YAML document.
            "application/yaml".clone_into(&mut answer.headers[0].1);
        }
        answer
    }
}

/// The filter of a list or watch.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) resource: &'static Resource,
    pub(crate) namespace: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) labels: LabelSelector,
    pub(crate) fields: FieldSelector,
}

impl Selection {
    pub(crate) fn of(
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Self, Failure> {
        let labels = request.parameter("labelSelector");
        let fields = request.parameter("fieldSelector");
        let some = |text: &String| (!text.is_empty()).then(|| text.clone());
        Ok(Self {
            resource,
            namespace: some(&target.namespace).filter(|_| resource.is_namespaced()),
            name: some(&target.name),
            labels: LabelSelector::parse(labels).map_err(Failure::bad_request)?,
            fields: FieldSelector::parse(resource.kind, fields).map_err(Failure::bad_request)?,
        })
    }

    pub(crate) fn includes(&self, key: &Key) -> bool {
        key.resource == self.resource.plural
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == key.namespace)
            && self.name.as_ref().is_none_or(|name| *name == key.name)
    }

    pub(crate) fn selects(&self, object: &Value) -> bool {
        self.labels.selects(object) && self.fields.selects(object)
    }

    fn is_filtered(&self) -> bool {
        self.labels != LabelSelector::default() || self.fields != FieldSelector::default()
    }
}

/// The position encoded in a continue token.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Continue {
    /// The revision of the first page; `None` for the current state.
    revision: Option<u64>,
    /// The path of the last object that was listed.
    after: String,
}

impl Continue {
    fn parse(token: &str) -> Result<Self, Failure> {
        let bad = |cause: String| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid: {cause}"
            ))
        };
        let bytes = TOKENS.decode(token).map_err(|error| bad(error.to_string()))?;
        let start = bytes.first().copied().unwrap_or_default();
        let value: Value =
            serde_json::from_slice(&bytes).map_err(|_| bad(go::invalid_character(start)))?;
        let revision = value["rv"].as_u64();
        let after = object::text(&value, "/start").trim_start_matches('/').trim_end_matches('\0');
        Ok(Self { revision, after: after.to_owned() })
    }

    fn token(&self) -> String {
        let (revision, slash) = match self.revision {
            Some(revision) => (json!(revision), "/"),
            None => (json!(-1), ""),
        };
        let (after, version) = (json!(format!("{slash}{}\0", self.after)), "meta.k8s.io/v1");
        TOKENS.encode(format!("{{\"v\":\"{version}\",\"rv\":{revision},\"start\":{after}}}"))
    }

    fn is_before(&self, key: &Key) -> bool {
        let (namespace, name) = self.after.split_once('/').unwrap_or(("", &self.after));
        (namespace, name) < (key.namespace.as_str(), key.name.as_str())
    }
}

/// One page of a list.
pub(crate) struct Page {
    /// The keys of the objects.
    pub(crate) keys: Vec<Key>,
    /// The list.
    pub(crate) list: Value,
}

impl Cluster {
    pub(crate) fn get(
        &self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let form = Form::of(request)?;
        let object = self.existing(resource, &Self::key(resource, target))?;
        Ok(form.answer(&form.object(&object)).into())
    }

    pub(crate) fn list(
        &self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let form = Form::of(request)?;
        Ok(form.answer(&self.page(request, resource, target, form)?.list).into())
    }

    /// One page of a list.
    pub(crate) fn page(
        &self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
        form: Form,
    ) -> Result<Page, Failure> {
        let limit = match request.parameter("limit") {
            "" => 0,
            text => text
                .parse::<i64>()
                .map_err(|_| Failure::bad_request(go::number_error("ParseInt", text)))?,
        };
        let selection = Selection::of(request, resource, target)?;
        let from = match request.parameter("continue") {
            "" => None,
            token => Some(Continue::parse(token)?),
        };
        let revision = self.list_revision(request, from.as_ref())?;
        let namespace = selection.namespace.as_deref();
        let objects: BTreeMap<Key, Arc<Value>> = if let Some(revision) = revision {
            let objects = self.store.list_at(resource, namespace, revision);
            objects.map_err(|_| expired(from.as_ref()))?
        } else {
            let objects = self.store.list(resource, namespace);
            objects.map(|(key, object)| (key.clone(), Arc::clone(object))).collect()
        };
        let is_wanted = |key: &Key, object: &Value| {
            from.as_ref().is_none_or(|from| from.is_before(key)) && selection.selects(object)
        };
        let mut objects: Vec<_> =
            objects.into_iter().filter(|(key, object)| is_wanted(key, object)).collect();
        let revision = revision.unwrap_or(self.store.revision());
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        let limit = usize::try_from(limit).unwrap_or_default();
        if limit > 0 && objects.len() > limit {
            let left = objects.len() - limit;
            objects.truncate(limit);
            let after = objects.last().map(|(key, _)| key.path()).unwrap_or_default();
            metadata["continue"] = Continue { revision: Some(revision), after }.token().into();
            if !selection.is_filtered() {
                metadata["remainingItemCount"] = left.into();
            }
        }
        let items = objects.iter().map(|(_, object)| {
            let mut item = form.object(object);
            if form != Form::Partial {
                object::remove(&mut item, "", "kind");
                object::remove(&mut item, "", "apiVersion");
            }
            item
        });
        let items: Vec<_> = items.collect();
        let (kind, version) = match form {
            Form::Partial => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            _ => (format!("{}List", resource.kind), resource.api_version()),
        };
        let list =
            json!({"kind": kind, "apiVersion": version, "metadata": metadata, "items": items});
        Ok(Page { keys: objects.into_iter().map(|(key, _)| key).collect(), list })
    }

    /// The revision of a list; `None` for the current one.
    fn list_revision(
        &self,
        request: &Request,
        from: Option<&Continue>,
    ) -> Result<Option<u64>, Failure> {
        if let Some(from) = from {
            return Ok(from.revision);
        }
        let text = request.parameter("resourceVersion");
        if text.is_empty() {
            return Ok(None);
        }
        let revision: u64 = text.parse().map_err(|_| {
            let error = go::number_error("ParseUint", text);
            Failure::bad_request(format!(
                "invalid resource version: resourceVersion: Invalid value: {text:?}: {error}"
            ))
        })?;
        if revision > self.store.revision() {
            let current = self.store.revision();
            let message =
                format!("Timeout: Too large resource version: {revision}, current: {current}");
            let cause = json!({"reason": "ResourceVersionTooLarge",
                "message": "Too large resource version"});
            let failure = Failure::new(504, "Timeout", message);
            return Err(failure.with_details(json!({"causes": [cause]})).with_retry_after(1));
        }
        let is_exact = request.parameter("resourceVersionMatch") == "Exact";
        Ok(is_exact.then_some(revision))
    }
}

fn expired(from: Option<&Continue>) -> Failure {
    let Some(from) = from else {
        return Failure::expired("The resourceVersion for the provided list is too old.");
    };
    let mut failure = Failure::expired(EXPIRED_TOKEN);
    let inconsistent = Continue { revision: None, after: from.after.clone() };
    failure.body["metadata"]["continue"] = inconsistent.token().into();
    failure
}
