use std::sync::Arc;

use containermgr_svc::ClientFactory;
use runtime::{Files, Lifecycle};
use serde_json::json;
use simulated_kubernetes::{MASTERS, NodeSettings, Settings, SimulatedKubernetes};
use storage_svc::Handler;
use storage_svc::store::Memory;

use super::*;

/// A Kubernetes whose nodes have these values of the annotation.
fn cordoned(nodes: &[(&str, String)]) -> SimulatedKubernetes {
    let start = "2026-12-01T12:00:00Z".parse().unwrap();
    let kubernetes = SimulatedKubernetes::new(Settings { seed: 1, start });
    kubernetes.add_user("token", "commissaire", &[MASTERS]);
    for (number, (name, owner)) in nodes.iter().enumerate() {
        kubernetes.add_node(&NodeSettings::new(name, &format!("10.0.0.{number}")));
        let mut node = kubernetes.object("nodes", "", name).unwrap();
        node["spec"]["unschedulable"] = json!(true);
        node["metadata"]["annotations"]["commissaire.io/cordoned-by"] = json!(owner);
        kubernetes.apply(node);
    }
    kubernetes
}

fn clients(kubernetes: &SimulatedKubernetes) -> ClientFactory {
    let kubernetes = kubernetes.clone();
    ClientFactory::Function(Arc::new(move |_| Ok(kubernetes.client("token"))))
}

#[tokio::test]
async fn only_nodes_that_this_installation_has_cordoned_after_the_backup_are_listed() {
    let (bus, life, folder) = (Bus::memory(), Lifecycle::new(), tempfile::tempdir().unwrap());
    let config = storage_svc::Config::new(folder.path().join("secret.key"));
    let config = config.or_handler(Handler::memory(Memory::default()));
    storage_svc::run(&bus, &config, &life).await.unwrap();
    let storage = StorageClient::new(bus.clone(), Context::service("test"));
    let Instance { id, .. } = queries::instance(&storage).await.unwrap();
    let kubernetes = cordoned(&[
        ("later", format!("{id}/o-2")),
        ("by-hand", format!("{id}/manual/ann")),
        ("known", format!("{id}/o-1")),
        ("again", format!("{id}/o-3")),
        ("foreign", "another/o-2".to_owned()),
        ("other", "maintenance".to_owned()),
    ]);
    containermgr_svc::run_with(
        bus.clone(),
        containermgr_svc::Config::default(),
        Files::System,
        clients(&kubernetes),
        &life,
    )
    .await
    .unwrap();
    for (name, kind) in [("k", "kubernetes"), ("t", "trivial")] {
        let options = json!({"server_url": "https://api.test"});
        let config = json!({"name": name, "type": kind, "options": options});
        let config: ContainerManagerConfig = serde_json::from_value(config).unwrap();
        storage.save(&config).await.unwrap();
    }
    let request =
        NodesRequest { container_manager_name: "k".to_owned(), ..NodesRequest::default() };
    let answer = bus.ask(CONTAINER_NODES, &request, &Context::service("test")).await.unwrap();
    let KubernetesNodes { kubernetes: uid, .. } = answer.parse().unwrap();
    // The node `again` was cordoned for another operation than the one that the backup knows.
    for node in ["known", "again"] {
        let debt = CordonDebt {
            id: CordonDebt::id_of(&uid, node),
            container_manager: "k".to_owned(),
            node: node.to_owned(),
            address: "10.0.0.1".into(),
            cordoned_by: format!("{id}/o-1"),
            ..CordonDebt::default()
        };
        storage.save(&debt).await.unwrap();
    }

    let sentences = unknown(&storage, &bus).await.unwrap();
    let listed: Vec<_> = sentences.iter().map(|said| said.split(" of k").next().unwrap()).collect();
    assert_eq!(listed, ["the node again", "the node by-hand", "the node later"], "{sentences:?}");
    assert!(sentences[1].contains("ann") && sentences[1].contains("uncordon it once"));

    kubernetes.set_api_unavailable(true);
    let sentences = unknown(&storage, &bus).await.unwrap();
    let [sentence] = &sentences[..] else { panic!("{sentences:?}") };
    assert!(sentence.starts_with("the nodes of k cannot be read ("), "{sentence}");
    assert!(sentence.contains(&format!("commissaire.io/cordoned-by={id}/")), "{sentence}");
}
