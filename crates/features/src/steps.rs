//! The sentences of scenarios.
//!
//! - `access`: log-ins, hosts that register themselves
//! - `given`: what there is
//! - `hosts`: what is wrong with hosts
//! - `operations`: hosts that are upgraded and checked, and the reboots of a rollout
//! - `when`: what is requested, run, and happens
//! - `then`: what is answered, and what becomes of hosts and operations

#![expect(
    clippy::needless_pass_by_value,
    reason = "the words of a sentence are handed over as texts of its own"
)]

mod access;
mod given;
mod hosts;
mod nodes;
mod operations;
mod then;
mod when;

/// The addresses from one to another, which differ in their last number: `10.0.0.1` to `10.0.0.3`.
fn range(first: &str, last: &str) -> Vec<String> {
    let split = |address: &str| {
        let (network, number) = address.rsplit_once('.').expect("an IPv4 address");
        (network.to_owned(), number.parse::<u8>().unwrap())
    };
    let ((network, from), (_, to)) = (split(first), split(last));
    (from..=to).map(|number| format!("{network}.{number}")).collect()
}

/// The list of addresses in a sentence: `10.0.0.1`, or `10.0.0.1 to 10.0.0.3`.
fn addresses(text: &str) -> Vec<String> {
    match text.split_once(" to ") {
        Some((first, last)) => range(first, last),
        None => vec![text.to_owned()],
    }
}
