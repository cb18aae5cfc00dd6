//! Records in the store that cannot be read: how the storage service reports one, so that it can be named and
//! deleted.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Revised;
use bus::error::{Error, Kind};

/// A damaged record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// Its key in the store.
    pub key: String,
    /// Its revision.
    pub revision: u64,
}

/// A record that was found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found<T> {
    /// It can be read.
    Whole(Revised<T>),
    /// It cannot.
    Damaged(Damaged),
}

/// The field of an error's data.
const FIELD: &str = "damaged";

impl Damaged {
    /// The error that reports it; `why` stays in the log of the storage service.
    pub fn error(&self, why: impl std::error::Error + Send + Sync + 'static) -> Error {
        Error::internal(format!("the record {} in the store is damaged", self.key))
            .with_data(json!({FIELD: self}))
            .with_source(why)
    }

    /// The damaged record that an error reports, if it reports one.
    pub fn reported_by(error: &Error) -> Option<Self> {
        let reported = error.data().filter(|_| error.kind() == Kind::Internal)?.get(FIELD)?;
        serde_json::from_value(reported.clone()).ok()
    }
}

impl<T> Found<T> {
    /// Its revision.
    pub fn revision(&self) -> u64 {
        match self {
            Self::Whole(found) => found.revision,
            Self::Damaged(damaged) => damaged.revision,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_record_is_recognized_by_its_error() {
        let damaged = Damaged { key: "/k".to_owned(), revision: 7 };
        let error = damaged.error(std::io::Error::other("secret"));
        assert_eq!(Damaged::reported_by(&error), Some(damaged));
        assert!(!error.data().unwrap().to_string().contains("secret"));
        assert_eq!(Damaged::reported_by(&Error::internal("x")), None);
        let other = Error::conflict("x").with_data(error.data().unwrap().clone());
        assert_eq!(Damaged::reported_by(&other), None);
    }
}
