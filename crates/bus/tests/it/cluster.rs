//! A broker of three nodes, one of which is killed while requests and jobs are under way.

use bus::amqp::Options;
use testbed::rabbitmq::RabbitMq;

use crate::support::options;
use crate::traffic::Traffic;

/// The same broker, from another of its nodes on.
fn from_node(options: &Options, uri: &str, node: usize) -> Options {
    let mut nodes: Vec<_> = uri.split(';').collect();
    nodes.rotate_left(node);
    Options { uri: nodes.join(";").into(), ..options.clone() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_is_killed_that_has_the_queues_and_all_connections() {
    runtime::telemetry::init(true, runtime::telemetry::LogFormat::Text);
    let broker = tokio::task::spawn_blocking(|| RabbitMq::cluster(3)).await.unwrap();
    let uri = broker.uri();
    let options = options(&uri);
    // The queues are led by the first node, whose clients declare them.
    let (first, second) = (from_node(&options, &uri, 0), from_node(&options, &uri, 1));
    let mut traffic = Traffic::start(&first, &first).await;
    let replica = traffic.add_replica(&second).await;
    traffic.goes_on().await;
    let broker = tokio::task::spawn_blocking(move || {
        broker.kill_node(1);
        broker
    });
    let broker = broker.await.unwrap();
    traffic.goes_on().await;
    traffic.end().await;
    replica.close().await;
    tokio::task::spawn_blocking(move || drop(broker)).await.unwrap();
}
