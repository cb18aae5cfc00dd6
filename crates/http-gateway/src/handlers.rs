//! The handlers, a file per resource.

pub mod backup;
pub mod bindings;
pub mod clusters;
pub mod container_managers;
pub mod docs;
pub mod enrollments;
pub mod explain;
pub mod freeze;
pub mod health;
pub mod health_checks;
pub mod hosts;
pub mod login;
pub mod members;
pub mod networks;
pub mod operations;
pub mod secrets;
pub mod tokens;
pub mod whoami;
