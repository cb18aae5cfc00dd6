//! A bus over a real broker.

use bus::Bus;
use bus::amqp::Options;
use runtime::Lifecycle;
use testbed::rabbitmq;

/// How to connect to the broker that tests share, on an exchange of the test's own.
pub(crate) fn options() -> Options {
    let exchange = format!("test-{}", runtime::random::uuid());
    let uri = rabbitmq::shared_uri().into();
    Options { uri, origin: "the test".into(), exchange, name: "test".into() }
}

pub(crate) async fn connected(options: &Options) -> Bus {
    Bus::amqp(options, &Lifecycle::new()).await.unwrap()
}
