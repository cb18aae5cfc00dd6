//! The addresses of hosts.

use crate::text::text_type;

text_type! {
    /// The address of a host, in the form of [`ident::canonical_address`](crate::ident::canonical_address).
    Address
}
