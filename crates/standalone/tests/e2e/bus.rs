//! The bus as other programs see it: the examples of the documentation, and many jobs at once.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bus::{Bus, Context, Kind, amqp, topology};
use daemons::Daemon;
use model::{Host, HostCreds, HostState, Lease, Status};
use runtime::Lifecycle;
use serde_json::{Value, json};
use storage_client::{StorageClient, Transaction};

use crate::processes::{Form, Ground};
use crate::server::{Server, eventually};

/// A client on the bus of this server.
async fn client(ground: &Ground, life: &Lifecycle) -> Bus {
    let options = amqp::Options {
        uri: ground.amqp.clone().into(),
        origin: "the test".to_owned(),
        exchange: ground.exchange.clone(),
        name: "test".to_owned(),
    };
    Bus::amqp(&options, life).await.unwrap()
}

/// A process that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs an example: it sees the clusters there are, and answers `simple.add`, by name and by position.
async fn an_example_works(mut command: Command) {
    let server = Server::start(Form::Distributed(1), json!({})).await;
    server.put("/cluster/c1", json!({})).await;
    let ground = server.processes.ground.as_ref().unwrap();
    command.arg(&ground.amqp).arg(&ground.exchange).stdout(Stdio::piped());
    let mut example = Running(command.spawn().unwrap());
    let mut said = String::new();
    BufReader::new(example.0.stdout.take().unwrap()).read_line(&mut said).unwrap();
    let listed: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(listed["result"][0]["name"], "c1", "{said}");

    let life = Lifecycle::new();
    let bus = client(ground, &life).await;
    let ask = async |params: Value| bus.request("simple.add", &params, &Context::default()).await;
    assert_eq!(ask(json!({"a": 2, "b": 3})).await.unwrap(), 5);
    assert_eq!(ask(json!([-1, 1])).await.unwrap(), 0);
    assert_eq!(ask(json!({"a": 2})).await.unwrap_err().kind(), Kind::InvalidParams);
    drop(example);
    // Killed, it leaves its queue for a minute.
    eventually("nobody takes requests for it", || async {
        let error = ask(json!([1, 1])).await.err()?;
        error.to_string().contains("takes simple.add").then_some(())
    })
    .await;
    life.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_python_works() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/simple_service.py");
    let mut command = Command::new("/usr/bin/python3");
    command.arg(script);
    an_example_works(command).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_in_rust_works() {
    let folder = Path::new(env!("CARGO_BIN_EXE_commissaire")).parent().unwrap();
    let program = folder.join("examples/simple_service");
    assert!(program.exists(), "`cargo build --examples -p bus` first");
    an_example_works(Command::new(program)).await;
}

/// `commissaire dead-letters` with these arguments: what it prints.
fn dead_letters(ground: &Ground, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commissaire"));
    command.args(["-c", "-", "dead-letters", "--bus-uri", &ground.amqp]);
    command.args(["--bus-exchange", &ground.exchange]).args(arguments).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"{}").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_read_replayed_and_dropped() {
    let server = Server::start(Form::Distributed(1), json!({})).await;
    let ground = server.processes.ground.as_ref().unwrap();
    let life = Lifecycle::new();
    let bus = client(ground, &life).await;
    // No address: nobody can look at that.
    bus.notify(topology::WATCH, &json!({"address": 7}), &Context::default()).await.unwrap();
    let count = || dead_letters(ground, &["count"]);
    eventually("it is dead", || async { (count() == "investigator 0\nwatcher 1\n").then_some(()) })
        .await;
    let letter: Value = serde_json::from_str(&dead_letters(ground, &["read", "watcher"])).unwrap();
    let queue = format!("{}.jobs.watcher", ground.exchange);
    assert_eq!((&letter["queue"], &letter["reason"]), (&json!(queue), &json!("rejected")));
    assert_eq!(letter["body"], json!({"address": 7}).to_string());
    assert_eq!(dead_letters(ground, &["replay", "watcher"]), "1\n");
    eventually("it is dead again", || async { count().contains("watcher 1").then_some(()) }).await;
    assert_eq!(dead_letters(ground, &["drop", "watcher"]), "1\n");
    assert_eq!(count(), "investigator 0\nwatcher 0\n");
    bus.close().await;
}

/// 10,000 jobs, five for each of 2,000 hosts, whose keys nobody can use, so that the look is short;
/// replicas are killed and started all the time. Each host is settled by exactly one of them, once.
async fn ten_thousand_jobs_while_replicas_come_and_go_settle_each_host_once() {
    const HOSTS: usize = 2000;
    const EACH: usize = 5;
    let config = json!({"lease-ttl": 8, "investigator": {"concurrency": 64}});
    let mut server = Server::start(Form::Distributed(3), config).await;
    let ground = server.processes.ground.as_ref().unwrap();
    let life = Lifecycle::new();
    let bus = client(ground, &life).await;
    let storage = StorageClient::new(bus.clone(), Context::service("test"));
    let address = |n: usize| format!("10.9.{}.{}", n / 100, n % 100);
    for batch in (0..HOSTS).collect::<Vec<_>>().chunks(50) {
        let mut records = Transaction::default();
        for address in batch.iter().map(|n| address(*n)) {
            // Base64 of what is no text, so no key either.
            let ssh_priv_key = "/w==".into();
            let creds = HostCreds { ssh_priv_key, ..HostCreds::new(&address) };
            let host =
                Host { address: address.into(), status: Status::Investigating, ..Host::default() };
            records = records.save(&creds).unwrap().save(&host).unwrap();
        }
        storage.transact(&records).await.unwrap();
        let jobs = batch.iter().flat_map(|n| [*n; EACH]).map(|n| {
            let job = json!({"address": address(n), "cluster_data": {}});
            let bus = bus.clone();
            async move { bus.notify(topology::INVESTIGATE, &job, &Context::default()).await }
        });
        let sent = futures_util::future::join_all(jobs).await;
        sent.into_iter().collect::<bus::Result<Vec<()>>>().unwrap();
    }

    for turn in 0.. {
        let hosts =
            eventually("the hosts are listed", || async { storage.list::<Host>().await.ok() })
                .await;
        let failed = hosts.iter().filter(|host| host.record.status == Status::Failed).count();
        if failed == HOSTS {
            break;
        }
        assert!(turn < 200, "only {failed} are settled");
        if turn < 20 {
            server.processes.kill(Some(Daemon::Investigator), turn % 3);
        }
        server.processes.start_blindly();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Written once when the host failed, and never again.
    let ground = server.processes.ground.as_ref().unwrap();
    let states = ground.etcd.ctl(&["get", "/commissaire/host_state/", "--prefix", "-w", "json"]);
    let states: Value = serde_json::from_str(&states).unwrap();
    let states = states["kvs"].as_array().unwrap();
    assert_eq!(states.len(), HOSTS);
    let again = states.iter().filter(|state| state["version"] != 1).count();
    assert_eq!(again, 0, "worked on more than once");
    eventually("nobody holds a lease", || async {
        let leases = storage.list::<Lease>().await.ok()?;
        let held = leases.iter().any(|l| l.record.name.starts_with("investigation."));
        (!held).then_some(())
    })
    .await;
    assert!(
        storage.list::<HostState>().await.unwrap().iter().all(|s| s.record.reason == "bad-key")
    );
    life.shutdown(Duration::from_secs(10)).await;
}

full!(ten_thousand_jobs_while_replicas_come_and_go_settle_each_host_once,);
