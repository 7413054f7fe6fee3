//! Preconditions: `If-Match` and `If-None-Match` (RFC 9110, section 13).
//!
//! A channel's entity tag is its tail, so `If-Match` makes an append a compare-and-append. The tag of a page ends with
//! where the page ends, and stands for that tail too: who has read a page to its end appends if nothing came since.
//!
//! ```text
//!  "1k7s…0305248rv"                    the tail; with :c after it, of a channel that is closed
//!  "1k7s…0005248rv:1k7s…0305248rv"     a page, from where to where
//!  "1k7s…0005248rv:1k7s…0305248rv;br"  the same in a content coding, which is another representation; with ;m, as lines
//!                                      since the channel holds entries of several kinds
//! ```
//!
//! `If-Modified-Since` and `If-Unmodified-Since` do not count, since nothing here has a date of modification (sections
//! 13.1.3 and 13.1.4), nor does `If-Range`, since there are no ranges.

use everwire_channel::{Guard, Offset, Tail};
use everwire_wire::{Problem, ProblemKind};
use http::{HeaderMap, HeaderName, header};

use crate::publish::{no_tail, tail_moved};

/// The preconditions of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    /// `If-Match`.
    matches: Option<Tags>,
    /// `If-None-Match`.
    matches_none: Option<Tags>,
}

/// What a precondition names.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: whatever there is.
    Any,
    /// One of these.
    Listed(Vec<Tag>),
}

/// An entity tag (RFC 9110, section 8.8.3).
#[derive(Debug, PartialEq, Eq)]
struct Tag {
    is_weak: bool,
    /// What stands between the quotes.
    opaque: String,
}

impl Conditions {
    /// Reads the preconditions of a request.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self {
            matches: tags(headers, &header::IF_MATCH)?,
            matches_none: tags(headers, &header::IF_NONE_MATCH)?,
        })
    }

    /// Whether there has to be a channel already.
    pub fn needs_channel(&self) -> bool {
        self.matches.is_some()
    }

    /// Whether there may be no channel yet.
    pub fn needs_none(&self) -> bool {
        self.matches_none == Some(Tags::Any)
    }

    /// What has to hold of the tail of a channel that is there.
    pub fn guard(&self) -> Guard {
        Guard {
            is_one_of: match &self.matches {
                // Compared strongly: a weak tag never matches (section 13.1.1).
                Some(Tags::Listed(tags)) => Some(
                    (tags.iter().filter(|tag| !tag.is_weak))
                        .filter_map(Tag::tail)
                        .collect(),
                ),
                Some(Tags::Any) | None => None,
            },
            is_none_of: match &self.matches_none {
                Some(Tags::Listed(tags)) => tags.iter().filter_map(Tag::tail).collect(),
                Some(Tags::Any) | None => Vec::new(),
            },
        }
    }

    /// Refuses to change a channel that is there, if the conditions do not hold.
    pub fn check(&self, tail: Tail) -> Result<(), Problem> {
        if self.needs_none() {
            return Err(tail_moved(
                tail,
                "there is a channel of this name already, and If-None-Match: * asks for none",
            ));
        }
        match self.guard().admits(tail) {
            true => Ok(()),
            false => {
                let detail = format!(
                    "the channel ends at {tail}, which does not fit If-Match or If-None-Match; read on, and decide again"
                );
                Err(tail_moved(tail, detail))
            }
        }
    }

    /// Refuses to make a channel, if there has to be one already.
    pub fn check_missing(&self) -> Result<(), Problem> {
        match self.needs_channel() {
            true => Err(no_tail()),
            false => Ok(()),
        }
    }

    /// Judges a read, of which `tag` is the answer's: `If-Match` first, which refuses, then `If-None-Match`, by which the
    /// client has it (section 13.2.2).
    pub fn judge_read(&self, tag: &str, tail: Tail) -> Result<Has, Problem> {
        let is_it = |listed: &Tag| listed.opaque == tag.trim_matches('"');
        let matches = match &self.matches {
            None | Some(Tags::Any) => true,
            Some(Tags::Listed(tags)) => (tags.iter())
                .any(|listed| !listed.is_weak && (is_it(listed) || listed.tail() == Some(tail))),
        };
        if !matches {
            let detail = format!("the channel ends at {tail}, which does not fit If-Match");
            return Err(tail_moved(tail, detail));
        }
        let has_it = match &self.matches_none {
            None => false,
            Some(Tags::Any) => true,
            Some(Tags::Listed(tags)) => tags.iter().any(is_it),
        };
        Ok(match has_it {
            true => Has::This,
            false => Has::Another,
        })
    }
}

