//! The members of etcd, each asked for itself.

use etcd_client::StatusResponse;
use tokio::time::timeout;

use super::cause::{Cause, Outcome};
use super::{Client, READ_TIMEOUT};

/// How full a member's database is, and its alarms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its client URL.
    pub endpoint: String,
    /// Bytes of its file; this is what the quota limits.
    pub db_size: u64,
    /// Bytes in use: what a defragmentation would leave.
    pub db_size_in_use: u64,
    /// The quota in bytes, where the member says it: etcd 3.6 and later do.
    pub quota: Option<u64>,
    /// Its alarms and other errors, in its words: `NOSPACE` (no writes any more) and `CORRUPT` among them.
    pub alarms: Vec<String>,
}

impl Client {
    /// The status of every member, by a connection of its own.
    pub async fn members(&self) -> Vec<Result<MemberStatus, Cause>> {
        let mut members = Vec::with_capacity(self.0.endpoints.len());
        for endpoint in &self.0.endpoints {
            let asked = timeout(READ_TIMEOUT, self.member(endpoint)).await;
            members.push(asked.unwrap_or_else(|_| Err(Cause::silence(Outcome::Unknown))));
        }
        members
    }

    async fn member(&self, endpoint: &str) -> Result<MemberStatus, Cause> {
        let options = self.0.options.connect_options(endpoint).await;
        let options = options.map_err(|error| Cause::not_done(error.to_string()))?;
        let client = etcd_client::Client::connect([endpoint], Some(options)).await?;
        let status = client.maintenance_client().status().await?;
        Ok(status_of(endpoint, &status))
    }
}

fn status_of(endpoint: &str, status: &StatusResponse) -> MemberStatus {
    let bytes = |number: i64| u64::try_from(number).unwrap_or(0);
    MemberStatus {
        endpoint: endpoint.to_owned(),
        db_size: bytes(status.db_size()),
        db_size_in_use: bytes(status.raft_used_db_size()),
        quota: Some(bytes(status.db_size_quota())).filter(|quota| *quota > 0),
        alarms: status.errors().to_vec(),
    }
}
