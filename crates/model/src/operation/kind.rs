//! The kinds of operations. Each is declared once, in the table of this file: its words, its record, and what it does to a
//! host. A further kind is a row there, its work in the executor, and its endpoints in the gateway.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The declaration of a kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindFacts {
    /// Its word: in JSON, in paths, and as a method on the bus.
    pub word: &'static str,
    /// Its noun in sentences.
    pub noun: &'static str,
    /// The routing key of a request for it.
    pub routing_key: &'static str,
    /// The name of its documented record.
    pub record: &'static str,
    /// The name of a list of those.
    pub records: &'static str,
    /// The name of the record that says which operation is the newest.
    pub newest: &'static str,
    /// The end of the key of that record.
    pub suffix: &'static str,
    /// The field of that record that lists the hosts that are done.
    pub done: &'static str,
    /// Whether something is applied to a host before its reboot.
    pub applies: bool,
    /// Whether it is for a version.
    pub takes_version: bool,
    /// Whether the host is rebooted, and its node uncordoned afterwards.
    pub reboots: bool,
}

/// A kind of operation as a type, which distinguishes the documented records.
pub trait Work: fmt::Debug + Clone + Default + PartialEq + Send + Sync + 'static {
    /// The kind.
    const KIND: OperationKind;
}

macro_rules! kinds {
    ($d:tt $(
        $(#[$doc:meta])*
        $kind:ident {
            word: $word:literal,
            noun: $noun:literal,
            record: $record:ident,
            done: $done:literal,
            applies: $applies:literal,
            takes_version: $takes_version:literal,
            reboots: $reboots:literal,
        }
    )+) => {
        /// The kind of an operation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum OperationKind {
            $($(#[$doc])* $kind,)+
        }

        impl OperationKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Its declaration.
            pub const fn facts(self) -> KindFacts {
                match self {
                    $(Self::$kind => KindFacts {
                        word: $word,
                        noun: $noun,
                        routing_key: concat!("jobs.clusterexec.", $word),
                        record: stringify!($record),
                        records: concat!(stringify!($record), "s"),
                        newest: concat!("Newest", stringify!($record)),
                        suffix: concat!("/", $word),
                        done: $done,
                        applies: $applies,
                        takes_version: $takes_version,
                        reboots: $reboots,
                    },)+
                }
            }
        }

        /// The documented records of the kinds.
        pub(crate) mod records {
            $(
                $(#[$doc])*
                pub type $record = $crate::ClusterRecord<super::work::$kind>;
            )+
        }

        /// The kinds as types.
        pub mod work {
            use super::{OperationKind, Work};

            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
                pub struct $kind;

                impl Work for $kind {
                    const KIND: OperationKind = OperationKind::$kind;
                }
            )+
        }

        /// The value of an expression in which a name stands for the type of a kind: `by_kind!(kind, W => f::<W>())`.
        #[macro_export]
        macro_rules! by_kind {
            ($d kind:expr, $d work:ident => $d value:expr) => {
                match $d kind {
                    $($crate::OperationKind::$kind => {
                        type $d work = $crate::work::$kind;
                        $d value
                    })+
                }
            };
        }

        /// The values of such an expression for all kinds, as an array.
        #[macro_export]
        macro_rules! each_kind {
            ($d work:ident => $d value:expr) => {
                [$({
                    type $d work = $crate::work::$kind;
                    $d value
                }),+]
            };
        }
    };
}

kinds! { $
    /// Reboot the hosts.
    Restart {
        word: "restart",
        noun: "restart",
        record: ClusterRestart,
        done: "restarted",
        applies: false,
        takes_version: false,
        reboots: true,
    }
    /// Bring the hosts up to date.
    Upgrade {
        word: "upgrade",
        noun: "upgrade",
        record: ClusterUpgrade,
        done: "upgraded",
        applies: true,
        takes_version: false,
        reboots: true,
    }
    /// Have the hosts boot a version of their tree.
    Deploy {
        word: "deploy",
        noun: "deployment",
        record: ClusterDeploy,
        done: "deployed",
        applies: true,
        takes_version: true,
        reboots: true,
    }
    /// Cordon and drain the nodes of the hosts, and leave them so.
    Drain {
        word: "drain",
        noun: "drain",
        record: ClusterDrain,
        done: "drained",
        applies: false,
        takes_version: false,
        reboots: false,
    }
}

impl OperationKind {
    /// The kind with this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.facts().word == word)
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_kind_are_the_same_everywhere() {
        for kind in OperationKind::ALL {
            let facts = kind.facts();
            assert_eq!(OperationKind::from_word(facts.word), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), facts.word);
            assert_eq!(kind.to_string(), facts.word);
            assert_eq!(facts.routing_key, format!("jobs.clusterexec.{kind}"));
            assert_eq!(by_kind!(*kind, W => W::KIND), *kind);
        }
        assert_eq!(each_kind!(W => W::KIND), OperationKind::ALL);
        assert_eq!(OperationKind::from_word("remove"), None);
    }
}
