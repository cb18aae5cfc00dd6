//! The whole product against real hosts: its processes, in both forms, test hosts of `tools/testbed`.
//!
//! Each test has hosts and a server of its own. What happened to a host is asked of the host and of its
//! supervisor, not of the server's records.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

/// Each test in the one-process form, and in the distributed one.
macro_rules! both_forms {
    ($($test:ident),+ $(,)?) => {
        mod one_process {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::processes::Form::OneProcess).await;
            })+
        }

        mod distributed {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(crate::processes::Form::Distributed(1)).await;
            })+
        }
    };
}

mod bootstraps;
mod bus;
mod commctl;
mod crashes;
mod enrollment;
mod failures;
mod faults;
mod first_boot;
mod first_start;
mod main_job;
mod matrix;
mod moments;
mod processes;
mod registering;
mod reload;
mod replicas;
mod rolling;
mod rolls;
mod rotation;
mod secrets;
mod server;
mod tls;
mod units;
mod upgrades;
mod watching;
