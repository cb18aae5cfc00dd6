//! What the services of a fixture stand on: a bus and a store.

use bus::{Bus, amqp};
use runtime::Lifecycle;
use serde_json::json;
use storage_svc::config::Handler;
use storage_svc::store::{Memory, Store};
use testbed::etcd::Etcd;

/// In which of the two forms the services run.
#[derive(Clone, Copy)]
pub(crate) enum Form {
    /// Bus and store are in the memory of this process.
    OneProcess,
    /// On the broker of all tests, with an exchange and an etcd of the fixture's own.
    Distributed,
}

/// A bus and a store.
pub(super) struct Ground {
    pub(super) bus: Bus,
    pub(super) handler: Handler,
    pub(super) store: Store,
    pub(super) etcd: Option<Etcd>,
}

impl Form {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration but this")]
    pub(super) fn of_this_run() -> Self {
        match std::env::var("COMMISSAIRE_TEST_FORM").as_deref() {
            Ok("distributed") => Self::Distributed,
            _ => Self::OneProcess,
        }
    }
}

impl Ground {
    pub(super) async fn new(form: Form, life: &Lifecycle) -> Self {
        match form {
            Form::OneProcess => Self::in_memory(),
            Form::Distributed => Self::distributed(life).await,
        }
    }

    fn in_memory() -> Self {
        let memory = Memory::default();
        let store = Store::Memory(memory.clone());
        Self { bus: Bus::memory(), handler: Handler::memory(memory), store, etcd: None }
    }

    async fn distributed(life: &Lifecycle) -> Self {
        let amqp = amqp::Options {
            uri: testbed::rabbitmq::shared_uri().into(),
            origin: "the test".to_owned(),
            exchange: format!("test-{}", runtime::random::uuid()),
            name: "test".to_owned(),
        };
        let etcd = Etcd::up();
        let options = json!({"server_url": etcd.endpoints()});
        let options: etcd_access::Options = serde_json::from_value(options).unwrap();
        let store = Store::etcd(&options).await.unwrap();
        let bus = Bus::amqp(&amqp, life).await.unwrap();
        Self { bus, handler: Handler::etcd(options), store, etcd: Some(etcd) }
    }
}
