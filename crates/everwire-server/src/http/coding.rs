//! Which content codings a request is in, and in which its answer may come (RFC 9110, sections 8.4 and 12.5.3). What puts
//! contents into them and takes them out is the [press](crate::press).

mod accept;

use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderValue, header};

pub(super) use self::accept::Accepts;
use super::list::elements;
use crate::{answer::MIXED, press::Coding};

/// The codings' names, as a field has them.
const NAMES: &str = "gzip, br";

/// The coding of this name; `x-gzip` is the same as `gzip` (RFC 9110, section 8.4.1.3).
fn coding_of(name: &str) -> Option<Coding> {
    match name {
        name if name.eq_ignore_ascii_case("br") => Some(Coding::Brotli),
        name if name.eq_ignore_ascii_case("gzip") => Some(Coding::Gzip),
        name if name.eq_ignore_ascii_case("x-gzip") => Some(Coding::Gzip),
        _ => None,
    }
}

/// The coding that a request's content is in, if any, where contents in codings are taken.
///
/// # Errors
///
/// It is in another one, or in several, one over the other: who stacks them has little to say and much to unpack.
pub(super) fn of_content(
    headers: &HeaderMap,
    takes_codings: bool,
) -> Result<Option<Coding>, Problem> {
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return Ok(None);
    }
    let lines = headers.get_all(header::CONTENT_ENCODING);
    let is_text = lines.iter().all(|line| line.to_str().is_ok());
    let mut said = elements(headers, &header::CONTENT_ENCODING)
        .filter(|name| !name.eq_ignore_ascii_case("identity"));
    let detail = match (takes_codings && is_text, said.next(), said.next()) {
        (_, None, _) if is_text => return Ok(None),
        (true, Some(name), None) => match coding_of(name) {
            Some(coding) => return Ok(Some(coding)),
            None => {
                "the content is in a coding that is not known here (Content-Encoding); send it in gzip or br, or as it is"
            }
        },
        (true, ..) => {
            "the content is in several codings, one over the other (Content-Encoding); send it in one of them"
        }
        (false, ..) => {
            "the content has a Content-Encoding, and is not taken so here; send it as it is, without that field"
        }
    };
    Err(unsupported(takes_codings, detail))
}

/// The entity tag of what `tag` stands for when it is in a coding: another representation, so another tag
/// (RFC 9110, section 8.8.3.3).
pub(super) fn tag_in(coding: Coding, tag: &HeaderValue) -> HeaderValue {
    let uncoded = tag.to_str().unwrap_or("\"\"");
    let uncoded = uncoded.strip_suffix('"').unwrap_or(uncoded);
    HeaderValue::try_from(format!("{uncoded};{}\"", coding.name())).expect("a tag is visible ASCII")
}

/// RFC 9110, section 15.5.16: a refused coding is answered with those that are taken.
fn unsupported(takes_codings: bool, detail: &'static str) -> Problem {
    let taken = match takes_codings {
        true => NAMES,
        false => "identity",
    };
    Problem::new(ProblemKind::UnsupportedEncoding, detail).with("accept_encoding", taken)
}

/// Whether content of this type becomes smaller: text does, and what is made for machines out of text. Pictures, sound and
/// archives are compressed already, and bytes of no known kind may be either.
pub(super) fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim();
    let Some((kind, subtype)) = essence.split_once('/') else {
        return false;
    };
    let subtype = subtype.to_ascii_lowercase();
    let is_structured = ["+json", "+xml", "+yaml"]
        .iter()
        .any(|suffix| subtype.ends_with(suffix));
    kind.eq_ignore_ascii_case("text")
        || is_structured
        || essence.eq_ignore_ascii_case(MIXED)
        || kind.eq_ignore_ascii_case("application")
            && matches!(
                &*subtype,
                "json" | "x-ndjson" | "xml" | "javascript" | "x-javascript" | "yaml" | "toml"
            )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9110, section 8.4. Lines of the field are divided by `|`.
    #[test]
    fn a_content_is_in_one_known_coding_or_in_none() {
        use Coding::{Brotli, Gzip};
        for (field, expected) in [
            (None, Ok(None)),
            (Some("gzip"), Ok(Some(Gzip))),
            (Some("GZip"), Ok(Some(Gzip))),
            (Some("x-gzip"), Ok(Some(Gzip))),
            (Some("br"), Ok(Some(Brotli))),
            (Some("identity"), Ok(None)),
            (Some(""), Ok(None)),
            (Some("identity, gzip"), Ok(Some(Gzip))),
            (Some(", gzip ,"), Ok(Some(Gzip))),
            (Some("gzip, br"), Err(415)),
            (Some("gzip, gzip"), Err(415)),
            (Some("gzip|br"), Err(415)),
            (Some("deflate"), Err(415)),
            (Some("zstd"), Err(415)),
            (Some("compress"), Err(415)),
            (Some("gzip;q=1"), Err(415)),
            (Some("*"), Err(415)),
            (Some("gz ip"), Err(415)),
        ] {
            let mut headers = HeaderMap::new();
            for line in field.into_iter().flat_map(|field| field.split('|')) {
                let line = HeaderValue::from_static(line);
                headers.append(header::CONTENT_ENCODING, line);
            }
            let found = of_content(&headers, true);
            let found = found.map_err(|problem| problem.kind.status());
            assert_eq!(found, expected, "{field:?}");
            let off = of_content(&headers, false).map_err(|problem| problem.kind.status());
            let expected = if expected == Ok(None) {
                Ok(None)
            } else {
                Err(415)
            };
            assert_eq!(off, expected, "{field:?}, switched off");
        }
    }

    #[test]
    fn only_what_becomes_smaller_is_compressed() {
        for (content_type, expected) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.geo+json", true),
            ("application/vnd.everwire.entries", true),
            ("text/plain", true),
            ("text/html;charset=utf-8", true),
            ("image/svg+xml", true),
            ("application/xml", true),
            ("image/png", false),
            ("image/jpeg", false),
            ("video/mp4", false),
            ("audio/ogg", false),
            ("font/woff2", false),
            ("application/zip", false),
            ("application/gzip", false),
            ("application/octet-stream", false),
            ("application/pdf", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(is_compressible(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn each_coding_of_a_page_has_its_own_tag() {
        let tag = HeaderValue::from_static("\"1a:1b:c\"");
        assert_eq!(tag_in(Coding::Brotli, &tag), "\"1a:1b:c;br\"");
        assert_eq!(tag_in(Coding::Gzip, &tag), "\"1a:1b:c;gzip\"");
    }
}
