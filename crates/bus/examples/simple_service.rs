//! A service of one's own: answers `simple.add`, and asks the storage service for the clusters.
//!
//! usage: `simple_service amqp://USER:PASSWORD@HOST [EXCHANGE]`

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use anyhow::Context as _;
use bus::amqp::Options;
use bus::topology::{EXCHANGE, Queue, STORAGE_LIST};
use bus::{Bus, Call, Context, Error, Kind, Result};
use runtime::Lifecycle;
use serde::Deserialize;
use serde_json::{Value, json};

const SIMPLE: Queue = Queue { name: "simple", binding: "simple.*", jobs: false, bare: false };

#[derive(Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

async fn answer(call: Call) -> Result<Value> {
    match call.method.as_str() {
        "add" => {
            let Add { a, b } = call.params.parse(&["a", "b"])?;
            let sum = a.checked_add(b).ok_or_else(|| Error::invalid("the sum is too large"))?;
            Ok(json!(sum))
        }
        other => Err(Error::new(Kind::MethodNotFound, format!("simple has no method {other}"))),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let uri = args.next().context("usage: simple_service amqp://USER:PASSWORD@HOST [EXCHANGE]")?;
    let exchange = args.next().unwrap_or_else(|| EXCHANGE.to_owned());
    let origin = "the first argument".to_owned();
    let options = Options { uri: uri.into(), origin, exchange, name: "simple".to_owned() };

    let life = Lifecycle::new();
    let start = async {
        let bus = Bus::amqp(&options, &life).await?;
        bus.serve(SIMPLE, 16, &life, answer).await?;
        let params = json!({"model_type_name": "Clusters"});
        let clusters = bus.request(STORAGE_LIST, &params, &Context::service("simple")).await?;
        println!("{}", json!({"result": clusters}));
        anyhow::Ok(bus)
    };
    // The bus ends last: what is under way at the end is still answered.
    if let Some(bus) = life.run(start).await? {
        bus.close().await;
    }
    Ok(())
}
