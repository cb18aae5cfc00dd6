//! What happens to requests, jobs and notifications when the broker or the way to it fails: requests go
//! on all the time, each is answered or fails, and all goes on after the fault's end.

use std::time::Duration;

use bus::Bus;
use bus::amqp::Options;
use bus::error::chain;
use runtime::Lifecycle;
use testbed::etcd::Etcd;
use testbed::log::Log;
use testbed::proxy::Proxy;
use testbed::rabbitmq::{self, RabbitMq};

use crate::support::{connected, options};
use crate::traffic::{HANG, Traffic, until};

/// Blocks, as the test bed does, but not the traffic.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// The same exchange by another way.
fn through(proxy: &Proxy, options: &Options) -> Options {
    let uri = format!("amqp://guest:guest@{}/%2f", proxy.address());
    Options { uri: uri.into(), ..options.clone() }
}

/// A proxy in front of the broker that tests share.
fn proxied() -> (Proxy, Options) {
    let uri = rabbitmq::shared_uri();
    let proxy = Proxy::start(rabbitmq::address(&uri));
    let through = through(&proxy, &options(&uri));
    (proxy, through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_restarted() {
    let broker = blocking(RabbitMq::up).await;
    let options = options(&broker.uri());
    let mut traffic = Traffic::start(&options, &options).await;
    let broker = blocking(move || {
        broker.stop();
        broker.start();
        broker
    });
    let broker = broker.await;
    traffic.goes_on().await;
    traffic.end().await;
    blocking(move || drop(broker)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_is_killed() {
    runtime::telemetry::init(true, runtime::telemetry::LogFormat::Text);
    let broker = blocking(RabbitMq::up).await;
    let options = options(&broker.uri());
    let mut traffic = Traffic::start(&options, &options).await;
    // RabbitMQ 3.10 saves its list of quorum queues half a second after the last change: killed before
    // that, it loses the queue for good.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let broker = blocking(move || {
        broker.kill();
        broker.start();
        broker
    });
    let broker = broker.await;
    traffic.goes_on().await;
    traffic.end().await;
    blocking(move || drop(broker)).await;
}

/// On one thread, whose log is captured: each of the two buses is a daemon's.
#[tokio::test]
async fn an_outage_of_the_broker_is_two_lines_of_each_daemon() {
    let broker = blocking(RabbitMq::up).await;
    let options = options(&broker.uri());
    let mut traffic = Traffic::start(&options, &options).await;
    let log = Log::capture();
    let broker = blocking(move || {
        broker.stop();
        broker
    });
    let broker = broker.await;
    until(|| !traffic.client.is_connected() && !traffic.service.is_connected()).await;
    // Long enough for several attempts of each.
    until(|| log.text().matches("it cannot be reached").count() > 10).await;
    let broker = blocking(move || {
        broker.start();
        broker
    });
    let broker = broker.await;
    traffic.goes_on().await;
    let lines = log.from_info();
    let at = broker.address();
    let what = format!("the message broker amqp://guest@{at}, virtual host / (the test)");
    let began = format!(" WARN {what} is unavailable: the connection was lost: ");
    let ended = format!(" INFO {what} is available again after ");
    let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!((count(&began), count(&ended), lines.len()), (2, 2, 4), "{lines:#?}");
    traffic.end().await;
    blocking(move || drop(broker)).await;
}

/// What a daemon with this URI logs and fails with, until it has done one of both.
async fn logged_with(uri: &str) -> String {
    let (log, life) = (Log::capture(), Lifecycle::new());
    let options = Options { origin: "`bus-uri` in /x.conf".to_owned(), ..options(uri) };
    let connecting = Bus::amqp(&options, &life);
    let outcome = tokio::select! {
        connected = connecting => connected.map(drop).map_err(|error| chain(&error)),
        () = until(|| !log.from_warn().is_empty()) => Ok(()),
    };
    format!("{}{}", log.from_info().join("\n"), outcome.err().unwrap_or_default())
}

/// Each sort of mistake in the URI is told from the others.
#[tokio::test]
async fn a_broker_that_cannot_be_used_is_named_with_its_option_and_without_its_password() {
    let uri = blocking(rabbitmq::shared_uri).await;
    let at = rabbitmq::address(&uri);
    let (secret, etcd) = ("s3cr3t", Etcd::up());
    let (_, http) = etcd.endpoints().split_once("://").unwrap();
    // Longer than a label may be, so that no name server is asked.
    let unknown = format!("{}.invalid", "x".repeat(64));
    for (uri, named, why) in [
        (
            format!("redis://guest:{secret}@{at}"),
            String::new(),
            "not redis: give a URI of the form amqp://USER:PASSWORD@HOST:PORT/VHOST",
        ),
        (
            format!("amqp://guest:{secret}@{at}"),
            format!("amqp://guest@{at}, virtual host /"),
            "it rejects the user name or the password: ACCESS_REFUSED",
        ),
        (
            format!("amqp://guest:guest@{at}/none"),
            format!("amqp://guest@{at}, virtual host none"),
            "it has no such virtual host, or the user may not use it: NOT_ALLOWED - vhost none not found",
        ),
        (
            format!("amqp://guest:{secret}@127.0.0.1:1"),
            "amqp://guest@127.0.0.1:1, virtual host /".to_owned(),
            "it cannot be reached: Connection refused",
        ),
        (
            format!("amqp://guest:{secret}@{unknown}"),
            format!("amqp://guest@{unknown}:5672, virtual host /"),
            "it cannot be reached: failed to lookup address information",
        ),
        (
            format!("amqps://guest:{secret}@{at}"),
            format!("amqps://guest@{at}, virtual host /"),
            "it speaks no TLS at that port, or its certificate is not trusted: received corrupt message",
        ),
        (
            format!("amqp://guest:{secret}@{http}"),
            format!("amqp://guest@{http}, virtual host /"),
            "it did not answer within 3 s (is there another service at that port",
        ),
    ] {
        let logged = logged_with(&uri).await;
        let named = format!("the message broker {named} (`bus-uri` in /x.conf)");
        assert!(uri.starts_with("redis") || logged.contains(&named), "{named}: {logged}");
        assert!(logged.contains(why) && !logged.contains(secret), "{why}: {logged}");
    }
    blocking(move || drop(etcd)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_are_cut() {
    let (proxy, options) = proxied();
    let mut traffic = Traffic::start(&options, &options).await;
    for _ in 0..3 {
        proxy.cut();
        until(|| !traffic.client.is_connected()).await;
        proxy.restore();
        traffic.goes_on().await;
    }
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_connection_of_the_service_is_cut() {
    let (proxy, far) = proxied();
    let near = Options { uri: rabbitmq::shared_uri().into(), ..far.clone() };
    let mut traffic = Traffic::start(&near, &far).await;
    proxy.cut();
    until(|| !traffic.service.is_connected()).await;
    traffic.fails_at_once().await;
    proxy.restore();
    traffic.goes_on().await;
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_connections_hang() {
    let (proxy, options) = proxied();
    let mut traffic = Traffic::start(&options, &options).await;
    proxy.hang();
    until(|| !traffic.client.is_connected() && !traffic.service.is_connected()).await;
    // It has begun to connect, and that hangs too.
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.restore();
    traffic.goes_on().await;
    traffic.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_is_given_up_for_another() {
    let (proxy, far) = proxied();
    let near = Options { uri: rabbitmq::shared_uri().into(), ..far.clone() };
    for (client, service) in [(&near, &far), (&far, &near)] {
        let mut traffic = Traffic::start(client, service).await;
        proxy.hang();
        proxy.restore();
        traffic.goes_on().await;
        traffic.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_broker_comes_after_its_clients() {
    let broker = blocking(|| {
        let broker = RabbitMq::up();
        broker.stop();
        broker
    });
    let broker = broker.await;
    let options = options(&broker.uri());
    let waiting = tokio::spawn({
        let options = options.clone();
        async move { connected(&options).await }
    });
    let broker = blocking(move || {
        broker.start();
        broker
    });
    let broker = broker.await;
    tokio::time::timeout(HANG, waiting).await.expect("a connection").unwrap();
    let mut traffic = Traffic::start(&options, &options).await;
    traffic.goes_on().await;
    traffic.end().await;
    blocking(move || drop(broker)).await;
}

#[tokio::test]
async fn waiting_for_the_broker_ends_with_the_daemon() {
    let (proxy, options) = proxied();
    proxy.cut();
    let life = Lifecycle::new();
    let (outcome, ()) = tokio::join!(Bus::amqp(&options, &life), async { life.stop() });
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "told to stop before the message broker could be reached"
    );
}
