//! Times as text in records. Pure: the time now is `runtime::Clock`'s.

use std::time::Duration;

use jiff::Timestamp;

use crate::text::text_type;

text_type! {
    /// A time as records have it: UTC, `YYYY-MM-DDTHH:MM:SS.ffffff`, no zone suffix. Empty while it is not known; records
    /// of other programs may hold any text.
    Stamp
}

impl Stamp {
    /// The text of a time.
    pub fn of(time: Timestamp) -> Self {
        time.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string().into()
    }

    /// The time; `None` when the text is not one that [`Self::of`] writes.
    pub fn timestamp(&self) -> Option<Timestamp> {
        parse(self)
    }

    /// Whether this is a time as [`Self::of`] writes it.
    pub fn is_valid(&self) -> bool {
        is_stamp(self)
    }
}

/// True when `text` is a time as [`Stamp::of`] writes it.
pub fn is_stamp(text: &str) -> bool {
    text.len() == 26 && jiff::civil::DateTime::strptime("%Y-%m-%dT%H:%M:%S.%6f", text).is_ok()
}

/// Reads a time that [`Stamp::of`] has written; `None` for any other text.
pub fn parse(text: &str) -> Option<Timestamp> {
    is_stamp(text).then(|| format!("{text}Z").parse().ok())?
}

/// The rest of the time `allowed` since the stamp `then`, between nothing and all of it. It is computed once, when a
/// process first sees the stamp; the deadline is then an `Instant`, which is monotonic.
pub fn left(now: Timestamp, then: Timestamp, allowed: Duration) -> Duration {
    let passed = Duration::try_from(now.duration_since(then)).unwrap_or_default();
    allowed.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_passed_since_a_stamp_is_between_nothing_and_everything() {
        let minute = Duration::from_mins(1);
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let then = at("2026-11-28T12:00:00Z");
        for (now, expected) in [
            ("2026-11-28T12:00:20Z", 40),
            ("2026-11-28T18:00:00Z", 0),
            ("2026-11-28T07:00:00Z", 60),
        ] {
            assert_eq!(left(at(now), then, minute), Duration::from_secs(expected), "{now}");
        }
    }

    #[test]
    fn other_formats_are_no_stamps() {
        for text in ["", "yesterday", "2026-11-21T23:40:21Z", "2026-13-21T23:40:21.397282"] {
            assert!(!is_stamp(text) && parse(text).is_none(), "{text}");
            let stamp = Stamp::from(text);
            assert!(!stamp.is_valid() && stamp.timestamp().is_none(), "{text}");
            let read: Stamp = serde_json::from_str(&format!("{text:?}")).unwrap();
            assert_eq!(read, text);
        }
    }

    #[test]
    fn a_stamp_is_the_text_of_its_time() {
        let time = "2026-11-21T23:40:21.397282Z".parse().unwrap();
        let stamp = Stamp::of(time);
        assert_eq!(stamp, "2026-11-21T23:40:21.397282");
        assert!(stamp.is_valid() && stamp.timestamp() == Some(time));
        assert_eq!(serde_json::to_string(&stamp).unwrap(), r#""2026-11-21T23:40:21.397282""#);
        assert!(stamp > Stamp::of(Timestamp::UNIX_EPOCH));
    }
}