/// What a client has of what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Has {
    /// The very same: it is answered with 304.
    This,
    Another,
}

impl Tag {
    /// The tail that the tag names: the last offset in it, and whether it was the end.
    fn tail(&self) -> Option<Tail> {
        let uncoded = self.opaque.split(';').next().unwrap_or("");
        let (place, closed) = match uncoded.strip_suffix(":c") {
            Some(place) => (place, true),
            None => (uncoded, false),
        };
        let offset: Offset = place.rsplit(':').next()?.parse().ok()?;
        Some(Tail { offset, closed })
    }
}

/// Reads a list of entity tags, in one line or several.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Problem> {
    let (mut listed, mut is_any, mut is_there) = (Vec::new(), false, false);
    for line in headers.get_all(name) {
        is_there = true;
        let line = String::from_utf8_lossy(line.as_bytes());
        // A list may have empty elements (section 5.6.1.2).
        let mut rest = line.trim_start_matches([' ', '\t', ',']);
        while !rest.is_empty() {
            let (element, after) = Element::read(rest).ok_or_else(|| no_list(name))?;
            match element {
                Element::Any => is_any = true,
                Element::Tag(tag) => listed.push(tag),
            }
            rest = after;
        }
    }
    match (is_there, is_any, listed.is_empty()) {
        (false, ..) => Ok(None),
        (true, false, _) => Ok(Some(Tags::Listed(listed))),
        (true, true, true) => Ok(Some(Tags::Any)),
        (true, true, false) => Err(Problem::new(
            ProblemKind::BadRequest,
            format!("the field {name} has `*` among entity tags; send it alone, or the tags"),
        )),
    }
}

/// One element of a list of entity tags.
enum Element {
    /// `*`.
    Any,
    Tag(Tag),
}

impl Element {
    /// Reads the element that a list begins with, and tells what follows it. A tag without quotes is taken as if it had
    /// them, since offsets are shown without. `None` if this is none, or no comma follows it: half of a precondition must
    /// not hold as if it were all of it.
    fn read(list: &str) -> Option<(Self, &str)> {
        let (is_weak, tag) = match list.strip_prefix("W/") {
            Some(tag) => (true, tag),
            None => (false, list),
        };
        let (opaque, after) = match tag.strip_prefix('"') {
            // There may be a comma between the quotes.
            Some(quoted) => quoted.split_once('"')?,
            None => tag.split_at(tag.find([',', ' ', '\t']).unwrap_or(tag.len())),
        };
        let after = after.trim_start_matches([' ', '\t']);
        let is_quoted = tag.starts_with('"');
        // Section 8.8.3: anything that is seen, but no quote.
        let is_tag = |c: char| c != '"' && (c.is_ascii_graphic() || !c.is_ascii());
        let is_element = opaque.chars().all(is_tag)
            && (is_quoted || !opaque.is_empty())
            && (after.is_empty() || after.starts_with(','));
        let element = match (opaque, is_quoted, is_weak) {
            ("*", false, false) => Self::Any,
            ("*", false, true) => return None,
            _ => Self::Tag(Tag {
                is_weak,
                opaque: opaque.to_owned(),
            }),
        };
        is_element.then(|| (element, after.trim_start_matches([' ', '\t', ','])))
    }
}

fn no_list(name: &HeaderName) -> Problem {
    Problem::new(
        ProblemKind::BadRequest,
        format!(
            "the field {name} is no list of entity tags, so it is not known what has to hold; send `*`, or tags in quotes \
             with commas between them, such as \"a\", \"b\""
        ),
    )
}

#[cfg(test)]
mod tests {
    use everwire_channel::{Epoch, Mark};
    use http::HeaderValue;

    use super::*;
    use crate::publish::tail_tag;

    fn offset(sequence: u64) -> Offset {
        Offset {
            epoch: Epoch(9),
            sequence,
            mark: Mark(5),
        }
    }

