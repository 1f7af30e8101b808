//! What the caller of a webhook shows: made once, told once, and kept as a hash alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rekindle::workflow::SecretHash;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes of chance in a secret: nobody guesses 256 bits.
const SECRET_BYTES: usize = 32;

/// A new secret, as its caller sends it: base64url without padding, 43 characters.
///
/// # Errors
/// The system has no randomness to give.
pub fn make() -> Result<String, getrandom::Error> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of a secret. It has so much chance in it that neither salt nor slowness adds anything.
pub fn hash(secret: &str) -> SecretHash {
    SecretHash(Sha256::digest(secret.as_bytes()).into())
}

/// Whether this is the secret, in a time that does not depend on it. Where there is none to be shown it takes as long, and
/// nothing is right.
pub fn is_right(shown: &str, kept: Option<SecretHash>) -> bool {
    let right = hash(shown).0.ct_eq(&kept.unwrap_or(SecretHash([0; 32])).0);
    bool::from(right) && kept.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_right_for_its_own_hash() {
        let (one, other) = (make().expect("randomness"), make().expect("randomness"));
        assert_ne!(one, other);
        assert_eq!(one.len(), 43);
        assert!(is_right(&one, Some(hash(&one))));
        assert!(!is_right(&other, Some(hash(&one))));
        assert!(!is_right("", Some(hash(&one))));
        assert!(!is_right(&one, None));
    }

    #[test]
    fn the_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let hash = hash("abc").0;
        assert_eq!(hash[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
