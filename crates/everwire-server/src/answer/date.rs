//! The field `Date` (RFC 9110, section 6.6.1), by the clock as it is set now.
//!
//! The library's own stands still when the clock is set back, until the clock is again where it was.

use std::{cell::RefCell, time::Duration};

use http::{HeaderMap, HeaderValue, header};

use crate::clock;

/// Says when a response was made.
pub(crate) fn stamp(headers: &mut HeaderMap) {
    let now_s = clock::unix_ms() / 1000;
    let value = LAST.with_borrow_mut(|last| last.at(now_s));
    headers.insert(header::DATE, value);
}

thread_local! {
    static LAST: RefCell<Last> = RefCell::new(Last::new());
}

/// The value that was made last, since many responses are made within a second.
struct Last {
    second: u64,
    value: HeaderValue,
}

impl Last {
    fn new() -> Self {
        Self {
            second: 0,
            value: value(0),
        }
    }

    fn at(&mut self, second: u64) -> HeaderValue {
        if self.second != second {
            *self = Self {
                second,
                value: value(second),
            };
        }
        self.value.clone()
    }
}

/// Dates end with the year 9999.
fn value(second: u64) -> HeaderValue {
    let second = second.min(SECOND_MAX);
    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(second));
    HeaderValue::try_from(date).expect("a date is visible ASCII")
}

const SECOND_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_follows_the_clock_wherever_it_is_set() {
        let mut last = Last::new();
        for (second, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_118_978, "Sun, 06 Nov 1994 10:49:38 GMT"),
            (784_025_378, "Sat, 05 Nov 1994 08:49:38 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(last.at(second), expected, "{second}");
        }
    }

    #[test]
    fn a_response_has_one_date() {
        let mut headers = HeaderMap::new();
        stamp(&mut headers);
        stamp(&mut headers);
        assert_eq!(headers.get_all(header::DATE).iter().count(), 1);
    }
}