    fn conditions(fields: &[(&str, String)]) -> Result<Conditions, Problem> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        Conditions::of(&headers)
    }

    /// RFC 9110, section 13.1: what is listed, how it is compared, and which counts first.
    #[test]
    fn a_precondition_holds_or_does_not() {
        let tail = Tail::open(offset(3));
        let (this, other, page) = (offset(3), offset(2), offset(1));
        for (fields, may_change, may_read) in [
            (&[][..], true, Ok(Has::Another)),
            (
                &[("if-match", format!("\"{this}\""))],
                true,
                Ok(Has::Another),
            ),
            (&[("if-match", this.to_string())], true, Ok(Has::Another)),
            (&[("if-match", format!("W/\"{this}\""))], false, Err(())),
            (&[("if-match", format!("\"{other}\""))], false, Err(())),
            (
                &[("if-match", format!("\"a,b\" , \"{this}\""))],
                true,
                Ok(Has::Another),
            ),
            (
                &[
                    ("if-match", "\"a\"".to_owned()),
                    ("if-match", format!("\"{this}\"")),
                ],
                true,
                Ok(Has::Another),
            ),
            (
                &[("if-match", format!("\"{page}:{this}\""))],
                true,
                Ok(Has::Another),
            ),
            (
                &[("if-match", format!("\"{page}:{this};gzip\""))],
                true,
                Ok(Has::Another),
            ),
            (&[("if-match", format!("\"{this}:c\""))], false, Err(())),
            (&[("if-match", "*".to_owned())], true, Ok(Has::Another)),
            (&[("if-match", String::new())], false, Err(())),
            (&[("if-match", "nope".to_owned())], false, Err(())),
            (&[("if-match", "\"*\"".to_owned())], false, Err(())),
            (&[("if-none-match", "*".to_owned())], false, Ok(Has::This)),
            (
                &[("if-none-match", format!("\"{this}\""))],
                false,
                Ok(Has::This),
            ),
            (
                &[("if-none-match", format!("W/\"{this}\""))],
                false,
                Ok(Has::This),
            ),
            (
                &[("if-none-match", format!("\"{other}\""))],
                true,
                Ok(Has::Another),
            ),
            (
                &[
                    ("if-match", "\"a\"".to_owned()),
                    ("if-none-match", "*".to_owned()),
                ],
                false,
                Err(()),
            ),
            (
                &[(
                    "if-modified-since",
                    "Thu, 01 Jan 2099 00:00:00 GMT".to_owned(),
                )],
                true,
                Ok(Has::Another),
            ),
        ] {
            let found = conditions(fields).unwrap();
            assert_eq!(found.check(tail).is_ok(), may_change, "{fields:?}");
            let read = found.judge_read(&tail_tag(tail), tail).map_err(drop);
            assert_eq!(read, may_read, "{fields:?}");
        }
    }

    /// RFC 9110, sections 8.8.3 and 13.1: what is no list of tags holds for nothing.
    #[test]
    fn what_is_no_list_of_tags_is_refused() {
        for (value, is_list) in [
            (r#""a", "b""#, true),
            (r#""a","b""#, true),
            (r#", "a" ,, W/"b","#, true),
            (r#""""#, true),
            (r#""a,b;c""#, true),
            ("a, b", true),
            ("W/a", true),
            ("*", true),
            ("*,", true),
            ("", true),
            (r#""a" "b""#, false),
            (r#""a""b""#, false),
            (r#""a"b"#, false),
            (r#"a"b""#, false),
            (r#"a "b""#, false),
            ("a b", false),
            (r#""a"#, false),
            (r#"a""#, false),
            (r#"""#, false),
            (r#""a", ""#, false),
            (r#""a b""#, false),
            ("\"a\tb\"", false),
            ("W/", false),
            (r#"W/ "a""#, false),
            (r#"w/"a""#, false),
            ("W/*", false),
            (r#""a";q=1"#, false),
            (r#"*, "a""#, false),
            (r#"* "a""#, false),
            ("**, *", false),
        ] {
            for field in ["if-match", "if-none-match"] {
                let found = conditions(&[(field, value.to_owned())]);
                let status = found.map_or_else(|problem| problem.kind.status(), |_| 200);
                let expected = if is_list { 200 } else { 400 };
                assert_eq!(status, expected, "{field}: {value}");
            }
        }
    }

    #[test]
    fn only_another_page_is_another_representation() {
        let (tail, page) = (
            Tail::open(offset(3)),
            format!("\"{}:{}\"", offset(1), offset(2)),
        );
        for (listed, expected) in [
            (page.clone(), Has::This),
            (tail_tag(tail), Has::Another),
            (
                format!("{};br\"", page.strip_suffix('"').unwrap()),
                Has::Another,
            ),
        ] {
            let found = conditions(&[("if-none-match", listed.clone())]).unwrap();
            assert_eq!(found.judge_read(&page, tail).unwrap(), expected, "{listed}");
        }
    }
}
