//! A large answer, as it comes.

use reqwest::Response;

use super::answer;
use crate::error::Error;

/// See the module.
#[derive(Debug)]
pub(crate) struct Download {
    response: Response,
    endpoint: String,
}

impl Download {
    /// The answer, or the refusal that it is instead.
    pub(super) async fn of(response: Response, endpoint: &str) -> Result<Self, Error> {
        if response.status().is_success() {
            return Ok(Self { response, endpoint: endpoint.to_owned() });
        }
        let refusal = answer::read(response, endpoint).await;
        let not_json = |_| Error::NotJson { endpoint: endpoint.to_owned() };
        Err(refusal.map_or_else(|refusal| refusal, not_json))
    }

    /// The next part; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]>>, Error> {
        self.response.chunk().await.map_err(|source| Error::Unreachable {
            endpoint: self.endpoint.clone(),
            others: false,
            sent: false,
            source: source.without_url(),
        })
    }
}
