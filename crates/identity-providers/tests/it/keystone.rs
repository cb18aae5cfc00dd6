//! Keystone, with responses that the tests choose.

mod passwords;
mod secrets;
mod service;
mod support;
mod tokens;
mod wrong_responses;
