//! The contract on a real broker and etcd.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use super::{TABLES, Table, holds};
use crate::support::{Form, Setup};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_has_its_answer() {
    let wrong = join_all(TABLES.map(|table| wrong_in(table).boxed())).await.concat();
    assert!(wrong.is_empty(), "answers are not the expected ones, see above: {wrong:?}");
}

/// The rows of a table that do not hold: the others are still of interest.
async fn wrong_in((cases, setup): Table) -> Vec<&'static str> {
    let gateway = Setup { form: Form::Distributed, ..setup() }.start().await;
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if AssertUnwindSafe(holds(&gateway, case, number)).catch_unwind().await.is_err() {
            wrong.push(case.name);
        }
    }
    wrong
}
