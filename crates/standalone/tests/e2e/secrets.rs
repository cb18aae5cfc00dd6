//! What is secret is found nowhere in clear, and what is damaged is named.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testbed::Testbed;
use testbed::etcd::Etcd;
use testbed::rabbitmq::RabbitMq;

use crate::processes::{Form, Ground};
use crate::server::{Server, eventually, key};

/// Registers a host with a key of its own, changes its credentials, restarts it, registers a container manager with a
/// token, and looks for key and token: in process lists all the time, in files afterwards.
async fn a_registered_key_is_found_nowhere_in_clear(form: Form) {
    let testbed = Testbed::up(&["debian"]);
    // A broker of its own: all of its files are looked through.
    let broker = RabbitMq::up();
    let ground = Ground::on(broker.uri(), Etcd::up());
    let mut server = Server::prepare(form, Some(ground), &json!({}));
    server.start_again().await;
    let (pem, encoded) = (std::fs::read_to_string(testbed.key()).unwrap(), key(&testbed));
    let token = "token-that-is-found-nowhere";
    let canaries =
        [pem.lines().nth(2).unwrap().as_bytes(), &encoded.as_bytes()[100..160], token.as_bytes()];

    let done = AtomicBool::new(false);
    let (seen, ()) = tokio::join!(command_lines(&done), async {
        server.cluster(&testbed).await;
        let creds = format!("/host/{}/creds", testbed.address(0).0);
        let (status, body) =
            server.call(Method::PUT, &creds, json!({"ssh_priv_key": encoded})).await;
        assert_eq!(status, 200, "{body}");
        let options = json!({"server_url": "https://127.0.0.1:1", "token": token});
        let manager = json!({"type": "kubernetes", "options": options});
        server.put("/containermanager/k", manager).await;
        server.put("/cluster/c1/restart", json!({})).await;
        assert_eq!(server.restarted().await["status"], "finished");
        done.store(true, Ordering::SeqCst);
    });
    assert!(seen.iter().any(|line| find(line, b"ssh")), "it has looked at command lines");
    let told = seen.iter().find(|line| canaries.iter().any(|canary| find(line, canary)));
    assert!(told.is_none(), "in a command line: {}", String::from_utf8_lossy(told.unwrap()));

    eventually("the key files are gone", || async {
        let left = files_below(&server.run_dir());
        let holds_key = |path: &PathBuf| {
            std::fs::read(path).is_ok_and(|bytes| find(&bytes, b"OPENSSH PRIVATE KEY"))
        };
        (!left.iter().any(holds_key)).then_some(())
    })
    .await;
    let ground = server.processes.ground.as_ref();
    let mut folders = vec![server.folder().to_owned(), broker.folder().to_owned()];
    folders.extend(ground.map(|ground| ground.etcd.folder().to_owned()));
    for file in folders.iter().flat_map(|folder| files_below(folder)) {
        // What was there a moment ago may be gone, or a socket.
        let Ok(content) = std::fs::read(&file) else { continue };
        for canary in canaries {
            assert!(!find(&content, canary), "in {}", file.display());
        }
    }
}

/// The command lines and environments of all processes, until it is done.
async fn command_lines(done: &AtomicBool) -> HashSet<Vec<u8>> {
    let mut seen = HashSet::new();
    while !done.load(Ordering::SeqCst) {
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let read = |name| std::fs::read(entry.path().join(name));
            seen.extend([read("cmdline"), read("environ")].into_iter().flatten());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    seen
}

fn find(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let is_folder = |path: &PathBuf| path.is_dir() && !path.is_symlink();
    paths.flat_map(|path| if is_folder(&path) { files_below(&path) } else { vec![path] }).collect()
}

async fn a_damaged_record_is_named_and_hides_no_neighbour(form: Form) {
    let server = Server::start(form, json!({})).await;
    for network in ["a", "b", "c"] {
        server.put(&format!("/network/{network}"), json!({"type": "none"})).await;
    }
    server.overwrite("/commissaire/networks/b", "{\"name\": \"b\", \"type\": 7}");
    let listed = server.get("/networks").await;
    assert_eq!(listed, json!(["a", "c", "default"]));
    let (status, _) = server.call(Method::GET, "/network/b", json!({})).await;
    assert_eq!(status, 500);
    assert!(server.log().contains("/commissaire/networks/b"), "{}", server.log());
}

forms!(
    both: [
        a_registered_key_is_found_nowhere_in_clear,
        a_damaged_record_is_named_and_hides_no_neighbour
    ],
    one_process: [],
    distributed: [],
    full: [],
);
