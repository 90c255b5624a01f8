//! The head of a request that may pay, as the till reads it: no bytes do harm, and it reads the same however they are cut.

#![no_main]

use engine::drive::tickets::read_head;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read_head(bytes);
    if let Some((length, _)) = &whole {
        assert!(*length <= bytes.len());
        // What follows the head is not looked at, and without its last byte it is not whole.
        let exact = read_head(&bytes[..*length]);
        assert!(matches!(exact, Some((again, _)) if again == *length));
        assert!(read_head(&bytes[..length - 1]).is_none());
    }
});
