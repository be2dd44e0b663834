//! What the signature protects.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use custom_broker::Signer;
use omni_box_core::ErrorKind;

const BODY: &[u8] = br#"{"test": 2432232314}"#;

/// Computed by another implementation of HMAC-SHA256.
#[test]
fn a_signature_is_that_of_standard_webhooks() {
    let secret = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signature = Signer::new(&secret).unwrap().sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, BODY);
    assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn nothing_that_is_signed_can_be_exchanged() {
    let signer = Signer::new(b"secret").unwrap();
    let signature = signer.sign("id", 100, BODY);
    assert!(signer.verify("id", 100, BODY, &signature));
    assert!(!signer.verify("other", 100, BODY, &signature), "another id");
    assert!(!signer.verify("id", 101, BODY, &signature), "another time");
    assert!(!signer.verify("id", 100, b"{}", &signature), "another body");
    assert!(!Signer::new(b"guess").unwrap().verify("id", 100, BODY, &signature), "another secret");
    for forged in ["", "v1,", "v1,AAAA", "v1,no base64", signature.trim_start_matches("v1,")] {
        assert!(!signer.verify("id", 100, BODY, forged), "{forged:?}");
    }
}

#[test]
fn an_empty_secret_is_refused_and_none_is_shown() {
    assert_eq!(Signer::new(b"").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(format!("{:?}", Signer::new(b"secret").unwrap()), "Signer");
}
