//! The options of operations: passed on, or refused with the member's name.

use bus::Error;
use model::IdempotentRequest;
use serde_json::{Value, json};

use crate::support::{Gateway, PASSWORD, USER, basic};

fn plan() -> Value {
    json!({
        "cluster": "c1", "kind": "restart", "would_start": false,
        "refused": "1 of 2 hosts cannot be used already", "max_unavailable": 1,
        "unavailable": [{"address": "10.0.0.2", "reason": "unreachable"}],
        "hosts": [{"address": "10.0.0.1", "action": "restart", "reason": ""},
                  {"address": "10.0.0.2", "action": "skip", "reason": "unreachable"}],
        "warnings": ["node w1: disruption budget shop/web allows 0 disruptions now"],
    })
}

#[tokio::test]
async fn options_are_passed_on_to_the_executor() {
    let gateway = Gateway::with_executor(Ok(json!({"name": "c1"}))).await;
    let options = json!({
        "max_unavailable": "30%", "max_failures": 1, "skip_unreachable": true,
        "include_self": false, "soak": 60, "settle": 45, "strict_units": true, "health_command": "systemctl is-active web",
        "health_url": "http://{address}/", "health_timeout": 90, "order": "least_recent",
        "hosts": ["10.0.0.1", "10.0.0.2"], "resume_after_alarm": "auto",
        "drain": {"timeout": 900, "force": true}, "ready": {"settle": 5},
    });
    for (kind, own, version) in [
        ("restart", json!({"if_needed": true}), None),
        ("upgrade", json!({"reboot": "if-needed"}), None),
        ("deploy", json!({}), Some("7.2")),
    ] {
        let mut body = options.clone();
        body.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        let mut params = json!({"cluster_name": "c1", "options": body});
        if let Some(version) = version {
            (params["version"], body["version"]) = (json!(version), json!(version));
        }
        body["comment"] = json!("nobody knows this member");
        let answer = gateway.put(&format!("/cluster/c1/{kind}"), body).await;
        answer.is(201, &json!({"name": "c1"}));
        let id = answer.header("location").rsplit('/').next().unwrap();
        params["operation_id"] = json!(id);
        assert_eq!(gateway.restarts().last().unwrap().params.value(), params, "{kind}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_named_and_starts_nothing() {
    let gateway = Gateway::with_executor(Ok(json!({"name": "c1"}))).await;
    let before = gateway.records().await;
    for (member, values) in [
        ("max_unavailable", json!([null, 0, "0%", "101%", 1.5, true, [], "x"])),
        ("max_failures", json!([null, -1, "1", 1.5])),
        ("skip_unreachable", json!([null, "true", 1])),
        ("include_self", json!([null, "true"])),
        ("soak", json!([null, -1, "5m", 100_000])),
        ("settle", json!([null, -1, "5m", 100_000])),
        ("strict_units", json!([null, 1, "true"])),
        ("health_command", json!([null, 7, "", " "])),
        ("health_url", json!([null, "ftp://{address}", "http://a/", "http://u:p@{address}/"])),
        ("health_timeout", json!([null, 0, 100_000])),
        ("order", json!([null, "random", {"name": null}])),
        ("hosts", json!([null, [], [7], "10.0.0.1", ["../x"], ["-x"]])),
        ("reboot", json!([null, true, "perhaps", {"never": null}])),
        ("if_needed", json!([null, "yes"])),
        ("resume_after_alarm", json!([null, true, "never"])),
        ("drain", json!([null, 1, "no", [], {"timeout": 0}, {"forse": true}, {"check": "now"}])),
        ("ready", json!([null, true, {"settle": "5s"}, {"timeuot": 5}])),
        ("packages", json!([null, true, {"kubernetes": "yes"}, {"kubernets": true}])),
        ("dry_run", json!([null, "true", 1])),
    ] {
        for value in values.as_array().unwrap() {
            for kind in ["restart", "upgrade", "deploy"] {
                let body = json!({"version": "7", member: value});
                gateway.put(&format!("/cluster/c1/{kind}"), body).await.refused(400, member);
            }
        }
    }
    assert!(gateway.restarts().is_empty());
    assert_eq!(gateway.records().await, before);
}

#[tokio::test]
async fn what_the_executor_finds_wrong_is_400() {
    let refusal = Error::invalid("reboot is an option of upgrades");
    let gateway = Gateway::with_executor(Err(refusal)).await;
    let answer = gateway.put("/cluster/c1/restart", json!({"reboot": "always"})).await;
    answer.refused(400, "reboot is an option of upgrades");
}

#[tokio::test]
async fn a_dry_run_answers_the_plan_and_writes_nothing() {
    let gateway = Gateway::with_executor(Ok(plan())).await;
    let before = gateway.records().await;
    for body in [json!({"dry_run": true}), json!({"dry_run": true, "soak": 5})] {
        let answer = gateway.put("/cluster/c1/restart", body).await;
        answer.is(200, &plan());
        assert_eq!(answer.header("location"), "");
    }
    let asked = gateway.restarts();
    assert_eq!(asked[0].params.value(), json!({"cluster_name": "c1", "dry_run": true}));
    assert_eq!(asked[1].params.value()["options"], json!({"soak": 5}));
    // Not even the key of a client that always sends one; and it is asked anew each time.
    for _ in 0..2 {
        let user = (gateway.address, USER, "key-1");
        let body = json!({"dry_run": true});
        gateway.keyed(user, "PUT", "/cluster/c1/restart", body).await.is(200, &plan());
    }
    assert_eq!((gateway.records().await, gateway.restarts().len()), (before, 4));
}

#[tokio::test]
async fn a_repeated_start_is_told_of_the_same_operation() {
    let gateway = Gateway::with_executor(Ok(json!({"name": "c1"}))).await;
    let user = (gateway.address, USER, "key-1");
    let first = gateway.keyed(user, "PUT", "/cluster/c1/restart", json!({"soak": 5})).await;
    let again = gateway.keyed(user, "PUT", "/cluster/c1/restart", json!({"soak": 5})).await;
    for answer in [&first, &again] {
        answer.is(201, &json!({"name": "c1"}));
    }
    assert_eq!(gateway.restarts().len(), 1);
    let claims = gateway.storage.list::<IdempotentRequest>().await.unwrap();
    let shown_at = format!("/api/v0/operation/{}", claims[0].record.operation_id);
    assert_eq!([first.header("location"), again.header("location")], [&shown_at, &shown_at]);
}

#[tokio::test]
async fn operators_choose_health_checks_of_administrators_and_write_no_commands() {
    let gateway = Gateway::with_executor(Ok(json!({"name": "c1"}))).await;
    gateway.cluster("c1", &[]).await;
    let operator = basic(format!("operator:{PASSWORD}"));
    let start = async |authorization: &str, body: Value| {
        let headers = [("authorization", authorization)];
        let target = ("PUT", "/api/v0/cluster/c1/restart");
        gateway.send_plain(&headers, target, body.to_string()).await
    };
    let own = json!({"health_command": "curl http://127.0.0.1/"});
    start(&operator, own.clone())
        .await
        .refused(403, "the permission run-commands on the cluster c1");
    start(&operator, json!({"health": "web"}))
        .await
        .refused(409, "there is no health check \"web\"");
    let elsewhere = json!({"health_url": "http://10.0.0.9/?host={address}"});
    start(&operator, elsewhere)
        .await
        .refused(403, "a `health_url` that does not begin with http://{address}");
    assert!(gateway.restarts().is_empty());
    let check = json!({"command": "systemctl is-active web"});
    let made = gateway.put("/healthcheck/web", check.clone()).await;
    assert_eq!((made.status, &made.json()["changed_by"]), (201, &json!(USER)));
    assert_eq!(gateway.put("/healthcheck/web", check.clone()).await.json(), made.json());
    assert_eq!(gateway.get("/healthcheck/web").await.json()["command"], check["command"]);
    gateway.get("/healthchecks").await.is(200, &json!(["web"]));
    assert_eq!(start(&operator, json!({"health": "web"})).await.status, 201);
    let of_host = json!({"health_url": "http://{address}:8080/health"});
    assert_eq!(start(&operator, of_host).await.status, 201);
    let asked = gateway.restarts()[0].params.value();
    assert_eq!(asked["options"], json!({"health_command": "systemctl is-active web"}));
    let admin = basic(format!("{USER}:{PASSWORD}"));
    let both = json!({"health": "web", "health_command": "true"});
    start(&admin, both).await.refused(400, "either `health` or `health_command`");
    assert_eq!(start(&admin, own.clone()).await.status, 201);
    let binding = json!({"kind": "user", "subject": "operator", "role": "operator", "clusters": ["c1"],
        "run_commands": true});
    assert_eq!(gateway.put("/binding/b1", binding).await.status, 201);
    assert_eq!(start(&operator, own).await.status, 201);
    assert_eq!(gateway.delete("/healthcheck/web").await.status, 200);
    start(&operator, json!({"health": "web"})).await.refused(409, "Nothing was started");
    gateway
        .put("/healthcheck/web", json!({"command": " "}))
        .await
        .refused(400, "health_command: 1 to");
}
