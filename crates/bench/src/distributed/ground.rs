//! What the daemons stand on, and the records that they find there.

use std::net::Ipv4Addr;

use anyhow::Context as _;
use etcd_client::{Client, Txn, TxnOp};
use model::{ClusterHead, ClusterMember, Host, Model, Network, Status};
use runtime::Clock;
use testbed::etcd::Etcd;
use testbed::rabbitmq::RabbitMq;

/// Hosts in the store: a whole data centre.
pub const HOSTS: u32 = 10_000;

/// So many of them are the members of a cluster.
pub const MEMBERS: u32 = 1_000;

/// The name of that cluster.
pub const CLUSTER: &str = "bench";

/// The exchange of the daemons.
pub const EXCHANGE: &str = "commissaire";

/// Records that are written at a time: etcd takes no more in a transaction.
const AT_A_TIME: usize = 128;

/// See the module; taken down when dropped.
#[derive(Debug)]
pub struct Ground {
    /// The broker.
    pub broker: RabbitMq,
    /// The store.
    pub etcd: Etcd,
}

impl Ground {
    /// Starts a broker and an etcd, and writes all records.
    ///
    /// # Errors
    /// When etcd does not take them.
    pub async fn up() -> anyhow::Result<Self> {
        let ground = Self { broker: RabbitMq::up(), etcd: Etcd::up() };
        let client = Client::connect([ground.etcd.endpoints()], None).await;
        let mut client = client.context("cannot connect to etcd")?;
        let hosts: Vec<_> = (0..HOSTS).map(host).collect();
        for hosts in hosts.chunks(AT_A_TIME) {
            let puts = hosts.iter().map(put).collect::<anyhow::Result<Vec<_>>>()?;
            client.txn(Txn::new().and_then(puts)).await.context("cannot write hosts")?;
        }
        let (name, network) = (CLUSTER.into(), Network::DEFAULT.to_owned());
        let cluster = ClusterHead { name, network, ..ClusterHead::default() };
        let mut puts = vec![put(&cluster)?];
        for number in 0..MEMBERS {
            let (address, cluster) = (address(number), CLUSTER.into());
            puts.push(put(&ClusterMember { address: address.into(), cluster })?);
        }
        for puts in puts.chunks(AT_A_TIME) {
            let txn = Txn::new().and_then(puts.to_vec());
            client.txn(txn).await.context("cannot write the cluster")?;
        }
        Ok(ground)
    }
}

/// The address of the host of that number.
pub fn address(number: u32) -> String {
    Ipv4Addr::from_bits(Ipv4Addr::new(10, 100, 100, 0).to_bits() + number).to_string()
}

/// A host that is set up and was just looked at, so that nobody has a reason to look at it now.
fn host(number: u32) -> Host {
    Host {
        address: address(number).into(),
        status: Status::Disassociated,
        os: "fedora".to_owned(),
        cpus: 8,
        memory: 32_768,
        space: 500_107_862_016,
        last_check: Clock::System.stamp(),
        source: String::new(),
    }
}

fn put<T: Model>(record: &T) -> anyhow::Result<TxnOp> {
    Ok(TxnOp::put(T::key(record.id()), serde_json::to_string(record)?, None))
}
