//! Access reviews, token reviews and service account tokens.

use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::answer::{Answer, Outcome};
use crate::cluster::Cluster;
use crate::decode;
use crate::object::{self, number, text};
use crate::rbac::{self, Action};
use crate::request::Request;
use crate::resource::{self, Resource};
use crate::route::Target;
use crate::status::Failure;
use crate::users::Identity;

const AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

impl Cluster {
    pub(crate) fn review(
        &mut self,
        request: &Request,
        user: &Identity,
        resource: &'static Resource,
    ) -> Result<Outcome, Failure> {
        let mut review = decode::resource(request, resource)?.object;
        if review["metadata"].is_null() {
            review["metadata"] = json!({});
        }
        match resource.kind {
            "SelfSubjectAccessReview" => review["status"] = self.access(user, &review["spec"]),
            "SelfSubjectReview" => {
                review["metadata"]["creationTimestamp"] = self.time().into();
                review["status"] = json!({"userInfo": user.user_info()});
            }
            _ => {
                review["status"] = self.token_review(&review["spec"]);
            }
        }
        Ok(Answer::json(201, &review).into())
    }

    fn token_review(&self, spec: &Value) -> Value {
        let Some(user) = self.users.with_token(text(spec, "/token")) else {
            return json!({"user": {}, "error": "[invalid bearer token, unknown]"});
        };
        let audiences = object::items(spec, "/audiences");
        if audiences.is_empty() || audiences.iter().any(|audience| audience == AUDIENCE) {
            return json!({"authenticated": true, "user": user.user_info(), "audiences": [AUDIENCE]});
        }
        let error = "[invalid bearer token, token audiences are invalid for the target audiences]";
        json!({"user": {}, "error": error})
    }

    fn access(&self, user: &Identity, spec: &Value) -> Value {
        let attributes = &spec["resourceAttributes"];
        let attribute = |name: &str| match text(attributes, &format!("/{name}")) {
            "" if ["verb", "resource"].contains(&name) => "*".to_owned(),
            text => text.to_owned(),
        };
        let target = Target {
            group: attribute("group"),
            resource: attribute("resource"),
            subresource: attribute("subresource"),
            namespace: attribute("namespace"),
            name: attribute("name"),
            ..Target::default()
        };
        let (verb, path) =
            (attribute("verb"), text(spec, "/nonResourceAttributes/path").to_owned());
        let action = if attributes.is_object() {
            Action::Resource { verb: &verb, target: &target }
        } else {
            Action::Path { verb: text(spec, "/nonResourceAttributes/verb"), path: &path }
        };
        match rbac::allowed(&self.store, user, action) {
            None => json!({"allowed": false}),
            Some(reason) if reason.is_empty() => json!({"allowed": true}),
            Some(reason) => json!({"allowed": true, "reason": reason}),
        }
    }

    pub(crate) fn request_token(
        &mut self,
        request: &Request,
        resource: &'static Resource,
        target: &Target,
    ) -> Result<Outcome, Failure> {
        let mut review =
            decode::object(request, &["authentication.k8s.io/v1"], "TokenRequest")?.object;
        let account = self.existing(resource, &Self::key(resource, target))?;
        let (id, secret) = (self.names.uid(), self.names.uid());
        let (namespace, name, uid) = (&target.namespace, &target.name, object::uid(&account));
        let token = format!("service-account.{id}.{secret}");
        let identity = Identity::service_account(namespace, name, uid, &id);
        self.users.add_identity(&token, identity);
        let seconds = number(&review, "/spec/expirationSeconds").unwrap_or(3600);
        let expiration = self.now().checked_add(SignedDuration::from_secs(seconds));
        let expiration = object::time(expiration.unwrap_or(self.now()));
        review["metadata"] = json!({"name": name, "namespace": namespace, "uid": uid,
            "creationTimestamp": self.time()});
        review["spec"] = json!({"audiences": [AUDIENCE], "expirationSeconds": seconds,
            "boundObjectRef": null});
        review["status"] = json!({"token": token, "expirationTimestamp": expiration});
        self.changes = Some(String::new());
        Ok(Answer::json(201, &review).into())
    }

    /// The identity of a service account.
    pub(crate) fn service_account(&self, namespace: &str, name: &str) -> Option<Identity> {
        let accounts = resource::named("serviceaccounts")?;
        let key = crate::store::Key::new(accounts, namespace, name);
        let account = self.store.get(&key)?;
        Some(Identity::service_account(namespace, name, object::uid(account), ""))
    }
}
