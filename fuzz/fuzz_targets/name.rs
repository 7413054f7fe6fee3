//! Names and patterns: no input panics, and what is accepted keeps the rules.
#![no_main]

use everwire_channel::{ChannelName, NameError, Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match ChannelName::from_path(text) {
        Ok(name) => {
            let decoded = name.as_str();
            assert!((1..=ChannelName::BYTES_MAX).contains(&decoded.len()));
            assert!(!decoded.contains(|c: char| c.is_control() || c == '*'));
            assert!(
                decoded
                    .split('/')
                    .all(|segment| !matches!(segment, "" | "." | ".."))
            );
            assert_eq!(ChannelName::new(decoded).as_ref(), Ok(&name));
            assert_eq!(ChannelName::from_path(&name.to_path()).as_ref(), Ok(&name));
            assert!(Pattern::matches(&decoded.parse().unwrap(), &name));
            let everything: Pattern = "**".parse().unwrap();
            assert_eq!(everything.matches(&name), !name.is_reserved());
        }
        Err(NameError::Control { position, .. } | NameError::Utf8 { position, .. }) => {
            assert!(position < text.len());
        }
        Err(_) => {}
    }
    if let Ok(pattern) = text.parse::<Pattern>() {
        assert_eq!(pattern.to_string(), text);
    }
});
