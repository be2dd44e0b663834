//! The signature of a request, as <https://www.standardwebhooks.com> has it.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use omni_box_core::{Error, Result};
use sha2::Sha256;

/// Signs id, time and body together: none of the three can be exchanged, and an old request cannot be passed off as new.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

impl Signer {
    /// Signs by a secret that both sides know.
    ///
    /// # Errors
    /// [`Invalid`](omni_box_core::ErrorKind::Invalid) when the secret is empty.
    pub fn new(secret: &[u8]) -> Result<Self> {
        if secret.is_empty() {
            return Err(Error::invalid("the webhook secret is empty"));
        }
        Hmac::new_from_slice(secret)
            .map(Self)
            .map_err(|error| Error::invalid("the webhook secret cannot be used").with_source(error))
    }

    /// The header `webhook-signature` of a request sent at `timestamp` (seconds since 1970).
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        format!("v1,{}", BASE64_STANDARD.encode(self.mac(id, timestamp, body).finalize().into_bytes()))
    }

    /// Whether a request is from who has the secret. How old it may be is for the receiver to say.
    pub fn verify(&self, id: &str, timestamp: i64, body: &[u8], signature: &str) -> bool {
        let claimed = signature.strip_prefix("v1,").and_then(|text| BASE64_STANDARD.decode(text).ok());
        // in constant time: how far a forged signature was right must not show
        claimed.is_some_and(|claimed| self.mac(id, timestamp, body).verify_slice(&claimed).is_ok())
    }

    fn mac(&self, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(format!("{id}.{timestamp}.")).chain_update(body)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}
