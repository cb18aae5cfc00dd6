//! Operations over a cluster: started, shown, steered and watched.

pub mod continuation;
pub mod control;
pub mod events;
pub mod history;
mod kinds;
pub mod known;
mod options;
pub mod start;

use utoipa_axum::routes;

use crate::endpoint::{Endpoint, Endpoints};
use crate::state::AppState;

/// The endpoints of operations.
pub fn endpoints() -> Endpoints<AppState> {
    kinds::endpoints()
        .add(routes!(history::list), Endpoint::READER)
        .add(routes!(history::get), Endpoint::READER)
        .add(routes!(events::stream), Endpoint::READER)
        .add(routes!(control::pause), Endpoint::OPERATOR)
        .add(routes!(control::resume), Endpoint::OPERATOR)
        .add(routes!(control::abort), Endpoint::OPERATOR)
        .add(routes!(continuation::proceed), Endpoint::OPERATOR.idempotent())
}
