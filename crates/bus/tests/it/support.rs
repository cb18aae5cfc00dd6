//! A bus over a real broker.

use bus::Bus;
use bus::amqp::Options;
use runtime::Lifecycle;
use testbed::rabbitmq;

/// How to connect to a broker, on an exchange of the test's own.
pub(crate) fn options(uri: &str) -> Options {
    let exchange = format!("test-{}", runtime::random::uuid());
    Options { uri: uri.into(), origin: "the test".into(), exchange, name: "test".into() }
}

/// A bus over the broker that tests share.
pub(crate) async fn bus() -> Bus {
    connected(&options(&rabbitmq::shared_uri())).await
}

pub(crate) async fn connected(options: &Options) -> Bus {
    Bus::amqp(options, &Lifecycle::new()).await.unwrap()
}
