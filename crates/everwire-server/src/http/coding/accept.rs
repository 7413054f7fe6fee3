//! In which codings a client takes what it is answered (RFC 9110, section 12.5.3).

use http::{HeaderMap, header};

use super::coding_of;
use crate::{
    http::list::{elements, weighted},
    press::Coding,
};

/// How much each coding is wanted, in thousandths; 0 is not at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Accepts {
    brotli: u16,
    gzip: u16,
    /// Content as it is. Unless something is said of it, it is taken, but rather anything else that is.
    identity: Option<u16>,
}

impl Accepts {
    /// What a request's `Accept-Encoding` says. One without takes anything, which few clients mean: it gets what all can
    /// read.
    pub fn of(headers: &HeaderMap) -> Self {
        let (mut named, mut others) = ([None; 2], None);
        let mut identity = None;
        for element in elements(headers, &header::ACCEPT_ENCODING) {
            let (name, weight) = weighted(element);
            let place = match coding_of(name) {
                Some(Coding::Brotli) => &mut named[0],
                Some(Coding::Gzip) => &mut named[1],
                None if name.eq_ignore_ascii_case("identity") => &mut identity,
                None if name == "*" => &mut others,
                None => continue,
            };
            // Of one that is named twice, `gzip` and `x-gzip` perhaps, the greater wish.
            *place = Some(place.unwrap_or(0).max(weight));
        }
        let of = |named: Option<u16>| named.or(others).unwrap_or(0);
        Self {
            brotli: of(named[0]),
            gzip: of(named[1]),
            identity: identity.or(others),
        }
    }

    /// The coding to answer in; `None` is as it is. `is_worth_it` tells whether the content is large and of a kind that
    /// becomes smaller. Who takes neither a coding that is known here nor content as it is, gets it as it is: that
    /// is more use than a refusal.
    pub fn choose(self, is_worth_it: bool) -> Option<Coding> {
        let mut best: Option<(Coding, u16)> = None;
        for coding in Coding::ALL {
            let weight = self.weight(coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        let (coding, weight) = best?;
        let is_wanted = is_worth_it && weight >= self.identity.unwrap_or(0);
        (is_wanted || !self.takes_identity()).then_some(coding)
    }

    /// Whether content may come as it is.
    pub fn takes_identity(self) -> bool {
        self.identity != Some(0)
    }

    fn weight(self, coding: Coding) -> u16 {
        match coding {
            Coding::Brotli => self.brotli,
            Coding::Gzip => self.gzip,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// RFC 9110, section 12.5.3. Lines of the field are divided by `|`. A content that is worth it, and one that is not.
    #[test]
    fn the_coding_is_the_one_that_is_wanted_most() {
        use Coding::{Brotli, Gzip};
        for (field, large, small) in [
            (None, None, None),
            (Some(""), None, None),
            (Some("gzip"), Some(Gzip), None),
            (Some("GZIP"), Some(Gzip), None),
            (Some("x-gzip"), Some(Gzip), None),
            (Some("br"), Some(Brotli), None),
            (Some("gzip, deflate, br, zstd"), Some(Brotli), None),
            (Some("gzip|br"), Some(Brotli), None),
            (Some("gzip, br;q=0.9"), Some(Gzip), None),
            (Some("gzip;q=0.5, br;q=0.501"), Some(Brotli), None),
            (Some("gzip;q=0, br;q=0"), None, None),
            (Some("deflate, zstd, compress"), None, None),
            (Some("deflate, gzip;q=0.1"), Some(Gzip), None),
            (Some("*"), Some(Brotli), None),
            (Some("*;q=0.1"), Some(Brotli), None),
            (Some("br;q=0, *"), Some(Gzip), None),
            (Some("gzip, *;q=0"), Some(Gzip), Some(Gzip)),
            (Some("*;q=0"), None, None),
            (Some("identity"), None, None),
            (Some("identity;q=0"), None, None),
            (Some("identity;q=0, gzip;q=0.1"), Some(Gzip), Some(Gzip)),
            (Some("identity;q=0, *"), Some(Brotli), Some(Brotli)),
            (Some("identity, *;q=0"), None, None),
            (Some("identity, gzip;q=0.9"), None, None),
            (Some("identity;q=0.5, gzip"), Some(Gzip), None),
            (Some("identity, gzip"), Some(Gzip), None),
            (Some("gzip;q=0.2, *;q=0.5"), Some(Brotli), None),
            (Some("gzip;q=high"), Some(Gzip), None),
            (Some("gzip ; Q=0.0 , x-gzip"), Some(Gzip), None),
        ] {
            let mut headers = HeaderMap::new();
            for line in field.into_iter().flat_map(|field| field.split('|')) {
                let line = HeaderValue::from_static(line);
                headers.append(header::ACCEPT_ENCODING, line);
            }
            let accepts = Accepts::of(&headers);
            let found = (accepts.choose(true), accepts.choose(false));
            assert_eq!(found, (large, small), "{field:?}");
        }
    }
}
