//! Backups of all records. Credentials are in them as the store has them: sealed.

use std::io;

use ::backup::{Header, Trailer, Writer};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bus::error::chain;
use bus::warn_unless_outage;
use futures_util::{StreamExt as _, stream};
use model::LastBackup;
use storage_client::StorageClient;
use utoipa_axum::routes;

use crate::api::Api;
use crate::endpoint::{Endpoint, Endpoints};
use crate::error::ApiError;
use crate::state::AppState;

/// The media type of JSON lines.
const LINES: &str = "application/x-ndjson";

/// What such a backup does not hold.
const NOT_INCLUDED: [&str; 2] = [
    "the keys of the server, its users file, its configuration and the files that it names: `commissaire backup --with-key` \
     on the server includes the keys",
    "the audit log",
];

/// The endpoint.
pub fn endpoints() -> Endpoints<AppState> {
    Endpoints::new("backup").add(routes!(take), Endpoint::ADMIN.backs_up())
}

/// A backup of all records: JSON lines, a header first and a trailer with their number and SHA-256 last. One without the
/// trailer was cut off. Credentials in it are sealed; the key that opens them is not in it. For the roles admin and backup on
/// all clusters.
#[utoipa::path(
    get,
    path = "/api/v0/backup",
    responses((status = 200, content((String = "application/x-ndjson")))),
)]
async fn take(api: Api) -> Result<Response, ApiError> {
    let taken_at = api.clock.stamp();
    let mut header = api.storage.begin_backup(&taken_at).await?;
    header.not_included.extend(NOT_INCLUDED.map(str::to_owned));
    let mut writer = Writer::begin(Vec::new(), &header).map_err(failed)?;
    let first = std::mem::take(writer.output());
    let backup = Backup {
        storage: api.storage.clone(),
        by: api.context.bus.principal.clone(),
        header,
        store: 0,
        after: String::new(),
        writer: Some(writer),
    };
    let rest = stream::unfold(backup, |mut backup| async {
        let chunk = backup.chunk().await?;
        Some((chunk, backup))
    });
    let chunks = stream::iter([Ok(Bytes::from(first))]).chain(rest);
    let headers = [
        (header::CONTENT_TYPE, LINES),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"commissaire-backup.jsonl\""),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// A backup that is being sent.
struct Backup {
    storage: StorageClient,
    by: String,
    header: Header,
    /// The store that is read.
    store: usize,
    /// The key that was read last.
    after: String,
    /// `None` once all is sent, or it has failed.
    writer: Option<Writer<Vec<u8>>>,
}

impl Backup {
    /// The next lines; `None` at the end. After an error the client has a backup without its trailer.
    async fn chunk(&mut self) -> Option<io::Result<Bytes>> {
        let writer = self.writer.take()?;
        let lines = self.lines(writer).await;
        if let Err(error) = &lines {
            tracing::warn!(error = %error, "a backup was cut off");
        }
        Some(lines.map(Bytes::from))
    }

    async fn lines(&mut self, mut writer: Writer<Vec<u8>>) -> io::Result<Vec<u8>> {
        while self.store < self.header.stores.len() {
            let page = self.storage.read_backup(&self.header, self.store, &self.after).await;
            let page = page.map_err(|error| io::Error::other(chain(&error)))?;
            page.records.iter().try_for_each(|record| writer.record(record))?;
            if page.after.is_none() {
                self.store += 1;
            }
            self.after = page.after.unwrap_or_default();
            if !writer.output().is_empty() {
                let lines = std::mem::take(writer.output());
                self.writer = Some(writer);
                return Ok(lines);
            }
        }
        let (trailer, lines) = writer.end()?;
        self.note(&trailer).await;
        Ok(lines)
    }

    async fn note(&self, trailer: &Trailer) {
        let last = LastBackup {
            name: LastBackup::ALL.to_owned(),
            taken_at: self.header.taken_at.clone(),
            records: trailer.records,
            with_keys: false,
            by: self.by.clone(),
        };
        if let Err(error) = self.storage.save(&last).await {
            warn_unless_outage!(error, "a backup is complete, but its time is not noted");
        }
    }
}

fn failed(error: io::Error) -> ApiError {
    bus::Error::internal("cannot write the backup").with_source(error).into()
}
