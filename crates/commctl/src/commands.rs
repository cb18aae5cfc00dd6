//! The commands, one file per resource.

pub(crate) mod access;
pub(crate) mod backup;
pub(crate) mod cluster;
pub(crate) mod container_manager;
pub(crate) mod context;
pub(crate) mod enroll;
pub(crate) mod explain;
pub(crate) mod freeze;
pub(crate) mod health_check;
pub(crate) mod host;
pub(crate) mod login;
pub(crate) mod logout;
pub(crate) mod network;
mod operation;
pub(crate) mod operations;
pub(crate) mod passhash;
pub(crate) mod shell;
pub(crate) mod token;
pub(crate) mod user_data;
pub(crate) mod whoami;
