//! Whatever stands in an audit file: nothing of it is proven that nobody sealed, and none of it steers a terminal or
//! is markup.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::audit::{Filter, Record, prove, text};
use portcullis::secret::MasterKeys;

fuzz_target!(|line: &str| {
    let signer = MasterKeys::new(vec![7; 32].into(), Vec::new()).audit_signer();
    assert!(prove(line, &signer).is_err());
    if let Ok(record) = serde_json::from_str::<Record>(line) {
        assert!(Filter::default().takes(&record));
    }
    assert!(!text::terminal(line).chars().any(text::is_unsafe));
    assert!(!text::html(line).contains(['<', '>', '"', '\'']));
});
