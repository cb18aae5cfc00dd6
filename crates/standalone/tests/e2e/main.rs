//! The whole product against real hosts: its processes, in both forms, test hosts of `tools/testbed`.
//!
//! Each test has hosts and a server of its own. What happened to a host is asked of the host and of its
//! supervisor, not of the server's records. A test is here only when no ring below can show it: see `docs/tests.md`.
//! Tests in a module `full` run in a section of `tools/test --full` only.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

/// Tests in the forms that their list names, and those of one form in the other one with `--full`.
macro_rules! forms {
    (
        both: [$($both:ident),*],
        one_process: [$($one:ident),*],
        distributed: [$($distributed:ident),*],
        full: [$($full:ident),*],
    ) => {
        mod one_process {
            $(in_form!(super::$both, $both, OneProcess);)*
            $(in_form!(super::$one, $one, OneProcess);)*
        }

        mod distributed {
            $(in_form!(super::$both, $both, Distributed(1));)*
            $(in_form!(super::$distributed, $distributed, Distributed(1));)*
        }

        mod full {
            mod one_process {
                $(in_form!(super::super::$distributed, $distributed, OneProcess);)*
                $(in_form!(super::super::$full, $full, OneProcess);)*
            }

            mod distributed {
                $(in_form!(super::super::$one, $one, Distributed(1));)*
                $(in_form!(super::super::$full, $full, Distributed(1));)*
            }
        }
    };
}

macro_rules! in_form {
    ($test:path, $name:ident, $form:ident $(($replicas:literal))?) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            $test(crate::processes::Form::$form$(($replicas))?).await;
        }
    };
}

/// Tests that run with `--full` only.
macro_rules! full {
    ($($test:ident),+ $(,)?) => {
        mod full {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test().await;
            })+
        }
    };
}

mod addresses;
mod bootstraps;
mod bus;
mod commctl;
mod crashes;
mod doctor;
mod enrollment;
mod failures;
mod faults;
mod first_boot;
mod first_start;
mod log_ins;
mod lost_controller;
mod main_job;
mod matrix;
mod moments;
mod nodes;
mod processes;
mod program;
mod receiver;
mod registering;
mod reload;
mod replicas;
mod rolling;
mod rolls;
mod rotation;
mod secrets;
mod server;
mod tls;
mod transform;
mod units;
mod upgrades;
mod users;
mod watching;
