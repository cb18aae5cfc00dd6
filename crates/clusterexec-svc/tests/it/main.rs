//! The cluster executor with simulated hosts, an in-memory store and bus, in paused time: a rollout of hours takes
//! milliseconds, and no load of the machine delays anything in it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper that fails should end its test, as an assertion does"
)]

mod budget;
mod control;
mod fencing;
mod fleet;
mod health;
mod kubernetes;
mod last_look;
mod nodes;
mod removed;
mod restart;
mod rights;
mod settle;
mod take_over;
mod upgrade;
mod wall_clock;
mod webhook;
