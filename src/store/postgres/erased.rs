//! The messages that were erased, for as long as their provider may send them again: Meta does for seven days.
//!
//! Their identifiers hold telephone numbers. So only a hash of each is kept, under a key that is random in each database.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How long an erased message does not come back, in seconds.
pub(super) const REMEMBERED_S: i64 = 8 * 86_400;

/// What is kept of a message that was erased.
pub(super) fn hash(key: &[u8], message_id: &str) -> [u8; 32] {
    let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.chain_update(message_id).finalize().into_bytes().into()
}
