//! The container manager service.
