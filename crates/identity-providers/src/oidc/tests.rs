//! Tests of an issuer as a whole, with its documents in memory, in paused time.

mod accepted;
mod forgeries;
mod login;
mod network;
mod options;
mod refreshing;
mod remembering;
mod support;
