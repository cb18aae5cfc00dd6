//! The stand-in against what a real API server was recorded to answer, and against a real client.

mod replay;
mod support;
